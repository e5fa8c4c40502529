//! From usage to finalized documents, many in one transaction.
//!
//! Whether a document is due was found out outside of it; what it says is read inside, usage and
//! cut as they stand then, once whoever finalized before is done. What a store refuses for good
//! is narrowed down to its period: the others are not kept from their documents.

use serde_json::json;
use weir_backends::StoreError;
use weir_backends::books::{Finalized, MeterTotals, PeriodUsage, SubscribedPeriod};
use weir_billing::{
    CorrectionInput, Invoice, InvoiceInput, InvoiceNumber, PlanVersion, Subscription, UsageOfPeriod,
    correction,
};
use weir_core::{Span, Timestamp};
use weir_metering::meter::Aggregation;
use weir_wire::alert::{INVOICE_FINALIZED, WebhookEvent};

use super::report::MadeDocument;
use super::run::Run;
use crate::world::{Books, FinalizingDocuments};

/// Where a document stands: whose period, the how-manieth of it, rated by which plan.
pub(super) struct Place<'a> {
    pub(super) subscription: Subscription,
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
    /// It cannot be billed as things are.
    Refused(String),
}

/// A document, nothing to say, or why there can be none (for people).
pub(super) type Drafted = Result<Option<Invoice>, String>;

/// Finalizes the documents of places that share a legal entity, in their order.
pub(super) async fn finalize<B: Books>(
    run: &Run<'_, B>,
    places: &[Place<'_>],
) -> Result<Vec<Outcome>, StoreError> {
    let mut outcomes = Vec::with_capacity(places.len());
    // Groups that are still to be tried, the next one last.
    let mut groups = vec![places];
    while let Some(group) = groups.pop() {
        match finalize_group(run, group).await {
            Ok(made) => outcomes.extend(made),
            Err(error) if error.is_transient() => return Err(error),
            Err(error) if group.len() == 1 => outcomes.push(Outcome::Refused(error.to_string())),
            Err(_) => {
                let (first, second) = group.split_at(group.len() / 2);
                groups.extend([second, first]);
            }
        }
    }
    Ok(outcomes)
}

/// Finalizes a group in a transaction: all of its documents, or none.
async fn finalize_group<B: Books>(
    run: &Run<'_, B>,
    places: &[Place<'_>],
) -> Result<Vec<Outcome>, StoreError> {
    let Some(first) = places.first() else { return Ok(Vec::new()) };
    let periods: Vec<SubscribedPeriod> = places.iter().map(|place| run.subscribed(place)).collect();
    let mut open = run.books.open_finalizing(&first.subscription.legal_entity).await?;
    let earlier = open.earlier(&periods).await?;
    let usage = open.usage(&periods).await?;
    let mut number = open.number().clone();
    let mut outcomes = Vec::with_capacity(places.len());
    let mut finalized = Vec::with_capacity(places.len());
    for ((place, earlier), usage) in places.iter().zip(&earlier).zip(usage) {
        if i32::try_from(earlier.len()) != Ok(place.sequence) {
            // Another run has come further with this period; the next one sees all of it.
            outcomes.push(Outcome::Nothing);
            continue;
        }
        let invoice = match numbered(run, place, earlier, usage, &number)? {
            Ok(Some(invoice)) => invoice,
            Ok(None) => {
                outcomes.push(Outcome::Nothing);
                continue;
            }
            Err(why) => {
                outcomes.push(Outcome::Refused(why));
                continue;
            }
        };
        number = number.next();
        outcomes.push(Outcome::Made(MadeDocument::of(&invoice)));
        finalized.push(told(invoice, place.sequence, run.now)?);
    }
    if !finalized.is_empty() {
        open.store(&finalized).await?;
    }
    for Finalized { invoice, .. } in &finalized {
        let number = invoice.number.as_ref().map(ToString::to_string).unwrap_or_default();
        tracing::info!(%number, tenant = %invoice.tenant, total = %invoice.total, "document finalized");
    }
    Ok(outcomes)
}

fn numbered<B: Books>(
    run: &Run<'_, B>,
    place: &Place<'_>,
    earlier: &[Invoice],
    usage: Option<PeriodUsage>,
    number: &InvoiceNumber,
) -> Result<Drafted, StoreError> {
    Ok(match draft(run, place, earlier, usage)? {
        Ok(Some(drafted)) => weir_billing::finalize(drafted, number.clone(), run.now)
            .map(Some)
            .map_err(|error| in_words(&error)),
        other => other,
    })
}

/// Drafts the document of a place from usage and what was billed of it before.
pub(super) fn draft<B: Books>(
    run: &Run<'_, B>,
    place: &Place<'_>,
    earlier: &[Invoice],
    usage: Option<PeriodUsage>,
) -> Result<Drafted, StoreError> {
    let Some(usage) = usage else {
        return Ok(Err("the tenant's partition was never counted".to_owned()));
    };
    let (id, cut) = (run.books.fresh_document_id(), usage.cut);
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

fn told(invoice: Invoice, sequence: i32, now: Timestamp) -> Result<Finalized, StoreError> {
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
    Ok(Finalized { invoice, sequence, webhook, topic })
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
