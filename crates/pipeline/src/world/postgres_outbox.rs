//! The outbox of the product: Postgres. Thin: each call is one of `weir-backends`'.

use weir_backends::StoreError;
use weir_backends::outbox::{self, Attempt, DueMessage, Lane, OutboxKind};

use super::{Outbox, PostgresLedger};

impl Outbox for PostgresLedger {
    async fn claim(&self, lane: Lane, count: i64) -> Result<Vec<DueMessage>, StoreError> {
        outbox::claim(self.pool(), lane, count).await
    }

    async fn settle(&self, due: &DueMessage, attempt: &Attempt) -> Result<(), StoreError> {
        outbox::settle(self.pool(), due, attempt).await
    }

    async fn pending(&self) -> Result<Vec<(OutboxKind, i64)>, StoreError> {
        outbox::pending(self.pool()).await
    }
}
