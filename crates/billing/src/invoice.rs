//! Invoices as values: a header, its lines, and hashes over both.
//!
//! A draft has no number and no date; finalizing gives both and changes nothing else.
//! Every text and number on a document follows from the plan, the usage below the cut
//! and the ids given, so deriving it again gives the same bytes (invariant 15).

use serde::{Deserialize, Serialize};
use serde_json::Value;
use weir_core::money::MoneyError;
use weir_core::{Currency, Money, Position, Quantity, Span, TenantId, Timestamp};

use crate::canonical::{self, CanonicalError};
use crate::exact::{AmountTooLarge, ExactAmount};
use crate::name::{LegalEntityKey, MeterName, PlanKey};
use crate::number::InvoiceNumber;
use crate::rating::{RatingError, TierPart};

/// What a document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DocumentType {
    /// The first document of a period.
    Invoice,
    /// A later one for the same period: what it comes to now, minus what was billed.
    Correction,
}

/// What a line is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LineKind {
    /// The plan's fee for the period.
    FlatFee,
    /// Usage of one meter.
    Usage,
    /// A difference to what was billed before.
    Adjustment,
}

/// The document that a correction corrects.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Corrected {
    /// Its id.
    pub id: String,
    /// Its number.
    pub number: InvoiceNumber,
}

/// An invoice or correction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Invoice {
    /// `inv_…`, given by whoever drafted it.
    pub id: String,
    /// Invoice or correction.
    pub document_type: DocumentType,
    /// Given when it is finalized; a draft has none.
    pub number: Option<InvoiceNumber>,
    /// When it was finalized; a draft has none.
    pub issued_at: Option<Timestamp>,
    /// For a correction: the first document of the period.
    pub corrects: Option<Corrected>,
    /// Who is billed.
    pub tenant: TenantId,
    /// By whom.
    pub legal_entity: LegalEntityKey,
    /// For which subscription.
    pub subscription_id: String,
    /// The currency of every amount in it.
    pub currency: Currency,
    /// The billing period.
    pub period: Span,
    /// IANA name of the zone in which the period's bounds are midnights.
    pub zone: String,
    /// Events of the tenant's partition below this position count.
    pub cut: Position,
    /// Which rules made it.
    pub engine_version: String,
    /// The lines, numbered from 1.
    pub lines: Vec<InvoiceLine>,
    /// The sum of the lines' amounts.
    pub total: Money,
    /// SHA-256 in hex over the header and the lines' hashes.
    pub hash: String,
}

/// One line of a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InvoiceLine {
    /// From 1.
    pub line: u32,
    /// What it is for.
    pub kind: LineKind,
    /// Which meter; none for a flat fee.
    pub meter: Option<MeterName>,
    /// For people.
    pub description: String,
    /// The billing period.
    pub period: Span,
    /// What is billed here: all of the period's usage; on a correction, the difference to
    /// the documents before it.
    pub quantity: Quantity,
    /// The meter's unit.
    pub unit: String,
    /// How many events make up `quantity`; on a correction, the difference.
    pub event_count: i64,
    /// All of the period's usage below the cut, which was rated.
    pub rated_quantity: Quantity,
    /// How many events make up `rated_quantity`.
    pub rated_event_count: i64,
    /// Units that cost nothing, taken off before rating.
    pub included: Quantity,
    /// Which plan.
    pub plan: PlanKey,
    /// Which version of it.
    pub plan_version: u32,
    /// SHA-256 of the price (for a flat fee: of the plan), in hex.
    pub price_hash: String,
    /// Which rules made it.
    pub engine_version: String,
    /// Events below this position count.
    pub cut: Position,
    /// What `rated_quantity` comes to, exact.
    pub unrounded_amount: ExactAmount,
    /// What stands on earlier documents of the period for this meter; none on a first one.
    pub previously_billed: Option<Money>,
    /// `unrounded_amount` rounded once, minus `previously_billed`.
    pub amount: Money,
    /// The tiers that `rated_quantity` reached.
    pub tiers: Vec<TierPart>,
    /// Packages that `rated_quantity` comes to.
    pub packages: Option<Quantity>,
    /// SHA-256 in hex over everything else on the line.
    pub hash: String,
}

