//! How far each partition is archived, in numbers.

use weir_backends::StoreError;
use weir_backends::archive::record::{self, ArchivedTotals};
use weir_backends::config::KafkaConfig;
use weir_backends::journal::topics::TopicEnds;
use weir_backends::ledger::partition::{self, PartitionRow};
use weir_backends::postgres::Pool;

/// A partition and its archive.
#[derive(Clone, Debug)]
pub struct ArchiveStatus {
    /// Where counting stands.
    pub row: PartitionRow,
    /// What is archived of this generation; `None` when nothing is.
    pub archived: Option<ArchivedTotals>,
    /// The first offset that Kafka holds.
    pub kafka_from: i64,
}

impl ArchiveStatus {
    /// The first offset from which on everything can be read again.
    pub fn readable_from(&self) -> i64 {
        let reaches = self.archived.as_ref().filter(|archived| archived.to >= self.kafka_from);
        reaches.map_or(self.kafka_from, |archived| archived.run_from.min(self.kafka_from))
    }
}

/// Looks at every partition.
pub async fn look(pool: &Pool, kafka: &KafkaConfig) -> Result<Vec<ArchiveStatus>, StoreError> {
    let ends = TopicEnds::connect(kafka)?;
    let mut found = Vec::new();
    for row in partition::all(pool).await? {
        let archived = record::totals(pool, (row.partition, row.generation)).await?;
        let (kafka_from, _) = ends.watermarks(row.partition).await?;
        found.push(ArchiveStatus { row, archived, kafka_from });
    }
    Ok(found)
}
