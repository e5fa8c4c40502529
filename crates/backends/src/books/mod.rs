//! The books: what is to be billed, what was counted for it, and the documents made of it.
//!
//! Invariants: usage and the cut it was read at come from one snapshot; numbers of a legal
//! entity are given under a lock on its row, in the transaction that finalizes the document,
//! so they have no gaps; quantities travel as exact text. It rates nothing: the money side
//! is in `weir-billing`, and when which document is made is the pipeline's to say.

mod documents;
mod due;
mod evidence;
mod finalizing;
mod numbers;
mod usage;

pub use documents::{
    DocumentRow, DocumentStatus, LineRow, Selection, documents, documents_of_periods, lines, stored_invoice,
};
pub use due::{
    BilledPeriod, DuePeriod, JournalReach, StoredPlan, billed_periods, due_periods, journal_reach,
    newest_broker_time, plans,
};
pub use evidence::{Evidence, SubscriptionFacts, UsageRow, UsageRows};
pub use finalizing::{Finalized, Finalizing};
pub use numbers::{LastNumber, counters, last_numbers_in_topic, retell_numbers, told_numbers};
pub use usage::{MeterTotals, PeriodUsage, SubscribedPeriod, usage_of_periods};

use crate::StoreError;

/// Sorts an error of a query of this folder.
fn failed(attempt: &'static str) -> impl Fn(sqlx::Error) -> StoreError {
    move |error| StoreError::postgres(attempt, &error)
}
