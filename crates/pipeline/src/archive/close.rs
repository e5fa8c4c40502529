//! When a range is closed: when what is counted and not archived is big enough or old enough.
//! The wall clock is asked for the age: it decides only when a file is written, nothing about
//! usage.

use weir_backends::StoreError;
use weir_backends::archive::record::{self, CountedBatch};
use weir_backends::config::ArchiveConfig;
use weir_core::Timestamp;

use super::{Archiver, Reached};

/// Batches that are looked at for one file: an hour of them, if they are a fifth of a second apart.
const BATCHES: i64 = 20_000;

/// A range that is closed: batches that follow each other. A file may end after any of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ClosedRange {
    pub(super) batches: Vec<CountedBatch>,
}

impl Archiver {
    /// What is closed of a partition, if anything is.
    pub(super) async fn closed(&self, reached: &Reached) -> Result<Option<ClosedRange>, StoreError> {
        let place = (reached.row.partition, reached.row.generation);
        let from = reached.to.max(reached.low);
        let first = record::batches(&self.pool, place, from, 1).await?;
        let Some(first) =
            first.first().filter(|first| is_closed(&self.config, reached, first, self.clock.now()))
        else {
            return Ok(None);
        };
        if first.from != reached.to && reached.to >= reached.low {
            let reason = format!("partition {}: no batch begins at offset {}", place.0, reached.to);
            return Err(StoreError::corrupt("find what is to be archived", reason));
        }
        let batches = record::batches(&self.pool, place, first.from, BATCHES).await?;
        Ok(Some(ClosedRange { batches }).filter(|range| !range.batches.is_empty()))
    }

    /// Says which offsets before a file's beginning were deleted by Kafka and are not archived.
    pub(super) fn tell_gap(&self, reached: &Reached, begins: i64) {
        let (partition, from) = (reached.row.partition, reached.to);
        if reached.has_begun {
            tracing::error!(partition, from, to = begins, "Kafka deleted records before they were archived");
            let lost = u64::try_from(begins - from).unwrap_or_default();
            self.metrics.archive.lost_offsets.inc_by(lost);
        } else {
            tracing::warn!(partition, from, to = begins, "the archive begins later than the journal did");
        }
    }
}

fn is_closed(config: &ArchiveConfig, reached: &Reached, first: &CountedBatch, now: Timestamp) -> bool {
    let offsets = u64::try_from(reached.row.next_offset - first.from).unwrap_or_default();
    offsets >= config.records_max
        || offsets.saturating_mul(reached.record_bytes) >= config.bytes_max
        || now.millis().saturating_sub(first.broker_time_max.millis()) >= config.age_max_ms
}
