//! Sends a stream straight to the usage topic: Avro, keyed by tenant, the partition chosen here
//! by murmur2, acks=all. Each producer is a thread with a client of its own; together they hold
//! a bounded number of records that are not acknowledged yet.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};

use crate::avro::{put_tenant, write_avro};
use crate::error::LoadError;
use crate::partition::home_of;
use crate::stream::Stream;
use crate::totals::Totals;

/// Positions that a producer takes at a time.
const STRIDE: u64 = 1_000;
/// How long Kafka may take to acknowledge what was sent last.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where to, and how.
#[derive(Clone, Debug)]
pub struct ToKafka {
    /// `host:port`, comma separated.
    pub bootstrap_servers: String,
    /// The usage topic.
    pub topic: String,
    /// Producers side by side.
    pub producers: u32,
    /// Records a second, all producers together; as fast as possible when `None`.
    pub rate: Option<u32>,
    /// Further librdkafka settings, passed as they are.
    pub settings: BTreeMap<String, String>,
}

/// Sends the whole stream and waits until all of it is acknowledged. `sent` rises as records
/// are handed to the client. Returns what Weir must count.
///
/// # Errors
/// [`LoadError::Kafka`], and [`LoadError::Unacknowledged`] when any record was refused: the
/// totals would say too much then.
pub fn send(stream: &Stream, to: &ToKafka, sent: &AtomicU64) -> Result<Totals, LoadError> {
    let homes = homes(stream, partitions(to)?);
    let walks: Vec<Result<Totals, LoadError>> = thread::scope(|scope| {
        let producers = to.producers.max(1);
        let threads: Vec<_> = (0..producers)
            .map(|nth| {
                let share = Share { nth: u64::from(nth), of: u64::from(producers), rate: to.rate };
                scope.spawn({
                    let homes = &homes;
                    move || walk(stream, to, share, homes, sent)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or(Err(LoadError::Ended))).collect()
    });
    let mut totals = Totals::new(stream.profile().tenants, stream.profile().meters);
    for walked in walks {
        totals.merge(&walked?);
    }
    Ok(totals)
}

/// A producer's part of the stream: every `of`-th stride from the `nth`.
#[derive(Clone, Copy)]
struct Share {
    nth: u64,
    of: u64,
    rate: Option<u32>,
}

fn walk(
    stream: &Stream,
    to: &ToKafka,
    share: Share,
    homes: &[i32],
    sent: &AtomicU64,
) -> Result<Totals, LoadError> {
    let producer = connect(to)?;
    let events = stream.profile().events;
    let mut totals = Totals::new(stream.profile().tenants, stream.profile().meters);
    let (mut key, mut value) = (Vec::with_capacity(16), Vec::with_capacity(256));
    let began = Instant::now();
    let mut from = share.nth * STRIDE;
    while from < events {
        let until = events.min(from + STRIDE);
        pace(began, from, share.rate);
        for position in from..until {
            let event = stream.event(position);
            key.clear();
            put_tenant(&mut key, event.tenant);
            value.clear();
            write_avro(&event, &mut value);
            let home = homes[usize::try_from(event.tenant).unwrap_or(0)];
            hand_over(&producer, &to.topic, home, &key, &value)?;
            totals.add(&event);
        }
        producer.poll(Duration::ZERO);
        sent.fetch_add(until - from, Ordering::Relaxed);
        from += STRIDE * share.of;
    }
    producer.flush(PATIENCE).map_err(kafka("wait for Kafka's acknowledgements"))?;
    producer.poll(Duration::ZERO);
    producer.context().refused()?;
    Ok(totals)
}

/// Waits until the record at a position is due.
fn pace(began: Instant, position: u64, rate: Option<u32>) {
    let Some(rate) = rate else { return };
    let due = Duration::from_micros(position.saturating_mul(1_000_000) / u64::from(rate.max(1)));
    if let Some(early) = due.checked_sub(began.elapsed()) {
        thread::sleep(early);
    }
}

/// Gives a record to the client; waits while its queue is full.
pub(crate) fn hand_over<C: ProducerContext<DeliveryOpaque = ()>>(
    producer: &BaseProducer<C>,
    topic: &str,
    home: i32,
    key: &[u8],
    value: &[u8],
) -> Result<(), LoadError> {
    let mut record = BaseRecord::to(topic).partition(home).key(key).payload(value);
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                // Bounded memory: the client's queue is drained before more is handed over.
                producer.poll(Duration::from_millis(5));
                record = back;
            }
            Err((error, _)) => return Err(kafka("hand a record to Kafka's client")(error)),
        }
    }
}

fn connect(to: &ToKafka) -> Result<BaseProducer<Deliveries>, LoadError> {
    let mut config = client(to);
    // An acknowledged record needs no report of its own.
    config.set("delivery.report.only.error", "true");
    config.create_with_context(Deliveries::default()).map_err(kafka("make a Kafka producer"))
}

/// The settings of a producer that is to be fast and to lose nothing.
pub(crate) fn client(to: &ToKafka) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &to.bootstrap_servers);
    config
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("compression.type", "lz4")
        .set("linger.ms", "5")
        .set("batch.size", "1000000")
        .set("batch.num.messages", "100000")
        .set("queue.buffering.max.messages", "200000")
        .set("queue.buffering.max.kbytes", "131072");
    for (name, value) in &to.settings {
        config.set(name, value);
    }
    config
}

fn partitions(to: &ToKafka) -> Result<u32, LoadError> {
    partitions_of(&connect(to)?, &to.topic)
}

/// How many partitions a topic has.
pub(crate) fn partitions_of<C: ProducerContext>(
    producer: &BaseProducer<C>,
    topic: &str,
) -> Result<u32, LoadError> {
    let asked = producer.client().fetch_metadata(Some(topic), Duration::from_secs(20));
    let metadata = asked.map_err(kafka("ask Kafka for the usage topic"))?;
    let count = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
    match u32::try_from(count) {
        Ok(count) if count > 0 => Ok(count),
        _ => Err(LoadError::Profile {
            option: "the usage topic",
            value: topic.to_owned(),
            rule: "one that exists; `weir migrate` makes it",
        }),
    }
}

/// Each tenant's partition, computed once.
fn homes(stream: &Stream, partitions: u32) -> Vec<i32> {
    let mut key = Vec::with_capacity(16);
    let home = |tenant| {
        key.clear();
        put_tenant(&mut key, tenant);
        i32::try_from(home_of(&key, partitions)).unwrap_or(0)
    };
    (0..stream.profile().tenants).map(home).collect()
}

/// Counts what was not acknowledged.
#[derive(Default)]
struct Deliveries {
    failed: AtomicU64,
    first: Mutex<Option<String>>,
}

impl Deliveries {
    fn refused(&self) -> Result<(), LoadError> {
        let count = self.failed.load(Ordering::Acquire);
        let first = self.first.lock().ok().and_then(|first| first.clone()).unwrap_or_default();
        if count == 0 { Ok(()) } else { Err(LoadError::Unacknowledged { count, first }) }
    }
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            self.failed.fetch_add(1, Ordering::AcqRel);
            if let Ok(mut first) = self.first.lock() {
                first.get_or_insert_with(|| error.to_string());
            }
        }
    }
}

/// Names what was attempted.
pub(crate) fn kafka(attempt: &'static str) -> impl Fn(KafkaError) -> LoadError {
    move |source| LoadError::Kafka { attempt: attempt.to_owned(), source }
}
