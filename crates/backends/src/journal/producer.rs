//! The one way in which Weir writes to Kafka: idempotent, acknowledged by all
//! replicas, keyed as Java's client keys. A send that returned `Ok` is in the journal.

use std::time::Duration;

use futures::future::try_join_all;
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};

use crate::StoreError;
use crate::config::KafkaConfig;

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

/// Settings that every client of ours shares.
pub(crate) fn client_config(config: &KafkaConfig, role: &str) -> ClientConfig {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", &config.bootstrap_servers).set("client.id", format!("weir-{role}"));
    for (name, value) in &config.settings {
        client.set(name, value);
    }
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
        let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
        for (key, value) in &record.headers {
            headers = headers.insert(Header { key, value: Some(value) });
        }
        let mut future: FutureRecord<'_, [u8], [u8]> = FutureRecord::to(&record.topic).headers(headers);
        future.partition = record.partition;
        future.key = record.key.as_deref();
        future.payload = record.value.as_deref();
        match self.inner.send(future, Duration::ZERO).await {
            Ok(delivery) => Ok((delivery.partition, delivery.offset)),
            Err((error, _)) => Err(StoreError::kafka("write to Kafka", &error)),
        }
    }

    /// Writes records side by side and returns once all are acknowledged. At most 10,000 are
    /// in the queue at a time. On an error some may have been written.
    pub async fn send_all(&self, records: Vec<OutgoingRecord>) -> Result<(), StoreError> {
        const IN_FLIGHT_MAX: usize = 10_000;
        let mut records = records.into_iter().peekable();
        while records.peek().is_some() {
            let part: Vec<_> = records.by_ref().take(IN_FLIGHT_MAX).map(|record| self.send(record)).collect();
            try_join_all(part).await?;
        }
        Ok(())
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
