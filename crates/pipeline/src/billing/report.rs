//! What a billing run did, for people: it prints itself. It decides nothing.

use std::fmt;

use weir_billing::{DocumentType, Invoice};
use weir_core::{Money, Span, TenantId};

/// What a run did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunReport {
    /// Invoices that were finalized, in order of their numbers per legal entity.
    pub invoices: Vec<MadeDocument>,
    /// Corrections that were finalized.
    pub corrections: Vec<MadeDocument>,
    /// Periods that are over by the calendar but not yet by the journal.
    pub waiting: Vec<Waiting>,
    /// Periods that cannot be billed until someone does something.
    pub refused: Vec<Refused>,
}

/// A document that was finalized.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MadeDocument {
    /// `inv_…`.
    pub id: String,
    /// Its number.
    pub number: String,
    /// Invoice or correction.
    pub document_type: DocumentType,
    /// Who is billed.
    pub tenant: TenantId,
    /// The billing period.
    pub period: Span,
    /// Its total.
    pub total: Money,
}

/// A period that is not closed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Whose.
    pub tenant: TenantId,
    /// Which period.
    pub period: Span,
    /// What it waits for, in words.
    pub why: String,
}

/// A period that could not be billed or corrected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Whose.
    pub tenant: TenantId,
    /// Which period.
    pub period: Span,
    /// Why, in words.
    pub why: String,
}

impl MadeDocument {
    /// Of a finalized document.
    pub(super) fn of(invoice: &Invoice) -> Self {
        Self {
            id: invoice.id.clone(),
            number: invoice.number.as_ref().map(ToString::to_string).unwrap_or_default(),
            document_type: invoice.document_type,
            tenant: invoice.tenant.clone(),
            period: invoice.period,
            total: invoice.total,
        }
    }
}

impl RunReport {
    /// Whether everything that is closed was billed.
    pub fn ok(&self) -> bool {
        self.refused.is_empty()
    }
}

impl fmt::Display for RunReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for made in self.invoices.iter().chain(&self.corrections) {
            let kind = match made.document_type {
                DocumentType::Invoice => "invoice   ",
                DocumentType::Correction => "correction",
            };
            let MadeDocument { number, tenant, period, total, .. } = made;
            writeln!(f, "{kind} {number}  {tenant}  {} to {}  {total}", period.start, period.end)?;
        }
        for Waiting { tenant, period, why } in &self.waiting {
            writeln!(f, "waiting    {tenant}  {} to {}: {why}", period.start, period.end)?;
        }
        for Refused { tenant, period, why } in &self.refused {
            writeln!(f, "refused    {tenant}  {} to {}: {why}", period.start, period.end)?;
        }
        write!(
            f,
            "{} invoices, {} corrections, {} waiting, {} refused",
            self.invoices.len(),
            self.corrections.len(),
            self.waiting.len(),
            self.refused.len()
        )
    }
}
