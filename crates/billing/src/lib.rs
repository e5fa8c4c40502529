//! The money side, pure: what a plan costs, what usage comes to, what stands on an
//! invoice, and whether a stored invoice is the one that follows from the facts.
//! No IO, no clock, no randomness, no async, no logging, no floats; and no knowledge
//! of how usage is counted: it is given quantities by the name of a meter.

pub mod canonical;
pub mod exact;
pub mod invoice;
pub mod legal_entity;
pub mod name;
pub mod number;
pub mod plan;
pub mod price;
pub mod rating;
pub mod split;
pub mod subscription;
pub mod verify;

mod correction;
mod draft;

pub use correction::{CorrectionInput, correction};
pub use draft::{InvoiceInput, UsageOfPeriod, draft, finalize};
pub use exact::ExactAmount;
pub use invoice::{Corrected, DocumentType, Invoice, InvoiceError, InvoiceLine, LineKind};
pub use legal_entity::LegalEntity;
pub use name::{LegalEntityKey, MeterName, PlanKey};
pub use number::{InvoiceNumber, NumberPrefix};
pub use plan::{MeterPrice, PlanVersion};
pub use price::{PriceAmount, PriceModel, Tier};
pub use rating::{ENGINE_VERSION, Rated, RatingError, TierPart, rate, rate_price};
pub use subscription::Subscription;

#[cfg(test)]
mod tests;
