//! Dead letters for operators: which there are, what one holds, and sending them again once
//! their cause is gone. A record that was rejected more than once, or written twice after a
//! crash, is one letter, known by where it stood first (invariant 10).
//!
//! Counting decides about what is sent again, not this: the event's id makes every replay safe
//! to repeat. What can be told beforehand is told, so that nothing is sent in vain.

mod filter;
mod judge;
mod letter;
mod reading;
mod replay;
mod verdicts;

pub use filter::Filter;
pub use letter::{Letter, Reading};
pub use reading::{Entry, Survey, fetch_all, survey};
pub use replay::{Fate, Line, Replay, ReplayError, Replayed};
pub use verdicts::{Counted, counted};

use weir_backends::StoreError;
use weir_backends::config::KafkaConfig;
use weir_backends::journal::OwnedRecord;
use weir_metering::record::RecordBody;

use crate::counting::decoder::Decoder;

/// Reads what letters hold, as counting does.
#[derive(Debug)]
pub struct Reader {
    kafka: KafkaConfig,
    decoder: Decoder,
}

impl Reader {
    /// A reader that knows the schemas that counting knows.
    pub fn new(kafka: &KafkaConfig, record_bytes_max: usize) -> Self {
        let decoder = Decoder::new(kafka.schema_registry_url.as_deref(), record_bytes_max);
        Self { kafka: kafka.clone(), decoder }
    }

    /// What the records hold; the schema registry is asked where one is configured.
    async fn read(&self, records: &[OwnedRecord]) -> Result<Vec<RecordBody>, StoreError> {
        let schemas = self.decoder.schemas_for(records).await?;
        Ok(records.iter().map(|record| self.decoder.decode(&schemas, record).body).collect())
    }
}
