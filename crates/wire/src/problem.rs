//! Why an event from outside was not taken: a reason with a code, and words that say
//! how to send it right. Data, not a failure of Weir.

use weir_metering::outcome::RejectReason;

use crate::dead_letter::reason_code;

/// Why one event was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct EventProblem {
    /// Why, as the ledger and the dead letters know it.
    pub reason: RejectReason,
    /// Why, in words, and how to send it right.
    pub detail: String,
    /// Which event of a batch, from 0; `None` for an event sent alone.
    pub index: Option<usize>,
    /// The event's id, where it could be read.
    pub id: Option<String>,
}

impl EventProblem {
    /// The bytes are no event at all.
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self { reason: RejectReason::Malformed, detail: detail.into(), index: None, id: None }
    }

    /// An event that breaks a rule.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self { reason: RejectReason::InvalidEvent, detail: detail.into(), index: None, id: None }
    }

    /// The reason's code, such as `invalid_event`.
    pub fn code(&self) -> &'static str {
        reason_code(self.reason)
    }
}

/// Why a whole batch could not be taken apart into events.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeProblem {
    /// Not a JSON array.
    #[error("the body is not a JSON array of CloudEvents: {0}")]
    NotAnArray(String),
    /// More events than one request may carry.
    #[error("the body holds more than {max} events; send them in several requests")]
    TooManyEvents {
        /// The bound.
        max: usize,
    },
}
