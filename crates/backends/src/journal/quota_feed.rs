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

    /// The partition that was counted longest ago, and up to when; `None` before any was.
    pub fn oldest_heartbeat(&self) -> Option<Heartbeat> {
        let heartbeats = self.heartbeats.read().unwrap_or_else(PoisonError::into_inner);
        heartbeats.values().min_by_key(|heartbeat| heartbeat.as_of).copied()
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

/// Says nothing: each poll returns what is to be told.
struct Quiet;

impl ClientContext for Quiet {
    fn error(&self, _: KafkaError, _: &str) {}
}

impl ConsumerContext for Quiet {}

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
    let consumer: BaseConsumer<Quiet> =
        client.create_with_context(Quiet).map_err(|error| StoreError::kafka(ATTEMPT, &error))?;
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(&config.quota_topic, 0, Offset::Beginning)
        .and_then(|()| consumer.assign(&from))
        .map_err(|error| StoreError::kafka(ATTEMPT, &error))?;
    let board = Arc::new(QuotaBoard::default());
    let mut feed = Feed { consumer, board: Arc::clone(&board), in_trouble: false };
    std::thread::Builder::new()
        .name("quota-feed".into())
        .spawn(move || {
            while !stop.load(Ordering::Acquire) {
                feed.read_some();
            }
        })
        .map_err(|error| StoreError::corrupt(ATTEMPT, error))?;
    Ok(board)
}

/// The reader's side of the board.
struct Feed {
    consumer: BaseConsumer<Quiet>,
    board: Arc<QuotaBoard>,
    in_trouble: bool,
}

impl Feed {
    fn read_some(&mut self) {
        match self.consumer.poll(Duration::from_millis(200)) {
            None => {}
            Some(Ok(message)) => {
                let taken = match (message.key(), message.payload()) {
                    (Some(key), Some(value)) => self.board.take(key, value),
                    _ => Ok(()),
                };
                if let Err(error) = taken {
                    tracing::warn!(%error, offset = message.offset(), "a quota level could not be read");
                }
                self.in_trouble = false;
            }
            Some(Err(KafkaError::PartitionEOF(_))) => self.board.caught_up.store(true, Ordering::Release),
            // While brokers are away a dozen errors a second queue up before the next level: only
            // taking them out at once keeps the time of stale answers to the time of the outage.
            Some(Err(error)) if self.in_trouble => {
                tracing::debug!(%error, "the quota topic still cannot be read")
            }
            Some(Err(error)) => {
                self.in_trouble = true;
                tracing::warn!(%error, "the quota topic cannot be read for now; answers grow stale");
            }
        }
    }
}
