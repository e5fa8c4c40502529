//! Where every tenant stands, in memory: the compacted topic of quota levels, read from
//! its beginning and followed (invariant 12). Answers come from here alone, so they stay
//! fresh and fast while Postgres is away. Of two levels the higher position wins.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Message, Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};
use weir_core::{Position, Timestamp};
use weir_metering::quota::QuotaLevel;
use weir_wire::quota_level;

use super::producer::{OutgoingRecord, client_config};
use crate::StoreError;
use crate::config::KafkaConfig;

/// Keys that begin so are heartbeats of a partition, not levels: no tenant id begins so.
const HEARTBEAT_PREFIX: u8 = b'~';

/// How far a partition has been counted, told beside the levels so that the level of a
/// quiet tenant does not look stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The last record counted.
    pub position: Position,
    /// Its broker time (the running maximum).
    pub as_of: Timestamp,
}

impl Heartbeat {
    /// The record that tells it.
    pub fn record(&self, topic: &str) -> OutgoingRecord {
        let value = serde_json::to_vec(self).unwrap_or_default();
        let key = format!("~{}", self.position.partition).into_bytes();
        OutgoingRecord {
            topic: topic.to_owned(),
            key: Some(key),
            value: Some(value),
            ..OutgoingRecord::default()
        }
    }
}

/// The levels that were published last.
#[derive(Debug, Default)]
pub struct QuotaBoard {
    heartbeats: RwLock<HashMap<i32, Heartbeat>>,
    levels: RwLock<HashMap<String, HashMap<String, QuotaLevel>>>,
    caught_up: AtomicBool,
}

impl QuotaBoard {
    /// Where `tenant` stands on `meter`; `None` where no limit was ever in force.
    pub fn level(&self, tenant: &str, meter: &str) -> Option<QuotaLevel> {
        let levels = self.levels.read().unwrap_or_else(PoisonError::into_inner);
        let mut level = levels.get(tenant)?.get(meter)?.clone();
        drop(levels);
        let heartbeats = self.heartbeats.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(heartbeat) = heartbeats.get(&level.position.partition) {
            level.as_of = level.as_of.max(heartbeat.as_of);
        }
        Some(level)
    }

    /// Whether the topic has been read to its end once.
    pub fn is_caught_up(&self) -> bool {
        self.caught_up.load(Ordering::Acquire)
    }

    /// Takes a level unless a later one is known.
    pub fn put(&self, level: QuotaLevel) {
        let mut levels = self.levels.write().unwrap_or_else(PoisonError::into_inner);
        let meters = levels.entry(level.tenant.as_str().to_owned()).or_default();
        match meters.get(level.meter.as_str()) {
            Some(held) if !quota_level::replaces(&level, held) => {}
            _ => {
                meters.insert(level.meter.as_str().to_owned(), level);
            }
        }
    }
}

impl QuotaBoard {
    fn beat(&self, heartbeat: Heartbeat) {
        let mut heartbeats = self.heartbeats.write().unwrap_or_else(PoisonError::into_inner);
        let held = heartbeats.entry(heartbeat.position.partition).or_insert(heartbeat);
        if (heartbeat.position.generation, heartbeat.position.offset)
            >= (held.position.generation, held.position.offset)
        {
            *held = heartbeat;
        }
    }

    fn take(&self, key: &[u8], value: &[u8]) -> Result<(), String> {
        if key.first() == Some(&HEARTBEAT_PREFIX) {
            self.beat(serde_json::from_slice(value).map_err(|error| error.to_string())?);
        } else {
            self.put(quota_level::decode(key, value).map_err(|error| error.to_string())?);
        }
        Ok(())
    }
}

/// Says nothing of the end of the partition, which is no error here.
struct QuietAtTheEnd;

impl ClientContext for QuietAtTheEnd {
    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::PartitionEOF) {
            tracing::warn!(%error, reason, "the quota topic's connection");
        }
    }
}

impl ConsumerContext for QuietAtTheEnd {}

/// Follows the topic on a thread of its own until `stop` says so.
pub fn follow(config: &KafkaConfig, stop: Arc<AtomicBool>) -> Result<Arc<QuotaBoard>, StoreError> {
    const ATTEMPT: &str = "follow the quota topic";
    let mut client = client_config(config, "quota");
    // No group: every process reads every level. librdkafka wants a group id all the same.
    client
        .set("group.id", "weir-quota-reader")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("auto.offset.reset", "earliest")
        .set("fetch.wait.max.ms", "50");
    let consumer: BaseConsumer<QuietAtTheEnd> =
        client.create_with_context(QuietAtTheEnd).map_err(|error| StoreError::kafka(ATTEMPT, &error))?;
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(&config.quota_topic, 0, Offset::Beginning)
        .and_then(|()| consumer.assign(&from))
        .map_err(|error| StoreError::kafka(ATTEMPT, &error))?;
    let board = Arc::new(QuotaBoard::default());
    let filled = Arc::clone(&board);
    std::thread::Builder::new()
        .name("quota-feed".into())
        .spawn(move || {
            while !stop.load(Ordering::Acquire) {
                read_some(&consumer, &filled);
            }
        })
        .map_err(|error| StoreError::corrupt(ATTEMPT, error))?;
    Ok(board)
}

fn read_some(consumer: &BaseConsumer<QuietAtTheEnd>, board: &QuotaBoard) {
    match consumer.poll(Duration::from_millis(200)) {
        None => {}
        Some(Ok(message)) => {
            let (Some(key), Some(value)) = (message.key(), message.payload()) else { return };
            if let Err(error) = board.take(key, value) {
                tracing::warn!(%error, offset = message.offset(), "a quota level could not be read");
            }
        }
        Some(Err(KafkaError::PartitionEOF(_))) => board.caught_up.store(true, Ordering::Release),
        Some(Err(error)) => {
            tracing::warn!(%error, "the quota topic cannot be read for now; answers grow stale");
            std::thread::sleep(Duration::from_millis(500));
        }
    }
}
