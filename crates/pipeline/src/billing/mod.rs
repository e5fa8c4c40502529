//! Billing: the run that makes documents of closed periods, the proof of those documents,
//! and their export.
//!
//! It decides when and in which order; amounts are `weir-billing`'s, every statement is
//! `weir-backends`'. Invariants: a period is closed by the journal, never by a clock; a
//! run that is repeated, doubled or killed anywhere makes the same documents; a finalized
//! document is never changed, only followed by a correction.

pub mod export;
pub mod verify;

mod finalize;
mod numbers;
mod report;
mod run;

use serde::{Deserialize, Serialize};
use weir_backends::StoreError;
use weir_core::time::{DAY_MS, HOUR_MS};

pub use numbers::numbers_in_topic;
pub use report::{MadeDocument, Refused, RunReport, Waiting};
pub use run::{run, run_in};
pub use verify::{Outcome, VerifyReport, Which, verify, verify_ledger_only};

/// How billing is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BillingSettings {
    /// How long after its end a period waits for late events, in milliseconds of broker time.
    pub grace_ms: i64,
    /// How far back finalized periods are looked at for late events, in milliseconds. At
    /// least the window in which late events are accepted, plus the longest time between runs.
    pub corrections_ms: i64,
    /// How many documents are finalized in one transaction at most. While it lasts, other runs wait
    /// for the numbers of that legal entity.
    pub documents_at_once: usize,
}

impl Default for BillingSettings {
    fn default() -> Self {
        // Events are accepted for 35 days; runs may lie another 40 days apart.
        Self { grace_ms: HOUR_MS, corrections_ms: 75 * DAY_MS, documents_at_once: 500 }
    }
}

/// Why a run or a proof could not go on. What was finalized before stays.
#[derive(Debug, thiserror::Error)]
pub enum BillingError {
    /// A store could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The ledger has gone back in time: giving numbers would give some twice.
    #[error(
        "the ledger would give {legal_entity} the number {next_number} next, but the topic of invoice numbers already knows {in_topic}: the ledger was restored to an earlier state; restore the documents up to that number before billing"
    )]
    CounterBehind {
        /// Which legal entity.
        legal_entity: String,
        /// What the ledger would give next.
        next_number: i64,
        /// The highest number that was told.
        in_topic: i64,
    },
    /// The topic of numbers has lost what it was told.
    #[error(
        "the topic of invoice numbers knows those of {legal_entity} up to {in_topic}, but it has acknowledged {told}: it was lost, or is another topic; if the ledger is right, `weir bill retell` has `weir serve` tell it all numbers again"
    )]
    TopicBehind {
        /// Which legal entity.
        legal_entity: String,
        /// The highest number that the topic has acknowledged.
        told: i64,
        /// The highest number in it.
        in_topic: i64,
    },
    /// No document has that number.
    #[error("no finalized document has the number {0}")]
    NoSuchNumber(String),
}
