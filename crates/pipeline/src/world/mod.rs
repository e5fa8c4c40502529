//! What counting, delivery and billing are surrounded by: journal, ledger, projection, files of ids,
//! receivers of webhooks, time and chance, as exactly the calls that they make of them. Behind the
//! traits stand the servers ([`Servers`]) or the simulator's stores; which of them is known when the
//! program is compiled, so a call costs what it cost without them.
//!
//! Nothing is decided here. An implementation carries a call out or says why it could not,
//! with [`StoreError::is_transient`] for what may have happened all the same.
//!
//! [`StoreError::is_transient`]: weir_backends::StoreError::is_transient

mod books;
mod ids;
mod ledger;
mod outbox;
mod postgres_books;
mod postgres_outbox;
mod projection;
mod reader;
mod runtime;
mod servers;
mod webhooks;
mod writer;

pub use books::{Books, FinalizingDocuments};
pub use ids::{IdStore, SealedIds};
pub use ledger::{Ledger, Place};
pub use outbox::{Answered, Letter, Outbox, Receivers, Unsendable};
pub use projection::ProjectionStore;
pub use reader::{JournalReader, RecordQueue, RecordRange};
pub use runtime::{Runtime, Stopped, Tasks};
pub use servers::{KafkaReader, PostgresLedger, Servers, TokioRuntime};
pub use webhooks::HttpReceivers;
pub use writer::JournalWriter;

/// A world to count in.
pub trait World: Send + Sync + 'static {
    /// The usage topic, read.
    type Reader: JournalReader;
    /// All topics, written.
    type Writer: JournalWriter;
    /// The ledger.
    type Ledger: Ledger;
    /// The projection.
    type Projection: ProjectionStore;
    /// Files of event ids on this machine.
    type Ids: IdStore;
    /// Messages that wait for delivery.
    type Outbox: Outbox;
    /// Those who receive webhooks.
    type Receivers: Receivers;
    /// Time, chance and tasks.
    type Runtime: Runtime;
}
