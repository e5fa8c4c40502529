//! From usage to a draft, and from a draft to a finalized document.
//!
//! A draft only takes a place in the period. What is finalized is drafted again inside
//! the finalizing transaction, from the usage and the cut as they stand then, so a draft
//! that a killed run left behind is never out of date.

use serde_json::json;
use weir_backends::StoreError;
use weir_backends::books::{Finalized, MeterTotals, PeriodUsage};
use weir_billing::{
    CorrectionInput, Invoice, InvoiceInput, PlanVersion, Subscription, UsageOfPeriod, correction,
};
use weir_core::{Span, Timestamp};
use weir_metering::meter::Aggregation;
use weir_wire::alert::{INVOICE_FINALIZED, WebhookEvent};

use super::report::MadeDocument;
use super::run::Run;
use crate::world::{Books, FinalizingDocument};

/// Where a document stands: whose period, the how-manieth of it, rated by which plan.
pub(super) struct Place<'a> {
    pub(super) subscription: &'a Subscription,
    pub(super) period: Span,
    /// 0 the invoice, 1… its corrections.
    pub(super) sequence: i32,
    pub(super) plan: &'a PlanVersion,
}

/// What became of a period.
pub(super) enum Outcome {
    /// A document was finalized.
    Made(MadeDocument),
    /// There was nothing to do, or another run did it.
    Nothing,
    /// It is not closed.
    Waiting(String),
    /// It cannot be billed as things are.
    Refused(String),
}

/// A document, nothing to say, or why there can be none (for people).
type Drafted = Result<Option<Invoice>, String>;

/// Drafts the document of a place from the usage as it stands now.
pub(super) async fn draft<B: Books>(
    run: &Run<'_, B>,
    place: &Place<'_>,
    id: String,
) -> Result<Drafted, StoreError> {
    let tenant = &place.subscription.tenant;
    let partition = run.partition(place.subscription);
    let (earlier, _) = run.books.sequence_of_period(&place.subscription.id, place.period).await?;
    let usage = run.books.usage_of_period(tenant, partition, place.period).await?;
    document(run, place, id, &earlier, usage)
}

/// Finalizes the draft `id` in a transaction of its own, unless another run has done so.
pub(super) async fn finalize<B: Books>(
    run: &Run<'_, B>,
    place: &Place<'_>,
    id: &str,
) -> Result<Outcome, StoreError> {
    let mut open = run.books.open_finalizing(&place.subscription.legal_entity).await?;
    if !open.is_draft(id).await? {
        return Ok(Outcome::Nothing);
    }
    let earlier = open.earlier(&place.subscription.id, place.period).await?;
    if i32::try_from(earlier.len()) != Ok(place.sequence) {
        // Another run has come further with this period; the next one sees all of it.
        return Ok(Outcome::Nothing);
    }
    let partition = run.partition(place.subscription);
    let usage = open.usage(&place.subscription.tenant, partition, place.period).await?;
    let drafted = match document(run, place, id.to_owned(), &earlier, usage)? {
        Ok(Some(drafted)) => drafted,
        Ok(None) => {
            open.drop_draft(id).await?;
            return Ok(Outcome::Nothing);
        }
        Err(why) => return Ok(Outcome::Refused(why)),
    };
    let invoice = match weir_billing::finalize(drafted, open.number().clone(), run.now) {
        Ok(invoice) => invoice,
        Err(error) => return Ok(Outcome::Refused(in_words(&error))),
    };
    let told = told(&invoice, run.now)?;
    open.store(&invoice, &told).await?;
    let number = invoice.number.as_ref().map(ToString::to_string).unwrap_or_default();
    tracing::info!(%number, tenant = %invoice.tenant, total = %invoice.total, "document finalized");
    Ok(Outcome::Made(MadeDocument::of(&invoice)))
}

fn document<B>(
    run: &Run<'_, B>,
    place: &Place<'_>,
    id: String,
    earlier: &[Invoice],
    usage: Option<PeriodUsage>,
) -> Result<Drafted, StoreError> {
    let Some(usage) = usage else {
        return Ok(Err("the tenant's partition was never counted".to_owned()));
    };
    let cut = usage.cut;
    let usage = quantities(run, &usage)?;
    let drafted = if place.sequence == 0 {
        weir_billing::draft(&InvoiceInput {
            id,
            tenant: place.subscription.tenant.clone(),
            legal_entity: place.subscription.legal_entity.clone(),
            subscription_id: place.subscription.id.clone(),
            plan: place.plan,
            period: place.period,
            zone: place.subscription.zone.clone(),
            cut,
            usage: &usage,
        })
        .map(Some)
    } else {
        correction(&CorrectionInput { id, plan: place.plan, earlier, usage: &usage, cut })
    };
    Ok(drafted.map_err(|error| in_words(&error)))
}

/// Usage by meter. A meter that is not published any more cannot be: versions stay.
fn quantities<B>(run: &Run<'_, B>, usage: &PeriodUsage) -> Result<Vec<UsageOfPeriod>, StoreError> {
    let of = |meter: &MeterTotals| {
        let aggregation = run.aggregations.get(&meter.meter).copied().unwrap_or(Aggregation::Sum);
        meter.of_period(aggregation)
    };
    usage.meters.iter().map(of).collect()
}

fn told(invoice: &Invoice, now: Timestamp) -> Result<Finalized, StoreError> {
    let number = invoice.number.as_ref().map(ToString::to_string);
    let event = WebhookEvent {
        event_type: INVOICE_FINALIZED.to_owned(),
        timestamp: now,
        data: json!({
            "tenant": invoice.tenant.as_str(),
            "invoice_id": invoice.id,
            "number": number,
            "document_type": invoice.document_type,
            "legal_entity": invoice.legal_entity.as_str(),
            "corrects": invoice.corrects,
            "period": { "start": invoice.period.start.to_string(), "end": invoice.period.end.to_string() },
            "currency": invoice.currency.code(),
            "total": invoice.total.amount.to_string(),
            "hash": invoice.hash,
        }),
    };
    let webhook = serde_json::to_value(&event)
        .map_err(|error| StoreError::corrupt("write the event of a finalized document", error))?;
    let topic = json!({ "number": number, "invoice_id": invoice.id, "hash": invoice.hash });
    Ok(Finalized { webhook, topic })
}

/// An error with its sources, for people.
fn in_words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
