//! The numbers that were given: by the ledger's counters, and by the topic that is told of
//! each. Where the topic knows a higher one, the ledger has gone back in time. The topic is
//! compacted and numbers are told in any order, so each has a key of its own.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use weir_wire::invoice_number;

use super::failed;
use crate::StoreError;
use crate::config::KafkaConfig;
use crate::journal::producer::client_config;
use crate::postgres::Pool;

const ATTEMPT: &str = "read the topic of invoice numbers";
/// How long the broker may be silent.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Where a legal entity's counter stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastNumber {
    /// Which legal entity.
    pub legal_entity: String,
    /// What its numbers begin with.
    pub prefix: String,
    /// The next number to be given.
    pub next_number: i64,
}

const COUNTERS: &str = "SELECT key, number_prefix, next_number FROM legal_entity ORDER BY key";

/// The counters of all legal entities.
pub async fn counters(pool: &Pool) -> Result<Vec<LastNumber>, StoreError> {
    let rows: Vec<(String, String, i64)> =
        sqlx::query_as(COUNTERS).fetch_all(pool).await.map_err(failed("read the counters of numbers"))?;
    Ok(rows
        .into_iter()
        .map(|(legal_entity, prefix, next_number)| LastNumber { legal_entity, prefix, next_number })
        .collect())
}

const TOLD: &str = "SELECT split_part(topic_key, '/', 1),
        max(regexp_replace(body->>'number', '^.*-', '')::bigint)
    FROM outbox WHERE kind = 'invoice_topic' AND delivered_at IS NOT NULL GROUP BY 1";
const RETELL: &str =
    "UPDATE outbox SET delivered_at = NULL, failed_at = NULL, next_attempt_at = clock_timestamp()
    WHERE kind = 'invoice_topic' AND (delivered_at IS NOT NULL OR failed_at IS NOT NULL)";

/// The highest number of each legal entity that the topic was told of, and has acknowledged.
pub async fn told_numbers(pool: &Pool) -> Result<BTreeMap<String, i64>, StoreError> {
    let rows: Vec<(String, i64)> =
        sqlx::query_as(TOLD).fetch_all(pool).await.map_err(failed("read which numbers were told"))?;
    Ok(rows.into_iter().collect())
}

/// Has every number told to the topic again; how many there are.
pub async fn retell_numbers(pool: &Pool) -> Result<u64, StoreError> {
    let done = sqlx::query(RETELL).execute(pool).await.map_err(failed("have the numbers told again"))?;
    Ok(done.rows_affected())
}

/// The highest counter in the topic for each legal entity. Empty when the topic is, or is
/// not there yet. Blocking work is done off the runtime's threads.
pub async fn last_numbers_in_topic(config: &KafkaConfig) -> Result<BTreeMap<String, i64>, StoreError> {
    let config = config.clone();
    tokio::task::spawn_blocking(move || read_topic(&config))
        .await
        .map_err(|error| StoreError::corrupt(ATTEMPT, error))?
}

fn read_topic(config: &KafkaConfig) -> Result<BTreeMap<String, i64>, StoreError> {
    let kafka = |error: KafkaError| StoreError::kafka(ATTEMPT, &error);
    let topic = config.invoices_topic.as_str();
    let consumer: BaseConsumer = client_config(config, "billing")
        .set("group.id", "weir-billing")
        .set("enable.auto.commit", "false")
        // Records that are gone while it reads must not be passed over.
        .set("auto.offset.reset", "error")
        .set("isolation.level", "read_committed")
        .create()
        .map_err(kafka)?;
    let metadata = consumer.fetch_metadata(Some(topic), TIMEOUT).map_err(kafka)?;
    let mut ends = BTreeMap::new();
    let mut assignment = TopicPartitionList::new();
    for partition in metadata.topics().iter().flat_map(|found| found.partitions()) {
        let watermarks = consumer.fetch_watermarks(topic, partition.id(), TIMEOUT);
        let (low, high) = match watermarks {
            Err(error) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::UnknownTopicOrPartition) => {
                continue;
            }
            other => other.map_err(kafka)?,
        };
        if low < high {
            ends.insert(partition.id(), high);
            assignment.add_partition_offset(topic, partition.id(), Offset::Offset(low)).map_err(kafka)?;
        }
    }
    consumer.assign(&assignment).map_err(kafka)?;
    read_to_ends(&consumer, topic, ends)
}

fn read_to_ends(
    consumer: &BaseConsumer,
    topic: &str,
    mut ends: BTreeMap<i32, i64>,
) -> Result<BTreeMap<String, i64>, StoreError> {
    let mut last: BTreeMap<String, i64> = BTreeMap::new();
    let mut heard = Instant::now();
    while !ends.is_empty() {
        if heard.elapsed() > TIMEOUT {
            let reason = format!("{topic} could not be read to its end: silence for {} s", TIMEOUT.as_secs());
            return Err(StoreError::Transient { attempt: ATTEMPT, reason });
        }
        if let Some(message) = consumer.poll(Duration::from_millis(200)) {
            let message = message.map_err(|error| StoreError::kafka(ATTEMPT, &error))?;
            heard = Instant::now();
            if let (Some(key), Some(value)) = (message.key(), message.payload()) {
                let (entity, counter) = number_of(key, value)?;
                let known = last.entry(entity).or_default();
                *known = counter.max(*known);
            }
        }
        // The position passes records that compaction or transactions left out.
        let position = consumer.position().map_err(|error| StoreError::kafka(ATTEMPT, &error))?;
        ends.retain(|partition, end| {
            let at = position.find_partition(topic, *partition).map(|found| found.offset());
            !matches!(at, Some(Offset::Offset(at)) if at >= *end)
        });
    }
    Ok(last)
}

fn number_of(key: &[u8], value: &[u8]) -> Result<(String, i64), StoreError> {
    let given = invoice_number::decode(key, value).map_err(|error| StoreError::corrupt(ATTEMPT, error))?;
    let counter =
        i64::try_from(given.number.counter()).map_err(|error| StoreError::corrupt(ATTEMPT, error))?;
    Ok((given.legal_entity, counter))
}
