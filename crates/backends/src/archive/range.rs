//! Reading a closed range of a partition again, with what Kafka no longer holds of it taken from
//! the archive. As long as Kafka holds it, Kafka is asked: it costs less.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use weir_core::{Generation, Partition};
use weir_wire::archive_file::{ArchiveFileError, ArchiveFileReader, ArchivedRecord};

use super::{Archive, ArchivedFile, record};
use crate::StoreError;
use crate::config::KafkaConfig;
use crate::journal::OwnedRecord;
use crate::journal::record_range::stream_range;
use crate::journal::topics::TopicEnds;
use crate::postgres::Pool;

const ATTEMPT: &str = "read a range of the archive";
/// Records that are handed over at once.
const CHUNK_RECORDS: usize = 2_000;

/// What is sent of a range: chunks of records, or the error that ends it.
type Chunk = Result<Vec<OwnedRecord>, StoreError>;

/// The journal of one generation, as far back as its archive reaches.
#[derive(Clone, Debug)]
pub struct ArchiveReader {
    /// The files.
    pub archive: Archive,
    /// The ledger, which says which files there are.
    pub pool: Pool,
    /// The topic and where it is.
    pub kafka: KafkaConfig,
    /// How far it reaches.
    pub ends: TopicEnds,
    /// Which life of the topic.
    pub generation: Generation,
}

impl ArchiveReader {
    /// The first offset from which on a partition can be read again without a gap, where Kafka
    /// holds it from `low` on.
    pub async fn readable_from(&self, partition: Partition, low: i64) -> Result<i64, StoreError> {
        let file = record::last_from(&self.pool, (partition, self.generation), low).await?;
        Ok(file.filter(|file| file.to >= low).map_or(low, |file| file.run_from))
    }

    /// Streams the records of `[from, to)` as `stream_range` does.
    pub fn stream(&self, partition: Partition, from: i64, to: i64) -> Receiver<Chunk> {
        let (sender, receiver) = channel(4);
        let reader = Arc::new(self.clone());
        tokio::spawn(async move {
            if let Err(error) = reader.read(partition, from, to, &sender).await {
                // A receiver that is gone needs no answer.
                drop(sender.send(Err(error)).await);
            }
        });
        receiver
    }

    async fn read(
        &self,
        partition: Partition,
        from: i64,
        to: i64,
        sender: &Sender<Chunk>,
    ) -> Result<(), StoreError> {
        let mut next = from;
        let (mut low, _) = self.ends.watermarks(partition).await?;
        while next < to {
            if next >= low {
                match self.read_kafka(partition, (next, to), sender).await? {
                    Some(deleted) => (next, low) = deleted,
                    None => return Ok(()),
                }
                continue;
            }
            let file = self.file(partition, next, low).await?;
            if !self.read_file(&file, (next, to), sender).await? {
                return Ok(());
            }
            next = file.to;
        }
        Ok(())
    }

    /// Passes on what Kafka holds. When it was deleted meanwhile, returns where to go on and what
    /// Kafka begins with now.
    async fn read_kafka(
        &self,
        partition: Partition,
        (from, to): (i64, i64),
        sender: &Sender<Chunk>,
    ) -> Result<Option<(i64, i64)>, StoreError> {
        let mut next = from;
        let mut range = stream_range(&self.kafka, partition, from, to);
        while let Some(chunk) = range.recv().await {
            match chunk {
                Ok(records) => {
                    next = records.last().map_or(next, |last| last.offset + 1);
                    if sender.send(Ok(records)).await.is_err() {
                        return Ok(None);
                    }
                }
                Err(error) if error.is_transient() => return Err(error),
                Err(error) => {
                    let (low, _) = self.ends.watermarks(partition).await?;
                    return if next < low { Ok(Some((next, low))) } else { Err(error) };
                }
            }
        }
        Ok(None)
    }

