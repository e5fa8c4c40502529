//! The outbox as it is delivered, and those who receive webhooks. Each call is one statement,
//! except where an endpoint is switched off; each request is one attempt.

use weir_backends::StoreError;
use weir_backends::outbox::{Attempt, DueMessage, Lane, OutboxKind};

/// Messages that wait for delivery.
pub trait Outbox: Clone + Send + Sync + 'static {
    /// Takes up to `count` messages of a lane that are due; they are offered to no one else for a minute.
    fn claim(
        &self,
        lane: Lane,
        count: i64,
    ) -> impl Future<Output = Result<Vec<DueMessage>, StoreError>> + Send;

    /// Writes down what became of an attempt at a message that was taken.
    fn settle(
        &self,
        due: &DueMessage,
        attempt: &Attempt,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// How many messages wait, by kind.
    fn pending(&self) -> impl Future<Output = Result<Vec<(OutboxKind, i64)>, StoreError>> + Send;
}

/// A webhook on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Where to.
    pub url: String,
    /// What it is signed with (`whsec_…`).
    pub secret: String,
    /// Its id, by which the receiver can tell repeats.
    pub id: String,
    /// What is said.
    pub body: Vec<u8>,
}

/// What a receiver answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The status of HTTP.
    pub status: u16,
    /// In how many seconds it wants to be asked again, if it said so.
    pub retry_after_s: Option<i64>,
}

/// Why nobody answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsendable {
    /// It never can be sent so.
    #[error("{0}")]
    Never(String),
    /// It could not be sent now, or the answer did not come; it may have arrived.
    #[error("{0}")]
    Now(String),
}

/// Those who receive webhooks.
pub trait Receivers: Clone + Send + Sync + 'static {
    /// Sends a webhook, once.
    fn post(&self, letter: Letter) -> impl Future<Output = Result<Answered, Unsendable>> + Send;
}
