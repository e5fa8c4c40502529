//! Corrections: a new document for a period that was billed before, for what its usage
//! comes to now minus everything billed for it so far. Earlier documents stay as they are.
//!
//! The flat fee does not depend on usage and is never corrected. A meter whose quantity
//! and amount are unchanged has no line; without lines there is no document. Usage that
//! differs but costs the same (inside the included units) makes a line of zero, so that
//! the quantities on the documents still sum to what was counted.

use weir_core::{Money, Position, Quantity};

use crate::draft::{UsageOfPeriod, usage_line, usage_of};
use crate::invoice::{Corrected, DocumentType, Invoice, InvoiceError, InvoiceLine, LineKind};
use crate::plan::{MeterPrice, PlanVersion};
use crate::rating::ENGINE_VERSION;

/// All that a correction follows from.
#[derive(Clone, Debug)]
pub struct CorrectionInput<'a> {
    /// The new document's id, `inv_…`.
    pub id: String,
    /// The plan version that rated the period.
    pub plan: &'a PlanVersion,
    /// Every finalized document of the subscription's period so far, in order of issue.
    pub earlier: &'a [Invoice],
    /// All of the period's usage below the new cut.
    pub usage: &'a [UsageOfPeriod],
    /// The new cut.
    pub cut: Position,
}

/// Drafts the correction of a period, or nothing where nothing differs.
pub fn correction(input: &CorrectionInput<'_>) -> Result<Option<Invoice>, InvoiceError> {
    let (first, corrects) = first_of(input)?;
    for document in input.earlier {
        belongs(document, first, input)?;
    }
    let mut lines = Vec::new();
    for price in &input.plan.prices {
        let line = u32::try_from(lines.len() + 1).unwrap_or(u32::MAX);
        lines.extend(adjustment(input, first, price, line)?);
    }
    if lines.is_empty() {
        return Ok(None);
    }
    Invoice {
        id: input.id.clone(),
        document_type: DocumentType::Correction,
        number: None,
        issued_at: None,
        corrects: Some(corrects),
        cut: input.cut,
        engine_version: ENGINE_VERSION.to_owned(),
        lines,
        total: Money::zero(first.currency),
        hash: String::new(),
        tenant: first.tenant.clone(),
        legal_entity: first.legal_entity.clone(),
        subscription_id: first.subscription_id.clone(),
        currency: first.currency,
        period: first.period,
        zone: first.zone.clone(),
    }
    .sealed()
    .map(Some)
}

fn first_of<'a>(input: &CorrectionInput<'a>) -> Result<(&'a Invoice, Corrected), InvoiceError> {
    let nothing = |why: &str| InvoiceError::NothingToCorrect(why.to_owned());
    let first = input.earlier.first().ok_or_else(|| nothing("none was given"))?;
    if first.document_type != DocumentType::Invoice {
        return Err(nothing("the first one given is not an invoice"));
    }
    let number = first.number.clone().ok_or_else(|| nothing("the invoice is a draft"))?;
    Ok((first, Corrected { id: first.id.clone(), number }))
}

fn belongs(document: &Invoice, first: &Invoice, input: &CorrectionInput<'_>) -> Result<(), InvoiceError> {
    let plan = |line: &InvoiceLine| line.plan == input.plan.key && line.plan_version == input.plan.version;
    let differing = [
        ("number (it is a draft)", document.number.is_some()),
        ("tenant", document.tenant == first.tenant),
        ("subscription", document.subscription_id == first.subscription_id),
        ("legal entity", document.legal_entity == first.legal_entity),
        ("period", document.period == first.period),
        ("currency", document.currency == first.currency && document.currency == input.plan.currency),
        ("plan", document.lines.iter().all(plan)),
    ];
    if let Some((what, _)) = differing.iter().find(|(_, same)| !same) {
        return Err(InvoiceError::OtherDocument { id: document.id.clone(), what });
    }
    let same_log =
        (document.cut.generation, document.cut.partition) == (input.cut.generation, input.cut.partition);
    if same_log && input.cut.offset < document.cut.offset {
        let (id, earlier) = (document.id.clone(), document.cut);
        return Err(InvoiceError::CutGoesBack { cut: input.cut, id, earlier });
    }
    Ok(())
}

/// The line of one meter, or nothing where neither quantity nor amount differs.
fn adjustment(
    input: &CorrectionInput<'_>,
    first: &Invoice,
    price: &MeterPrice,
    line: u32,
) -> Result<Option<InvoiceLine>, InvoiceError> {
    let usage = usage_of(input.usage, &price.meter)?;
    let now = usage_line(input.plan, price, usage, first.period, input.cut, line)?;
    let too_large = || InvoiceError::CountTooLarge(price.meter.clone());
    let mut billed = (Money::zero(first.currency), Quantity::ZERO, 0_i64);
    let earlier = input.earlier.iter().flat_map(|document| &document.lines);
    for line in earlier.filter(|line| line.meter.as_ref() == Some(&price.meter)) {
        billed.0 = billed.0.checked_add(line.amount)?;
        billed.1 = billed.1.checked_add(line.quantity).ok_or_else(too_large)?;
        billed.2 = billed.2.checked_add(line.event_count).ok_or_else(too_large)?;
    }
    let amount = now.amount.checked_sub(billed.0)?;
    let quantity = now.quantity.checked_sub(billed.1).ok_or_else(too_large)?;
    if amount.amount.is_zero() && quantity == Quantity::ZERO {
        return Ok(None);
    }
    let adjusted = InvoiceLine {
        kind: LineKind::Adjustment,
        quantity,
        event_count: now.event_count.checked_sub(billed.2).ok_or_else(too_large)?,
        previously_billed: Some(billed.0),
        amount,
        ..now
    };
    adjusted.sealed().map(Some)
}