/// Why a document could not be made. All of them are permanent.
#[derive(Debug, thiserror::Error)]
pub enum InvoiceError {
    /// A line could not be rated.
    #[error("usage of {meter} could not be rated")]
    Rating {
        /// Which meter.
        meter: MeterName,
        /// Why.
        source: RatingError,
    },
    /// A line's amount cannot be money.
    #[error("line {line} could not be rounded to money")]
    Amount {
        /// Which line.
        line: u32,
        /// Why.
        source: AmountTooLarge,
    },
    /// Amounts could not be taken together.
    #[error("the amounts of a document could not be added")]
    Money(#[from] MoneyError),
    /// Two entries of usage for a meter.
    #[error("usage of {0} is given twice for one period")]
    UsageGivenTwice(MeterName),
    /// A count or difference that a line cannot hold.
    #[error("the quantity or event count of {0} is beyond what a line can hold")]
    CountTooLarge(MeterName),
    /// The document was finalized before.
    #[error("the document {id} has the number {number} already; a finalized document never changes")]
    AlreadyFinalized {
        /// Its id.
        id: String,
        /// Its number.
        number: InvoiceNumber,
    },
    /// A correction without an invoice to correct.
    #[error("a correction needs the finalized documents of its period, beginning with the invoice: {0}")]
    NothingToCorrect(String),
    /// Earlier documents that do not belong together or to the plan given.
    #[error(
        "the document {id} cannot be corrected together with the others or by this plan: its {what} differs"
    )]
    OtherDocument {
        /// Its id.
        id: String,
        /// What differs.
        what: &'static str,
    },
    /// A correction that knows less than what it corrects.
    #[error("a correction with the cut {cut} cannot follow the document {id} with the cut {earlier}")]
    CutGoesBack {
        /// The correction's cut.
        cut: Position,
        /// The earlier document.
        id: String,
        /// Its cut.
        earlier: Position,
    },
    /// A document could not be hashed.
    #[error("a document could not be hashed")]
    Canonical(#[from] CanonicalError),
}

impl Invoice {
    /// The document as bytes: what is stored, hashed and compared.
    pub fn canonical_json(&self) -> Result<String, CanonicalError> {
        canonical::canonical_json(self)
    }

    /// What `hash` must be: SHA-256 over the canonical JSON without `hash`, each line
    /// replaced by its hash.
    pub fn computed_hash(&self) -> Result<String, CanonicalError> {
        let hashes = self.lines.iter().map(|line| Value::from(line.hash.as_str())).collect();
        let mut value = canonical::value_of(self)?;
        if let Value::Object(members) = &mut value {
            members.remove("hash");
            members.insert("lines".to_owned(), Value::Array(hashes));
        }
        Ok(canonical::sha256_hex(&canonical::text_of(&value)))
    }

    /// What `total` must be: the sum of the lines' amounts.
    pub fn computed_total(&self) -> Result<Money, MoneyError> {
        self.lines.iter().try_fold(Money::zero(self.currency), |sum, line| sum.checked_add(line.amount))
    }

    /// With the total and the hash that follow from the rest.
    pub(crate) fn sealed(mut self) -> Result<Self, InvoiceError> {
        self.total = self.computed_total()?;
        self.hash = self.computed_hash()?;
        Ok(self)
    }
}

impl InvoiceLine {
    /// What `hash` must be: SHA-256 over the line's canonical JSON without `hash`.
    pub fn computed_hash(&self) -> Result<String, CanonicalError> {
        let mut value = canonical::value_of(self)?;
        if let Value::Object(members) = &mut value {
            members.remove("hash");
        }
        Ok(canonical::sha256_hex(&canonical::text_of(&value)))
    }

    pub(crate) fn sealed(mut self) -> Result<Self, InvoiceError> {
        self.hash = self.computed_hash()?;
        Ok(self)
    }
}
