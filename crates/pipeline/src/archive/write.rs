//! One file: read from Kafka, written, read back, recorded, in this order. Whatever is not as it
//! should be leaves the ledger as it was.

use tokio::sync::mpsc::Receiver;
use weir_backends::StoreError;
use weir_backends::archive::range::archived;
use weir_backends::archive::{name_of, record};
use weir_backends::config::ArchiveConfig;
use weir_backends::journal::OwnedRecord;
use weir_backends::journal::record_range::stream_range;
use weir_backends::ledger::partition;
use weir_core::{Generation, Partition};
use weir_wire::archive_file::{ArchiveFileEncoder, EncodedArchiveFile};

use super::close::ClosedRange;
use super::{Archiver, Reached};
use crate::accept_topic::holds_last;
use crate::counting::topic_watch::other_topic;

const ATTEMPT: &str = "archive a range of the journal";

impl Archiver {
    /// Writes the beginning of a range as one file.
    pub(super) async fn write(&self, reached: &Reached, range: ClosedRange) -> Result<(), StoreError> {
        let place = (reached.row.partition, reached.row.generation);
        let Some(file) = self.encode(place, range).await? else { return Ok(()) };
        let name = name_of(&file);
        self.archive.put(&name, file.bytes.clone()).await?;
        self.archive.get(&name, &file.content_sum).await?;
        self.still_the_same(place).await?;
        if !record::record(&self.pool, &file).await? {
            let reason = format!(
                "partition {}: the ledger has other batches by now, or a file for [{}, {}) already",
                place.0, file.header.from, file.header.to
            );
            return Err(StoreError::Transient { attempt: ATTEMPT, reason });
        }
        let (header, file_bytes) = (&file.header, u64::try_from(file.bytes.len()).unwrap_or_default());
        tracing::info!(
            partition = header.partition,
            from = header.from,
            to = header.to,
            records = header.records,
            bytes = file_bytes,
            "archived"
        );
        if header.from != reached.to {
            self.tell_gap(reached, header.from);
        }
        self.metrics.archive.files.inc();
        self.metrics.archive.bytes.inc_by(file_bytes);
        Ok(())
    }

    async fn encode(
        &self,
        (partition, generation): (Partition, Generation),
        range: ClosedRange,
    ) -> Result<Option<EncodedArchiveFile>, StoreError> {
        let (Some(first), Some(last)) = (range.batches.first(), range.batches.last()) else {
            return Ok(None);
        };
        let records = stream_range(&self.kafka, partition, first.from, last.to);
        let topic_id = self.installation.topic_id.clone().unwrap_or_default();
        let encoder = ArchiveFileEncoder::new(
            (&self.installation.topic, &topic_id),
            (partition, generation),
            first.from,
        );
        let encoder = encoder.map_err(|error| StoreError::corrupt(ATTEMPT, error))?;
        let filling = Filling { encoder, range, config: self.config.clone(), at: 0, before: 0, partition };
        let encoded = tokio::task::spawn_blocking(move || filling.fill(records)).await;
        encoded.map_err(|error| StoreError::corrupt(ATTEMPT, error))?.map(Some)
    }

    /// What was read came from the topic that is counted: a topic's id never comes back, and one
    /// that was cut and filled again does not hold what was counted last.
    async fn still_the_same(
        &self,
        (partition, generation): (Partition, Generation),
    ) -> Result<(), StoreError> {
        if let Some(reason) = other_topic(&self.installation, &self.ids.ask().await?) {
            return Err(StoreError::Permanent { attempt: ATTEMPT, reason });
        }
        let row = partition::one(&self.pool, partition).await?.filter(|row| row.generation == generation);
        let (low, _) = self.ends.watermarks(partition).await?;
        let holds = match &row {
            Some(row) => holds_last(&self.kafka, row, low).await?,
            None => false,
        };
        if holds {
            return Ok(());
        }
        let reason = format!("partition {partition} does not hold what was counted any more");
        Err(StoreError::Permanent { attempt: ATTEMPT, reason })
    }
}

/// A file that is being filled, batch by batch.
struct Filling {
    encoder: ArchiveFileEncoder,
    range: ClosedRange,
    config: ArchiveConfig,
    /// The batch under way.
    at: usize,
    /// Records of the batches before it.
    before: u64,
    partition: Partition,
}

impl Filling {
    /// Takes records until the file is full or the range is at its end.
    fn fill(
        mut self,
        mut records: Receiver<Result<Vec<OwnedRecord>, StoreError>>,
    ) -> Result<EncodedArchiveFile, StoreError> {
        while let Some(chunk) = records.blocking_recv() {
            for record in chunk? {
                while self.ends_before(record.offset) {
                    if let Some(to) = self.end_batch()? {
                        return self.finish(to);
                    }
                }
                self.encoder.push(&archived(&record)).map_err(|error| StoreError::corrupt(ATTEMPT, error))?;
            }
        }
        let mut to = None;
        while to.is_none() && self.at < self.range.batches.len() {
            let end = self.range.batches[self.at].to;
            to = self.end_batch()?.or((self.at == self.range.batches.len()).then_some(end));
        }
        let to = to.ok_or_else(|| StoreError::corrupt(ATTEMPT, "a range without batches"))?;
        self.finish(to)
    }

    fn ends_before(&self, offset: i64) -> bool {
        self.range.batches.get(self.at).is_some_and(|batch| batch.to <= offset)
    }

    /// Ends the batch under way. Returns its end when the file is full with it.
    fn end_batch(&mut self) -> Result<Option<i64>, StoreError> {
        let Some(batch) = self.range.batches.get(self.at) else { return Ok(None) };
        let (records, bytes) = (self.encoder.records(), self.encoder.plain_bytes());
        if records - self.before != batch.records {
            let reason = format!(
                "partition {}: the batch [{}, {}) was counted with {} records, and Kafka holds {}",
                self.partition,
                batch.from,
                batch.to,
                batch.records,
                records - self.before
            );
            return Err(StoreError::corrupt(ATTEMPT, reason));
        }
        self.before = records;
        self.at += 1;
        let is_full = records >= self.config.records_max || bytes >= self.config.bytes_max;
        Ok(is_full.then_some(batch.to))
    }

    fn finish(self, to: i64) -> Result<EncodedArchiveFile, StoreError> {
        self.encoder.finish(to).map_err(|error| StoreError::corrupt(ATTEMPT, error))
    }
}
