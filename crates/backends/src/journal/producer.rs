//! The one way in which Weir writes to Kafka: idempotent, acknowledged by all
//! replicas, keyed as Java's client keys. A send that returned `Ok` is in the journal.

use std::collections::VecDeque;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::future_producer::DeliveryFuture;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use rdkafka::types::RDKafkaErrorCode;

use crate::StoreError;
use crate::config::KafkaConfig;

const ATTEMPT: &str = "write to Kafka";
/// The most records of one call that are in the client's queue at a time.
const IN_FLIGHT_MAX: usize = 10_000;
/// After how many records others get the thread: about a millisecond.
const YIELD_EVERY: usize = 256;

/// A record to be written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutgoingRecord {
    /// Where to.
    pub topic: String,
    /// Which partition; by the key where there is none.
    pub partition: Option<i32>,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value; none is a tombstone on compacted topics.
    pub value: Option<Vec<u8>>,
    /// Headers, in order.
    pub headers: Vec<(String, Vec<u8>)>,
}

/// A connection that writes. Cheap to clone; all clones share one queue.
#[derive(Clone)]
pub struct Producer {
    inner: FutureProducer,
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Producer")
    }
}

/// How soon a client knows of partitions that a topic was given, in milliseconds. The driver's own
/// five minutes would leave them unread, or unwritten, for as long.
const METADATA_EVERY_MS: &str = "10000";

/// Settings that every client of ours shares.
pub(crate) fn client_config(config: &KafkaConfig, role: &str) -> ClientConfig {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", &config.bootstrap_servers).set("client.id", format!("weir-{role}"));
    client.set("topic.metadata.refresh.interval.ms", METADATA_EVERY_MS);
    for (name, value) in &config.settings {
        client.set(name, value);
    }
    // Or asking for a topic that was deleted would make it again on a broker that may do so.
    client.set("allow.auto.create.topics", "false");
    client
}

impl Producer {
    /// Makes the connection's client; Kafka is reached by the first send.
    pub fn connect(config: &KafkaConfig) -> Result<Self, StoreError> {
        let mut client = client_config(config, "producer");
        client
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("partitioner", "murmur2_random")
            .set("compression.type", "zstd")
            .set("linger.ms", "2")
            .set("delivery.timeout.ms", config.delivery_timeout_ms.to_string())
            .set("request.timeout.ms", config.delivery_timeout_ms.min(5_000).to_string())
            .set("queue.buffering.max.kbytes", "65536")
            .set("queue.buffering.max.messages", "200000")
            .set("message.max.bytes", "2097152");
        let inner = client.create().map_err(|error| StoreError::kafka("make a Kafka producer", &error))?;
        Ok(Self { inner })
    }

    /// Writes one record; partition and offset once all replicas have it. A full queue, an
    /// unreachable broker and a passed delivery timeout are transient.
    pub async fn send(&self, record: OutgoingRecord) -> Result<(i32, i64), StoreError> {
        let delivery = self.enqueue(&record).map_err(|error| failed(&error))?;
        delivered(delivery).await
    }

    /// Writes records side by side and returns once all are acknowledged. At most 10,000 of them
    /// are in the queue at a time; one that is full is waited for as long as records of ours
    /// are in it. On an error some may have been written.
    pub async fn send_all(&self, records: Vec<OutgoingRecord>) -> Result<(), StoreError> {
        // Acknowledged in about this order, so waiting for the oldest keeps the queue filled.
        let mut waiting = VecDeque::with_capacity(records.len().min(IN_FLIGHT_MAX));
        for (number, record) in records.into_iter().enumerate() {
            if number % YIELD_EVERY == YIELD_EVERY - 1 {
                tokio::task::yield_now().await;
            }
            if waiting.len() == IN_FLIGHT_MAX {
                acknowledge_oldest(&mut waiting).await?;
            }
            loop {
                match self.enqueue(&record) {
                    Ok(delivery) => break waiting.push_back(delivery),
                    Err(error) if is_full(&error) && !waiting.is_empty() => {
                        acknowledge_oldest(&mut waiting).await?;
                    }
                    Err(error) => return Err(failed(&error)),
                }
            }
        }
        while !waiting.is_empty() {
            acknowledge_oldest(&mut waiting).await?;
        }
        Ok(())
    }

    /// Hands a record to the client, which copies it.
    fn enqueue(&self, record: &OutgoingRecord) -> Result<DeliveryFuture, KafkaError> {
        let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
        for (key, value) in &record.headers {
            headers = headers.insert(Header { key, value: Some(value) });
        }
        let mut future: FutureRecord<'_, [u8], [u8]> = FutureRecord::to(&record.topic).headers(headers);
        future.partition = record.partition;
        future.key = record.key.as_deref();
        future.payload = record.value.as_deref();
        self.inner.send_result(future).map_err(|(error, _)| error)
    }

    /// Whether Kafka answers within two seconds.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let producer = self.inner.clone();
        let asked = tokio::task::spawn_blocking(move || {
            producer.client().fetch_metadata(None, Duration::from_secs(2)).map(|_| ())
        });
        match asked.await {
            Ok(answer) => answer.map_err(|error| StoreError::kafka("reach Kafka", &error)),
            Err(error) => Err(StoreError::corrupt("reach Kafka", error)),
        }
    }

    /// How many records wait for their acknowledgement.
    pub fn in_flight(&self) -> i32 {
        self.inner.in_flight_count()
    }

    /// Waits until everything is acknowledged, at most `timeout`.
    pub async fn flush(&self, timeout: Duration) {
        let producer = self.inner.clone();
        let flushed = tokio::task::spawn_blocking(move || producer.flush(timeout)).await;
        if let Ok(Err(error)) = flushed {
            tracing::warn!(%error, "records were still unacknowledged at the end");
        }
    }
}

fn failed(error: &KafkaError) -> StoreError {
    StoreError::kafka(ATTEMPT, error)
}

fn is_full(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull)
}

/// Where a record stands, once all replicas have it.
async fn delivered(delivery: DeliveryFuture) -> Result<(i32, i64), StoreError> {
    match delivery.await {
        Ok(Ok(delivery)) => Ok((delivery.partition, delivery.offset)),
        Ok(Err((error, _))) => Err(failed(&error)),
        // The client has gone away, and with it the word of what became of the record.
        Err(error) => Err(StoreError::Transient { attempt: ATTEMPT, reason: error.to_string() }),
    }
}

async fn acknowledge_oldest(waiting: &mut VecDeque<DeliveryFuture>) -> Result<(), StoreError> {
    match waiting.pop_front() {
        Some(oldest) => delivered(oldest).await.map(drop),
        None => Ok(()),
    }
}
