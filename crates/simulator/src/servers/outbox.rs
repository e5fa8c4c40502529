//! The outbox in memory. A second message under the same id is ignored.

use serde_json::Value;

/// A message that must be told.
#[derive(Clone, Debug)]
pub(crate) struct OutboxLine {
    pub(crate) tenant: String,
    pub(crate) event_type: String,
    pub(crate) body: Value,
}