    /// The file that holds an offset, which Kafka holds no longer.
    async fn file(&self, partition: Partition, offset: i64, low: i64) -> Result<ArchivedFile, StoreError> {
        let place = (partition, self.generation);
        let file = record::last_from(&self.pool, place, offset).await?;
        file.filter(|file| offset < file.to).ok_or_else(|| {
            let reason = format!(
                "partition {partition}: Kafka holds nothing below offset {low} any more, and the archive does \
                 not have offset {offset}"
            );
            StoreError::corrupt(ATTEMPT, reason)
        })
    }

    /// Sends the records of a file within a span; false when nobody wants them any more.
    async fn read_file(
        &self,
        file: &ArchivedFile,
        span: (i64, i64),
        sender: &Sender<Chunk>,
    ) -> Result<bool, StoreError> {
        let mut reader = Some(open(&self.archive, &self.kafka.usage_topic, file).await?);
        while let Some(mut taken) = reader.take() {
            let name = file.name(&self.kafka.usage_topic);
            let work = tokio::task::spawn_blocking(move || {
                let records = next_records(&mut taken, span).map_err(|error| {
                    StoreError::corrupt(ATTEMPT, format!("{name} cannot be used: {error}"))
                })?;
                Ok((taken, records))
            });
            let (taken, records) = work.await.map_err(|error| StoreError::corrupt(ATTEMPT, error))??;
            if records.is_empty() {
                return Ok(true);
            }
            if sender.send(Ok(records)).await.is_err() {
                return Ok(false);
            }
            reader = Some(taken);
        }
        Ok(true)
    }
}

/// The next records of a file within a span; none after the last.
///
/// # Errors
/// When the file is not whole.
pub fn next_records(
    reader: &mut ArchiveFileReader,
    (from, to): (i64, i64),
) -> Result<Vec<OwnedRecord>, ArchiveFileError> {
    let mut records = Vec::new();
    while records.len() < CHUNK_RECORDS {
        let Some(record) = reader.next_record()? else { break };
        if record.offset >= to {
            break;
        }
        if record.offset >= from {
            records.push(owned(&record));
        }
    }
    Ok(records)
}

/// A record of a file as one of the journal.
pub fn owned(record: &ArchivedRecord<'_>) -> OwnedRecord {
    let header =
        |(name, value): &(&str, Option<&[u8]>)| ((*name).to_owned(), value.unwrap_or_default().to_vec());
    OwnedRecord {
        offset: record.offset,
        broker_time_ms: record.broker_time_ms,
        key: record.key.map(Bytes::copy_from_slice),
        payload: record.value.map(Bytes::copy_from_slice),
        headers: record.headers.iter().map(header).collect(),
    }
}

/// A record of the journal as one of a file.
pub fn archived(record: &OwnedRecord) -> ArchivedRecord<'_> {
    let headers = record.headers.iter().map(|(name, value)| (name.as_str(), Some(value.as_slice())));
    ArchivedRecord {
        offset: record.offset,
        broker_time_ms: record.broker_time_ms,
        key: record.key.as_deref(),
        value: record.payload.as_deref(),
        headers: headers.collect(),
    }
}

/// Fetches a file, compares its sum, and reads what it says of itself.
///
/// # Errors
/// Permanent, with its name, when it is gone, damaged, or another one than was recorded.
pub async fn open(
    archive: &Archive,
    topic: &str,
    file: &ArchivedFile,
) -> Result<ArchiveFileReader, StoreError> {
    let name = file.name(topic);
    let bytes = archive.get(&name, &file.content_sum).await?;
    let opened = tokio::task::spawn_blocking(move || ArchiveFileReader::open(&bytes)).await;
    let broken = |reason: String| StoreError::corrupt(ATTEMPT, format!("{name} cannot be used: {reason}"));
    let reader = opened
        .map_err(|error| StoreError::corrupt(ATTEMPT, error))?
        .map_err(|error| broken(error.to_string()))?;
    let header = reader.header();
    let said = (header.partition, header.generation, header.from, header.to, header.records);
    if said != (file.partition, file.generation, file.from, file.to, file.records) {
        return Err(broken("it says of itself something else than the ledger does".to_owned()));
    }
    Ok(reader)
}
