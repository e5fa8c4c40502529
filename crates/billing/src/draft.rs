//! Drafting the first document of a period, and giving a draft its number.
//!
//! Each line is rounded once; the total is the sum of the lines. A meter that the plan
//! does not price has no line, a priced one without usage has a line of zero.

use weir_core::{Money, Position, Quantity, Span, TenantId, Timestamp};

use crate::exact::ExactAmount;
use crate::invoice::{DocumentType, Invoice, InvoiceError, InvoiceLine, LineKind};
use crate::name::{LegalEntityKey, MeterName};
use crate::number::InvoiceNumber;
use crate::plan::{MeterPrice, PlanVersion};
use crate::price::PriceAmount;
use crate::rating::{ENGINE_VERSION, rate_price};

/// Usage of one meter in the period, below the cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageOfPeriod {
    /// Which meter.
    pub meter: MeterName,
    /// In the meter's unit.
    pub quantity: Quantity,
    /// Events that make it up; below zero where adjustments took away more.
    pub event_count: i64,
}

/// All that an invoice follows from.
#[derive(Clone, Debug)]
pub struct InvoiceInput<'a> {
    /// The new document's id, `inv_…`.
    pub id: String,
    /// Who is billed.
    pub tenant: TenantId,
    /// By whom.
    pub legal_entity: LegalEntityKey,
    /// For which subscription.
    pub subscription_id: String,
    /// The version in force when the period starts ([`PlanVersion::in_force`]).
    pub plan: &'a PlanVersion,
    /// The billing period.
    pub period: Span,
    /// IANA name of the tenant's billing zone.
    pub zone: String,
    /// Usage below this position is in `usage`.
    pub cut: Position,
    /// One entry a meter; meters without usage may be left out.
    pub usage: &'a [UsageOfPeriod],
}

/// Drafts the first document of a period.
pub fn draft(input: &InvoiceInput<'_>) -> Result<Invoice, InvoiceError> {
    let mut lines = Vec::with_capacity(input.plan.prices.len() + 1);
    if let Some(fee) = input.plan.flat_fee {
        lines.push(flat_fee_line(input, fee)?);
    }
    for price in &input.plan.prices {
        let line = u32::try_from(lines.len() + 1).unwrap_or(u32::MAX);
        let usage = usage_of(input.usage, &price.meter)?;
        lines.push(usage_line(input.plan, price, usage, input.period, input.cut, line)?);
    }
    Invoice {
        id: input.id.clone(),
        document_type: DocumentType::Invoice,
        number: None,
        issued_at: None,
        corrects: None,
        tenant: input.tenant.clone(),
        legal_entity: input.legal_entity.clone(),
        subscription_id: input.subscription_id.clone(),
        currency: input.plan.currency,
        period: input.period,
        zone: input.zone.clone(),
        cut: input.cut,
        engine_version: ENGINE_VERSION.to_owned(),
        lines,
        total: Money::zero(input.plan.currency),
        hash: String::new(),
    }
    .sealed()
}

/// Gives a draft its number and date. Nothing else changes but the hash of the whole.
pub fn finalize(
    draft: Invoice,
    number: InvoiceNumber,
    issued_at: Timestamp,
) -> Result<Invoice, InvoiceError> {
    if let Some(number) = draft.number {
        return Err(InvoiceError::AlreadyFinalized { id: draft.id, number });
    }
    Invoice { number: Some(number), issued_at: Some(issued_at), ..draft }.sealed()
}

/// Quantity and event count of a meter; zero where none is given.
pub(crate) fn usage_of(usage: &[UsageOfPeriod], meter: &MeterName) -> Result<(Quantity, i64), InvoiceError> {
    let mut given = usage.iter().filter(|entry| entry.meter == *meter);
    let found = given.next().map_or((Quantity::ZERO, 0), |entry| (entry.quantity, entry.event_count));
    if given.next().is_some() { Err(InvoiceError::UsageGivenTwice(meter.clone())) } else { Ok(found) }
}

/// The line of one priced meter, as it stands on the first document of a period.
pub(crate) fn usage_line(
    plan: &PlanVersion,
    price: &MeterPrice,
    (quantity, event_count): (Quantity, i64),
    period: Span,
    cut: Position,
    line: u32,
) -> Result<InvoiceLine, InvoiceError> {
    let rated = rate_price(price, quantity)
        .map_err(|source| InvoiceError::Rating { meter: price.meter.clone(), source })?;
    let named = if price.description.is_empty() { price.meter.as_str() } else { &price.description };
    let description =
        if rated.below_zero { format!("{named} (usage below zero costs nothing)") } else { named.to_owned() };
    InvoiceLine {
        line,
        kind: LineKind::Usage,
        meter: Some(price.meter.clone()),
        description,
        period,
        quantity,
        unit: price.unit.clone(),
        event_count,
        rated_quantity: quantity,
        rated_event_count: event_count,
        included: price.included,
        plan: plan.key.clone(),
        plan_version: plan.version,
        price_hash: price.content_hash()?,
        engine_version: ENGINE_VERSION.to_owned(),
        cut,
        unrounded_amount: rated.amount,
        previously_billed: None,
        amount: rated
            .amount
            .rounded(plan.currency)
            .map_err(|source| InvoiceError::Amount { line, source })?,
        tiers: rated.tiers,
        packages: rated.packages,
        hash: String::new(),
    }
    .sealed()
}

fn flat_fee_line(input: &InvoiceInput<'_>, fee: PriceAmount) -> Result<InvoiceLine, InvoiceError> {
    let (line, one) = (1, Quantity::from_units(1));
    let unrounded_amount = ExactAmount::from(fee);
    InvoiceLine {
        line,
        kind: LineKind::FlatFee,
        meter: None,
        description: input.plan.name.clone(),
        period: input.period,
        quantity: one,
        unit: "period".to_owned(),
        event_count: 0,
        rated_quantity: one,
        rated_event_count: 0,
        included: Quantity::ZERO,
        plan: input.plan.key.clone(),
        plan_version: input.plan.version,
        price_hash: input.plan.content_hash()?,
        engine_version: ENGINE_VERSION.to_owned(),
        cut: input.cut,
        unrounded_amount,
        previously_billed: None,
        amount: unrounded_amount
            .rounded(input.plan.currency)
            .map_err(|source| InvoiceError::Amount { line, source })?,
        tiers: Vec::new(),
        packages: None,
        hash: String::new(),
    }
    .sealed()
}
