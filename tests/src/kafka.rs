//! A producer and a reader of topics, as other services have them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::avro;
use crate::events::Event;

/// The journal.
pub const USAGE: &str = "weir.usage.v1";
/// Dead letters.
pub const DEAD_LETTERS: &str = "weir.usage.dlq.v1";
/// Alerts.
pub const ALERTS: &str = "weir.alerts.v1";

const TIMEOUT: Duration = Duration::from_secs(30);

/// A record read from a topic.
#[derive(Debug, Clone)]
pub struct Read {
    /// Its key, as text.
    pub key: String,
    /// Its value.
    pub value: Vec<u8>,
    /// Its headers, the last of each name.
    pub headers: BTreeMap<String, String>,
}

/// A producer with acks=all.
pub struct Producer(FutureProducer);

impl Producer {
    /// `partitioner` is librdkafka's name: `murmur2_random` is Java's, and what Weir wants.
    pub fn connect(bootstrap: &str, partitioner: &str) -> Result<Self> {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", bootstrap)
            .set("partitioner", partitioner)
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("message.max.bytes", "20000000")
            .set("compression.type", "zstd")
            .set("message.timeout.ms", "30000");
        Ok(Self(config.create().context("make a producer")?))
    }

    /// Sends an event as Avro, keyed by its tenant.
    pub async fn event(&self, event: &Event) -> Result<()> {
        self.bytes(&event.tenant, &avro::framed(event), &[]).await
    }

    /// Sends an event as a structured CloudEvent.
    pub async fn json(&self, event: &Event) -> Result<()> {
        let header = ("content-type", "application/cloudevents+json; charset=utf-8");
        self.bytes(&event.tenant, event.to_json().to_string().as_bytes(), &[header]).await
    }

    /// Sends any bytes to the journal.
    pub async fn bytes(&self, key: &str, value: &[u8], headers: &[(&str, &str)]) -> Result<()> {
        let headers = headers
            .iter()
            .fold(OwnedHeaders::new(), |all, (key, value)| all.insert(Header { key, value: Some(*value) }));
        let record = FutureRecord::to(USAGE).key(key).payload(value).headers(headers);
        self.0.send(record, TIMEOUT).await.map_err(|(error, _)| error).context("send a record")?;
        Ok(())
    }

    /// Sends many events as Avro, all acknowledged when it returns.
    pub async fn events(&self, events: &[Event]) -> Result<()> {
        let values: Vec<_> =
            events.iter().map(|event| (event.tenant.as_str(), avro::framed(event))).collect();
        let mut waiting = Vec::with_capacity(values.len());
        for (key, value) in &values {
            let record = FutureRecord::<str, [u8]>::to(USAGE).key(key).payload(value);
            waiting.push(self.0.send(record, TIMEOUT));
        }
        for sent in waiting {
            sent.await.map_err(|(error, _)| error).context("send a record")?;
        }
        Ok(())
    }
}

/// Everything that stands in a topic now.
pub fn read_all(bootstrap: &str, topic: &str) -> Result<Vec<Read>> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "weir-tests-reader")
        .set("enable.auto.commit", "false")
        .set("fetch.message.max.bytes", "20000000");
    let consumer: BaseConsumer = config.create().context("make a consumer")?;
    let metadata = consumer.fetch_metadata(Some(topic), TIMEOUT).context("read the topic's metadata")?;
    let mut ends = BTreeMap::new();
    let mut assignment = TopicPartitionList::new();
    for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
        let (low, high) =
            consumer.fetch_watermarks(topic, partition.id(), TIMEOUT).context("read watermarks")?;
        if low < high {
            ends.insert(partition.id(), high);
            assignment.add_partition_offset(topic, partition.id(), Offset::Beginning).context("assign")?;
        }
    }
    consumer.assign(&assignment).context("assign")?;
    collect(&consumer, ends)
}

fn collect(consumer: &BaseConsumer, mut ends: BTreeMap<i32, i64>) -> Result<Vec<Read>> {
    let mut found = Vec::new();
    let begin = Instant::now();
    while !ends.is_empty() && begin.elapsed() < TIMEOUT {
        let Some(record) = consumer.poll(Duration::from_millis(200)) else { continue };
        let record = record.context("read a record")?;
        if ends.get(&record.partition()).is_some_and(|end| record.offset() + 1 >= *end) {
            ends.remove(&record.partition());
        }
        let headers = record.headers().into_iter().flat_map(|headers| headers.iter());
        found.push(Read {
            key: String::from_utf8_lossy(record.key().unwrap_or_default()).into_owned(),
            value: record.payload().unwrap_or_default().to_vec(),
            headers: headers
                .map(|header| {
                    let value = String::from_utf8_lossy(header.value.unwrap_or_default()).into_owned();
                    (header.key.to_owned(), value)
                })
                .collect(),
        });
    }
    anyhow::ensure!(ends.is_empty(), "the topic could not be read to its end: {ends:?} are missing");
    Ok(found)
}

/// What Weir makes the usage topic with; altering it sets all that are not named back.
const MADE: [(&str, &str); 5] = [
    ("message.timestamp.type", "LogAppendTime"),
    ("cleanup.policy", "delete"),
    ("retention.ms", "3456000000"),
    ("retention.bytes", "-1"),
    ("max.message.bytes", "2097152"),
];

/// Gives one setting of the usage topic another value, and all others what Weir makes it with.
pub async fn alter(bootstrap: &str, name: &str, value: &str) -> Result<()> {
    let admin = admin(bootstrap)?;
    let kept = MADE.iter().filter(|(made, _)| *made != name);
    let change = kept.fold(AlterConfig::new(ResourceSpecifier::Topic(USAGE)), |change, (name, value)| {
        change.set(name, value)
    });
    let options = AdminOptions::new().operation_timeout(Some(TIMEOUT)).request_timeout(Some(TIMEOUT));
    let altered = admin.alter_configs(&[change.set(name, value)], &options).await;
    for one in altered.context("alter the usage topic")? {
        one.map_err(|(_, code)| anyhow::anyhow!("{code}")).context("alter the usage topic")?;
    }
    Ok(())
}

fn admin(bootstrap: &str) -> Result<AdminClient<DefaultClientContext>> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    config.create().context("reach Kafka")
}

/// Deletes a partition's records of the journal below an offset, as retention does.
pub async fn trim(bootstrap: &str, partition: i32, offset: i64) -> Result<()> {
    let admin = admin(bootstrap)?;
    let mut below = TopicPartitionList::new();
    below.add_partition_offset(USAGE, partition, Offset::Offset(offset)).context("name a partition")?;
    let options = AdminOptions::new().operation_timeout(Some(TIMEOUT)).request_timeout(Some(TIMEOUT));
    let trimmed = admin.delete_records(&below, &options).await.context("delete records")?;
    for one in trimmed.elements() {
        one.error().with_context(|| format!("delete records of partition {partition}"))?;
    }
    Ok(())
}
