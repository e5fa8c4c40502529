//! Why an event from outside was not taken: a reason with a code, and words that say
//! how to send it right. Data, not a failure of Weir.

use weir_metering::outcome::RejectReason;

use crate::dead_letter::{cut_message, reason_code};

/// The longest id that is repeated to whoever sent it, in characters.
const ID_CHARS_MAX: usize = 256;

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
    /// The event's id, where it could be read; cut to 256 characters.
    pub id: Option<String>,
}

impl EventProblem {
    /// The bytes are no event at all.
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::of(RejectReason::Malformed, detail.into())
    }

    /// An event that breaks a rule.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::of(RejectReason::InvalidEvent, detail.into())
    }

    /// A problem of a reason. Readers of JSON and Avro repeat what they found, be it as long
    /// as it likes, so the words are cut.
    pub(crate) fn of(reason: RejectReason, mut detail: String) -> Self {
        detail.truncate(cut_message(&detail).len());
        Self { reason, detail, index: None, id: None }
    }

    /// The same, of the event with this id, as far as it is repeated.
    pub(crate) fn with_id(self, id: Option<&str>) -> Self {
        Self { id: id.map(|id| id.chars().take(ID_CHARS_MAX).collect()), ..self }
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
