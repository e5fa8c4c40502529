//! Archiving the journal (invariant 1): closed ranges of the partitions that this process counts
//! are written as files before Kafka deletes them. Counting does not wait for it and does not
//! know of it: what is archived is read from Kafka again, below what is committed.
//!
//! A range ends where a batch ended. It is closed when it is big or old enough. A file holds as
//! many records as the ledger's batches of its range have read, was read back after it was
//! written, and came from the topic that is counted; only then is it recorded. Ended at any step,
//! the range is written again; whoever else does the same records one file or the other.

pub mod check;
pub mod metrics;
pub mod status;

mod close;
mod guard;
mod write;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use weir_backends::StoreError;
use weir_backends::archive::{Archive, record};
use weir_backends::config::{ArchiveConfig, KafkaConfig};
use weir_backends::journal::TopicIds;
use weir_backends::journal::topics::TopicEnds;
use weir_backends::ledger::partition::{self, PartitionRow};
use weir_backends::postgres::{Installation, Pool};
use weir_core::Partition;

use crate::clock::Clock;
use crate::metrics::PipelineMetrics;
use crate::status::{PartitionState, PipelineStatus};

/// How often it is looked whether a range is closed.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long to wait after an error, so that a store that is away is not asked all the time.
const AFTER_ERROR: Duration = Duration::from_secs(10);
/// Files of one partition that are written before the others have their turn.
const FILES_IN_TURN: usize = 4;

/// What archives the partitions of a process.
#[derive(Debug)]
pub(crate) struct Archiver {
    pub(crate) archive: Archive,
    pub(crate) config: ArchiveConfig,
    pub(crate) pool: Pool,
    pub(crate) kafka: KafkaConfig,
    pub(crate) ends: TopicEnds,
    pub(crate) ids: TopicIds,
    pub(crate) installation: Installation,
    pub(crate) metrics: Arc<PipelineMetrics>,
    pub(crate) status: Arc<PipelineStatus>,
    pub(crate) clock: Clock,
}

/// How far a partition is archived.
#[derive(Clone, Debug)]
pub(crate) struct Reached {
    pub(crate) row: PartitionRow,
    /// Everything from here on is still to be archived.
    pub(crate) to: i64,
    /// What Kafka begins with.
    pub(crate) low: i64,
    /// Bytes of a record, as far as they are known from the last file.
    pub(crate) record_bytes: u64,
    /// Whether anything was archived.
    pub(crate) has_begun: bool,
}

impl Archiver {
    /// Archives what is closed, for ever.
    pub(crate) async fn run(self) -> Infallible {
        tracing::info!(archive = self.archive.url(), "closed ranges of the journal are archived");
        let mut guard = guard::Guard::default();
        loop {
            let mut trouble = BTreeMap::new();
            let mine = self.mine();
            for partition in &mine {
                if let Err(error) = self.bring(*partition, &mut guard).await {
                    trouble.insert(*partition, error.to_string());
                }
            }
            let wait = if trouble.is_empty() { LOOK_EVERY } else { AFTER_ERROR };
            guard.keep(&mine);
            self.tell(trouble, &guard);
            tokio::time::sleep(wait).await;
        }
    }

    /// The partitions that this process counts.
    fn mine(&self) -> Vec<Partition> {
        let partitions = self.status.snapshot().partitions;
        let counted = partitions.into_iter().filter(|(_, status)| status.state == PartitionState::Counting);
        counted.map(|(partition, _)| partition).collect()
    }

    /// Archives what is closed of a partition, in turn with the others.
    async fn bring(&self, partition: Partition, guard: &mut guard::Guard) -> Result<(), StoreError> {
        for _ in 0..FILES_IN_TURN {
            let Some(reached) = self.reached(partition).await? else { return Ok(()) };
            guard.look(self, &reached).await?;
            let Some(range) = self.closed(&reached).await? else { return Ok(()) };
            self.write(&reached, range).await?;
        }
        Ok(())
    }

    /// How far a partition is archived; `None` when it is not of this generation any more.
    async fn reached(&self, partition: Partition) -> Result<Option<Reached>, StoreError> {
        let generation = self.installation.generation;
        let row = partition::one(&self.pool, partition).await?;
        let Some(row) = row.filter(|row| row.generation == generation) else { return Ok(None) };
        let last = record::last_from(&self.pool, (partition, generation), i64::MAX).await?;
        let (low, _) = self.ends.watermarks(partition).await?;
        let record_bytes = last.as_ref().and_then(|last| last.plain_bytes.checked_div(last.records));
        Ok(Some(Reached {
            to: last.as_ref().map_or(row.first_offset, |last| last.to),
            has_begun: last.is_some(),
            record_bytes: record_bytes.unwrap_or(RECORD_BYTES),
            row,
            low,
        }))
    }

    /// Says what is wrong, once, and when it is over.
    fn tell(&self, trouble: BTreeMap<Partition, String>, guard: &guard::Guard) {
        let words = trouble.iter().map(|(partition, words)| format!("partition {partition}: {words}"));
        let words: Vec<String> = words.collect();
        self.status.update(|status| {
            for one in words.iter().filter(|one| !status.archive.trouble.contains(one)) {
                tracing::warn!(error = one, "archiving waits; counting goes on");
            }
            status.archive.trouble = words;
            status.archive.endangered = guard.endangered();
        });
    }
}

/// What a record takes before anything is known of a partition's records.
const RECORD_BYTES: u64 = 200;
