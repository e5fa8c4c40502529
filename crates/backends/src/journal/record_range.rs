//! Reading a closed range of a partition again: for the memory of event ids, for the
//! projection's catch-up. It belongs to no group.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use weir_core::Partition;

use super::bulk::{Block, BulkReader, RawMessage};
use super::consumer::reader_config;
use super::record::{NotBrokerTime, OwnedRecord};
use crate::StoreError;
use crate::config::KafkaConfig;

const ATTEMPT: &str = "read a range of the journal again";
/// Records that are handed over at once.
const CHUNK_RECORDS: usize = 2_000;
/// Without any answer for so long, the caller is told to try again.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// Streams the records of `[from, to)` by rising offset, in chunks. The stream ends after
/// the last one; an error is its last item. Records that are no longer there (trimmed)
/// are a permanent error.
pub fn stream_range(
    config: &KafkaConfig,
    partition: Partition,
    from: i64,
    to: i64,
) -> Receiver<Result<Vec<OwnedRecord>, StoreError>> {
    let (sender, receiver) = channel(4);
    let config = config.clone();
    tokio::task::spawn_blocking(move || {
        if let Err(error) = read(&config, partition, from, to, &sender) {
            // A receiver that is gone needs no answer.
            let _ = sender.blocking_send(Err(error));
        }
    });
    receiver
}

fn read(
    config: &KafkaConfig,
    partition: Partition,
    from: i64,
    to: i64,
    sender: &Sender<Result<Vec<OwnedRecord>, StoreError>>,
) -> Result<(), StoreError> {
    if from >= to {
        return Ok(());
    }
    let failed = |error: KafkaError| StoreError::kafka(ATTEMPT, &error);
    let mut client = reader_config(config, "again");
    client.set("enable.partition.eof", "true");
    let reader: BaseConsumer = client.create().map_err(failed)?;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&config.usage_topic, partition, Offset::Offset(from)).map_err(failed)?;
    reader.assign(&list).map_err(failed)?;
    let mut range = Range { partition, from, to, block: Block::default(), chunk: Vec::new() };
    let mut bulk = BulkReader::new(&reader, CHUNK_RECORDS);
    let mut heard_at = Instant::now();
    loop {
        let mut ended = match reader.poll(Duration::from_millis(200)) {
            Some(Ok(message)) => {
                range.take(message.offset(), |block| RawMessage::of(&message).copy(block))?
            }
            Some(Err(error)) => range.said(error)?,
            None if heard_at.elapsed() > SILENCE_MAX => {
                let reason = format!("partition {partition} did not answer for {SILENCE_MAX:?}");
                return Err(StoreError::Transient { attempt: ATTEMPT, reason });
            }
            None => continue,
        };
        heard_at = Instant::now();
        for message in bulk.read(Duration::ZERO).iter() {
            if ended {
                break;
            }
            ended = match message {
                Ok(message) => range.take(message.offset(), |block| message.copy(block))?,
                Err(error) => range.said(error)?,
            };
        }
        let full = range.chunk.len() >= CHUNK_RECORDS;
        if (full || ended)
            && !range.chunk.is_empty()
            && sender.blocking_send(Ok(std::mem::take(&mut range.chunk))).is_err()
        {
            return Ok(());
        }
        if ended {
            return Ok(());
        }
    }
}

/// What is read, and what has been read of it since the last chunk.
struct Range {
    partition: Partition,
    from: i64,
    to: i64,
    block: Block,
    chunk: Vec<OwnedRecord>,
}

impl Range {
    /// Takes a message; whether it was the last one, or stands behind it.
    fn take(
        &mut self,
        offset: i64,
        copy: impl FnOnce(&mut Block) -> Result<OwnedRecord, NotBrokerTime>,
    ) -> Result<bool, StoreError> {
        if offset < self.to {
            self.chunk.push(copy(&mut self.block).map_err(|error| StoreError::corrupt(ATTEMPT, error))?);
        }
        Ok(offset + 1 >= self.to)
    }

    /// What is said instead of a message; whether it is the end.
    fn said(&self, error: KafkaError) -> Result<bool, StoreError> {
        match error {
            KafkaError::PartitionEOF(_) => Ok(true),
            KafkaError::MessageConsumption(
                RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange,
            ) => {
                let reason = format!("partition {} no longer holds offset {}", self.partition, self.from);
                Err(StoreError::corrupt(ATTEMPT, reason))
            }
            error if error.rdkafka_error_code().is_some_and(is_passing) => Ok(false),
            error => Err(StoreError::kafka(ATTEMPT, &error)),
        }
    }
}

/// Errors that librdkafka gets over by itself.
fn is_passing(code: rdkafka::types::RDKafkaErrorCode) -> bool {
    use rdkafka::types::RDKafkaErrorCode::{
        AllBrokersDown, BrokerTransportFailure, LeaderNotAvailable, NotLeaderForPartition, OperationTimedOut,
        Resolve,
    };
    matches!(
        code,
        AllBrokersDown
            | BrokerTransportFailure
            | LeaderNotAvailable
            | NotLeaderForPartition
            | OperationTimedOut
            | Resolve
    )
}
