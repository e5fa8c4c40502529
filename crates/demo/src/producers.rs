//! The producers, all at once: batches over HTTP, and Avro straight to Kafka with two
//! partitioners. Each returns what was acknowledged, in its order.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};

use crate::api::{Api, Taken};
use crate::script::Cargo;
use crate::tally::Produced;

/// Events in one HTTP batch.
const BATCH: usize = 250;
/// HTTP requests under way at once.
const REQUESTS: usize = 3;
/// Records that wait for Kafka's acknowledgement at most.
const IN_FLIGHT: usize = 5_000;
const KAFKA_TIMEOUT: Duration = Duration::from_secs(15);

/// How records are spread over the partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partitioner {
    /// As Weir asks for, and as Java's client does.
    Murmur2,
    /// What librdkafka does unless it is told otherwise.
    LibrdkafkaDefault,
}

/// What became of events sent over HTTP.
#[derive(Debug, Default)]
pub struct OverHttp {
    /// Taken: they stand in Kafka.
    pub taken: Vec<Produced>,
    /// Refused, with Weir's words.
    pub refused: Vec<String>,
}

/// Sends everything to Kafka and waits for each acknowledgement.
pub async fn to_kafka(
    bootstrap: &str,
    topic: &str,
    partitioner: Partitioner,
    cargo: &[Cargo],
) -> Result<Vec<Produced>> {
    send(&connect(bootstrap, partitioner)?, topic, cargo).await
}

/// Sends everything with a producer that is there, and waits for each acknowledgement.
pub async fn send(producer: &FutureProducer, topic: &str, cargo: &[Cargo]) -> Result<Vec<Produced>> {
    let mut waiting = FuturesOrdered::new();
    let mut produced = Vec::with_capacity(cargo.len());
    for one in cargo {
        let (key, value) = match one {
            Cargo::Event(event) => (event.tenant.as_str(), event.to_avro()?),
            Cargo::Bytes { key, value, .. } => (key.as_str(), value.clone()),
        };
        let record = FutureRecord::to(topic).key(key).payload(&value);
        let sent = producer.send_result(record).map_err(|(error, _)| error).context("send to Kafka")?;
        waiting.push_back(async move { (one, sent.await) });
        while waiting.len() >= IN_FLIGHT {
            produced.extend(waiting.next().await.map(acknowledged).transpose()?);
        }
    }
    while let Some(answer) = waiting.next().await {
        produced.push(acknowledged(answer)?);
    }
    Ok(produced)
}

type Answer<'a> = (
    &'a Cargo,
    Result<
        Result<rdkafka::producer::future_producer::Delivery, (KafkaError, rdkafka::message::OwnedMessage)>,
        futures::channel::oneshot::Canceled,
    >,
);

fn acknowledged((cargo, answer): Answer<'_>) -> Result<Produced> {
    let delivery = answer.context("Kafka's client gave up")?.map_err(|(error, _)| error);
    let delivery = delivery.context("Kafka acknowledged no record")?;
    Ok(Produced { cargo: cargo.clone(), partition: Some(delivery.partition) })
}

/// A producer that waits for all replicas and sends nothing twice by itself.
pub fn connect(bootstrap: &str, partitioner: Partitioner) -> Result<FutureProducer> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("compression.type", "zstd")
        .set("linger.ms", "5")
        .set("message.max.bytes", "2000000")
        .set("message.timeout.ms", KAFKA_TIMEOUT.as_millis().to_string());
    if partitioner == Partitioner::Murmur2 {
        config.set("partitioner", "murmur2_random");
    }
    config.create().context("make a Kafka producer")
}

/// How many partitions the topic has.
pub async fn partitions(bootstrap: &str, topic: &str) -> Result<i32> {
    let producer = connect(bootstrap, Partitioner::Murmur2)?;
    let topic = topic.to_owned();
    let asked = tokio::task::spawn_blocking(move || {
        let metadata = producer.client().fetch_metadata(Some(&topic), KAFKA_TIMEOUT)?;
        let count = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
        i32::try_from(count).map_err(|_| KafkaError::MetadataFetch(RDKafkaErrorCode::InvalidPartitions))
    });
    let count = asked.await?.context("ask Kafka for the usage topic's partitions")?;
    if count == 0 {
        bail!("the usage topic has no partitions");
    }
    Ok(count)
}

/// Sends everything in batches over HTTP, several at once.
pub async fn over_http(api: &Api, cargo: &[Cargo]) -> Result<OverHttp> {
    let batches: Vec<_> = cargo.chunks(BATCH).map(|batch| one_batch(api, batch)).collect();
    let mut answers = futures::stream::iter(batches).buffered(REQUESTS);
    let mut result = OverHttp::default();
    while let Some(answer) = answers.next().await {
        let (batch, taken) = answer?;
        sort_out(batch, &taken, &mut result);
    }
    Ok(result)
}

async fn one_batch<'a>(api: &Api, batch: &'a [Cargo]) -> Result<(&'a [Cargo], Taken)> {
    let events: Vec<serde_json::Value> = batch
        .iter()
        .map(|cargo| match cargo {
            Cargo::Event(event) => event.to_json(),
            Cargo::Bytes { value, .. } => String::from_utf8_lossy(value).into(),
        })
        .collect();
    Ok((batch, api.send_events(&events).await?))
}

fn sort_out(batch: &[Cargo], taken: &Taken, result: &mut OverHttp) {
    for (index, cargo) in batch.iter().enumerate() {
        match taken.refused.get(&index) {
            Some(problem) => result.refused.push(problem.clone()),
            None => result.taken.push(Produced { cargo: cargo.clone(), partition: None }),
        }
    }
}
