//! The journal as it stands in Kafka, read from its beginning to its end with other code than
//! Weir's, and the independent count of it: every record, in its order, by its place.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use chrono::{DateTime, Utc};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use weir_demo::event::Event;
use weir_demo::partition::home_of;
use weir_demo::script::Cargo;
use weir_demo::tally::{Produced, Tally};

const TIMEOUT: Duration = Duration::from_secs(10);
/// How long reading the whole topic may take.
const READ_MAX: Duration = Duration::from_secs(60);
const HEADER_CONTROL: &str = "weir-control";
const HEADER_HOP: &str = "weir-hop";

/// What the journal holds.
#[derive(Debug)]
pub(crate) struct Journal {
    /// The independent count of it.
    pub(crate) tally: Tally,
    /// Events, as [`key_of`] has them.
    pub(crate) events: HashSet<String>,
    /// Values that are no event and that nobody sent, in words.
    pub(crate) strange: Vec<String>,
    /// Records, Weir's own included.
    pub(crate) records: u64,
}

/// The end of each partition.
pub(crate) fn ends(bootstrap: &str, topic: &str, partitions: i32) -> Result<Vec<i64>> {
    let consumer = consumer(bootstrap)?;
    let end = |partition| {
        let (_, high) = consumer.fetch_watermarks(topic, partition, TIMEOUT)?;
        Ok(high)
    };
    (0..partitions).map(end).collect()
}

/// A client that is a member of no group.
pub(crate) fn consumer(bootstrap: &str) -> Result<BaseConsumer> {
    ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "chaos")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "false")
        .create()
        .context("make a Kafka consumer")
}

/// A text that is the same for events with the same facts.
pub(crate) fn key_of(event: &Event) -> String {
    event.to_json().to_string()
}

impl Journal {
    /// Reads everything below `ends`. `sent` names the bytes that are no events.
    pub(crate) fn read<'a>(
        (bootstrap, topic): (&str, &str),
        ends: &[i64],
        sent: impl Iterator<Item = &'a Cargo>,
        now: DateTime<Utc>,
    ) -> Result<Self> {
        let partitions = i32::try_from(ends.len())?;
        let junk: HashMap<Vec<u8>, &'static str> = sent
            .filter_map(|cargo| match cargo {
                Cargo::Bytes { value, wrong, .. } => Some((value.clone(), *wrong)),
                Cargo::Event(_) => None,
            })
            .collect();
        let mut reading = Reading { partitions, junk, ..Reading::default() };
        read_all(bootstrap, topic, ends, |record| reading.take(record))?;
        let mut tally = Tally::of(&reading.produced, partitions, now)?;
        tally.forwarded = reading.forwarded;
        let (events, strange, records) = (reading.events, reading.strange, reading.records);
        Ok(Self { tally, events, strange, records })
    }
}

/// Hands over every record below `ends`, each partition in its order.
pub(crate) fn read_all(
    bootstrap: &str,
    topic: &str,
    ends: &[i64],
    mut take: impl FnMut(&BorrowedMessage<'_>),
) -> Result<()> {
    let consumer = consumer(bootstrap)?;
    let mut assignment = TopicPartitionList::new();
    let mut open = HashMap::new();
    for (partition, end) in (0..).zip(ends).filter(|(_, end)| **end > 0) {
        assignment.add_partition_offset(topic, partition, Offset::Beginning)?;
        open.insert(partition, *end);
    }
    consumer.assign(&assignment).context("read the journal")?;
    let deadline = Instant::now() + READ_MAX;
    while !open.is_empty() {
        if let Some(record) = consumer.poll(Duration::from_millis(100)) {
            let record = record.context("read the journal")?;
            let Some(end) = open.get(&record.partition()) else { continue };
            if record.offset() < *end {
                take(&record);
            }
        }
        let position = consumer.position().context("read the journal")?;
        open.retain(|partition, end| {
            let at = position.find_partition(topic, *partition).map(|found| found.offset());
            !matches!(at, Some(Offset::Offset(at)) if at >= *end)
        });
        if Instant::now() > deadline {
            bail!("the journal could not be read in {} s: {open:?} are open", READ_MAX.as_secs());
        }
    }
    Ok(())
}

#[derive(Default)]
struct Reading {
    partitions: i32,
    junk: HashMap<Vec<u8>, &'static str>,
    produced: Vec<Produced>,
    events: HashSet<String>,
    strange: Vec<String>,
    forwarded: u64,
    records: u64,
}

impl Reading {
    fn take(&mut self, record: &BorrowedMessage<'_>) {
        self.records += 1;
        let has = |name: &str| {
            record.headers().is_some_and(|headers| headers.iter().any(|header| header.key == name))
        };
        if has(HEADER_CONTROL) {
            return;
        }
        let value = record.payload().unwrap_or_default();
        if let Some(wrong) = self.junk.get(value) {
            let cargo = Cargo::Bytes { key: String::new(), value: Vec::new(), wrong };
            self.produced.push(Produced { cargo, partition: None });
            return;
        }
        let Some(event) = Event::from_avro(value) else {
            self.strange.push(format!("partition {} offset {}", record.partition(), record.offset()));
            return;
        };
        self.events.insert(key_of(&event));
        // A record in a foreign partition is sent on; its copy at home is another record.
        let is_home = home_of(event.tenant.as_bytes(), self.partitions) == record.partition();
        if !is_home && !has(HEADER_HOP) {
            self.forwarded += 1;
            return;
        }
        self.produced.push(Produced { cargo: Cargo::Event(Arc::new(event)), partition: None });
    }
}
