//! The formats of records through the real journal: each gives the same facts, and what a
//! schema registry does or fails to do costs no event.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::ensure;
use weir_backends::config::KafkaConfig;
use weir_backends::journal::record_range::stream_range;
use weir_backends::journal::{OutgoingRecord, OwnedRecord};
use weir_core::journal::partition_of;
use weir_metering::event::UsageEvent;
use weir_tests::wait::until;
use weir_wire::avro::{SCHEMA_V1, SCHEMA_V2, encode_event};
use weir_wire::cloudevents::{CONTENT_TYPE, encode_structured};
use weir_wire::dead_letter::DeadLetterInfo;

use crate::house::{House, PARTITIONS, count};

const ACCEPTED: &str = "SELECT COALESCE(sum(accepted_count), 0)::bigint FROM batch";
const DUPLICATES: &str = "SELECT COALESCE(sum(duplicate_count), 0)::bigint FROM batch";
const REJECTED: &str = "SELECT COALESCE(sum(rejected_count), 0)::bigint FROM batch";
const CONFLICTS: &str = "SELECT COALESCE(sum((rejected_by ->> 'conflict')::bigint), 0)::bigint FROM batch";

/// Who has taken each partition; another token means that it was taken again.
const OWNERS: &str = "SELECT string_agg(encode(owner, 'hex'), ' ' ORDER BY partition) FROM journal_partition";

/// Numbers that the tests' registry gives.
const OF_V2: u32 = 7;
const OF_V1: u32 = 11;
const OF_NEWER: u32 = 12;
const NOBODYS: u32 = 999;

fn stack() -> &'static local_stack::Stack {
    local_stack::shared_for_tests().unwrap_or_else(|error| panic!("{error}"))
}

/// A schema registry's HTTP interface, as far as it is read.
struct Registry {
    address: SocketAddr,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    /// Bodies by number.
    schemas: HashMap<u32, String>,
    failing: bool,
    /// The paths that were asked for.
    asked: Vec<String>,
}

impl Registry {
    /// An address that nothing listens on.
    fn down() -> Self {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let schema = |json: &str| serde_json::json!({ "schema": json }).to_string();
        let mut newer: serde_json::Value = serde_json::from_str(SCHEMA_V2).unwrap();
        let priority = serde_json::json!({"name": "priority", "type": "int", "default": 0, "doc": "newer"});
        newer["fields"].as_array_mut().unwrap().push(priority);
        let schemas = [
            (OF_V2, schema(SCHEMA_V2)),
            (OF_V1, schema(SCHEMA_V1)),
            (OF_NEWER, schema(&newer.to_string())),
            (1, serde_json::json!({"schema": "{}", "schemaType": "JSON"}).to_string()),
            (
                2,
                schema(r#"{"type": "record", "name": "Invoice", "fields": [{"name": "n", "type": "long"}]}"#),
            ),
        ];
        Self { address, inner: Arc::new(Mutex::new(Inner { schemas: schemas.into(), ..Inner::default() })) }
    }

    fn up() -> Self {
        let registry = Self::down();
        registry.listen();
        registry
    }

    fn listen(&self) {
        let listener = TcpListener::bind(self.address).unwrap();
        let inner = Arc::clone(&self.inner);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                answer(stream.unwrap(), &inner);
            }
        });
    }

    fn configure(&self, house: &mut House) {
        house.kafka.schema_registry_url = Some(format!("http://{}", self.address));
    }

    fn fail(&self, failing: bool) {
        self.inner.lock().unwrap().failing = failing;
    }

    /// How often it was asked for a number.
    fn asked(&self, number: u32) -> usize {
        let path = format!("/schemas/ids/{number}");
        self.inner.lock().unwrap().asked.iter().filter(|asked| **asked == path).count()
    }
}

fn answer(mut stream: TcpStream, inner: &Mutex<Inner>) {
    let (mut head, mut part) = (Vec::new(), [0; 1_024]);
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        match stream.read(&mut part) {
            Ok(read) if read > 0 => head.extend_from_slice(&part[..read]),
            _ => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap().to_owned();
    let (status, body) = {
        let mut inner = inner.lock().unwrap();
        let number = path.strip_prefix("/schemas/ids/").and_then(|number| number.parse().ok());
        let found = number.and_then(|number: u32| inner.schemas.get(&number).cloned());
        inner.asked.push(path);
        match found {
            _ if inner.failing => (500, r#"{"error_code":50001,"message":"the store is away"}"#.to_owned()),
            Some(schema) => (200, schema),
            None => (404, r#"{"error_code":40403,"message":"Schema not found"}"#.to_owned()),
        }
    };
    let length = body.len();
    let _ =
        write!(stream, "HTTP/1.1 {status} -\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
}

/// How an event is written.
#[derive(Clone, Copy, Debug)]
enum Form {
    Binary,
    Structured,
    /// As the API writes it.
    Api,
    /// With a registry's number before it.
    Numbered(u32),
    /// With a registry's number in a header.
    Header(u32),
}

fn record(house: &House, event: &UsageEvent, form: Form) -> OutgoingRecord {
    let header = |name: &str, value: &[u8]| (name.to_owned(), value.to_vec());
    let (headers, value) = match form {
        Form::Binary => {
            let time = event.time.unwrap().to_string();
            let data: serde_json::Map<_, _> =
                event.data.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
            let attributes = [
                ("content-type", "application/json"),
                ("ce_specversion", "1.0"),
                ("ce_id", &event.id),
                ("ce_source", &event.source),
                ("ce_type", &event.event_type),
                ("ce_subject", &event.tenant),
                ("ce_time", &time),
                ("ce_extension", "not looked at"),
            ];
            let headers = attributes.map(|(name, value)| header(name, value.as_bytes()));
            (headers.to_vec(), serde_json::Value::from(data).to_string().into_bytes())
        }
        Form::Structured => (vec![header("content-type", CONTENT_TYPE.as_bytes())], encode_structured(event)),
        Form::Api => (Vec::new(), encode_event(event)),
        Form::Numbered(number) => {
            (Vec::new(), [&[0][..], &number.to_be_bytes(), &datum(event, number)].concat())
        }
        Form::Header(number) => {
            let id = [&[0][..], &number.to_be_bytes()].concat();
            (vec![header("__value_schema_id", &id)], datum(event, number))
        }
    };
    OutgoingRecord {
        topic: house.kafka.usage_topic.clone(),
        key: Some(event.tenant.clone().into_bytes()),
        partition: None,
        value: Some(value),
        headers,
    }
}

/// A datum as the writer of a number's schema writes it.
fn datum(event: &UsageEvent, number: u32) -> Vec<u8> {
    let mut datum = encode_event(event).split_off(5);
    match number {
        // Version 1 ends before the traceparent, which is null: one byte.
        OF_V1 => datum.truncate(datum.len() - 1),
        // A priority of 5.
        OF_NEWER => datum.push(10),
        _ => {}
    }
    datum
}

fn records(house: &House, events: &[UsageEvent], form: impl Fn(usize) -> Form) -> Vec<OutgoingRecord> {
    events.iter().enumerate().map(|(nth, event)| record(house, event, form(nth))).collect()
}

fn events(house: &House, numbers: std::ops::Range<usize>) -> Vec<UsageEvent> {
    numbers.map(|nth| house.event(nth)).collect()
}

/// The events are counted, nothing else is, and nothing was rejected.
async fn check(house: &House, expected: &[UsageEvent]) {
    house.until(ACCEPTED, i64::try_from(expected.len()).unwrap(), 60).await;
    house.settle(60).await;
    assert_eq!(house.counted().await, count(expected));
    assert_eq!(house.number(REJECTED).await, 0);
    assert_eq!(house.number(CONFLICTS).await, 0);
    assert_eq!(dead_letters(house).await, []);
}

/// All dead letters, by source position.
async fn dead_letters(house: &House) -> Vec<(DeadLetterInfo, OwnedRecord)> {
    // A group of its own: a member more would move the partitions that are counted.
    let group = format!("{}.letters", house.kafka.group);
    let usage_topic = house.kafka.dead_letter_topic.clone();
    let config = KafkaConfig { usage_topic, group, ..house.kafka.clone() };
    let mut letters = Vec::new();
    for partition in 0..PARTITIONS {
        let end = end_of(&config, partition).await;
        let mut range = stream_range(&config, partition, 0, end);
        while let Some(part) = range.recv().await {
            letters.extend(part.unwrap().into_iter().map(|record| {
                let headers: Vec<_> =
                    record.headers.iter().map(|(n, v)| (n.as_str(), v.as_slice())).collect();
                (DeadLetterInfo::parse(&headers).unwrap(), record)
            }));
        }
    }
    letters.sort_by_key(|(info, _)| (info.position.partition, info.position.offset));
    letters
}

/// The end of a partition.
async fn end_of(config: &KafkaConfig, partition: i32) -> i64 {
    let (consumer, _events) = weir_backends::journal::JournalConsumer::join(config).unwrap();
    consumer.watermarks(partition).await.unwrap().1
}

#[tokio::test(flavor = "multi_thread")]
async fn every_format_gives_the_same_facts() {
    let mut house = House::build(stack(), "formats").await;
    let registry = Registry::up();
    registry.configure(&mut house);
    let forms = [
        Form::Binary,
        Form::Structured,
        Form::Api,
        Form::Numbered(OF_V2),
        Form::Header(OF_V2),
        Form::Numbered(OF_V1),
        Form::Numbered(OF_NEWER),
    ];
    let running = house.start();
    let all = events(&house, 0..210);
    house.produce(records(&house, &all, |nth| forms[nth % forms.len()])).await;
    check(&house, &all).await;
    // Sent again in every other form it is the same event: a duplicate, not a conflict.
    for shift in 1..forms.len() {
        house.produce(records(&house, &all, |nth| forms[(nth + shift) % forms.len()])).await;
    }
    let copies = i64::try_from(all.len() * (forms.len() - 1)).unwrap();
    house.until(DUPLICATES, copies, 60).await;
    check(&house, &all).await;
    // Once for each partition at most: those that begin together do not wait for each other.
    for number in [OF_V1, OF_V2, OF_NEWER] {
        assert!((1..=4).contains(&registry.asked(number)), "{number}: {}", registry.asked(number));
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_registry_does_not_have_or_cannot_mean_is_dead_lettered_with_position_and_reason() {
    let mut house = House::build(stack(), "unknown").await;
    let registry = Registry::up();
    registry.configure(&mut house);
    let running = house.start();
    let mut all = events(&house, 0..30);
    house.produce(records(&house, &all, |_| Form::Numbered(OF_V2))).await;
    house.until(ACCEPTED, 30, 60).await;
    let offsets = {
        let tenant = all[0].tenant.clone();
        let home = partition_of(tenant.as_bytes(), PARTITIONS);
        let bad = UsageEvent { tenant, ..house.event(1_000) };
        let mut offsets = Vec::new();
        for (number, rejected) in [(NOBODYS, 1), (1, 2), (2, 3), (0x8000_0009, 4), (NOBODYS, 5), (NOBODYS, 6)]
        {
            let sent = record(&house, &bad, Form::Numbered(number));
            let sent = OutgoingRecord { partition: Some(home), ..sent };
            offsets.push((house.producer.send(sent).await.unwrap(), number));
            house.until(REJECTED, rejected, 30).await;
        }
        offsets
    };
    // Neighbours are counted, the API's own under a number that means an invoice there too.
    let more = events(&house, 30..60);
    house.produce(records(&house, &more, |_| Form::Api)).await;
    all.extend(more);
    house.until(ACCEPTED, 60, 30).await;
    house.settle(30).await;
    assert_eq!(house.counted().await, count(&all));

    let letters = dead_letters(&house).await;
    assert_eq!(letters.len(), offsets.len());
    for ((info, letter), ((partition, offset), number)) in letters.iter().zip(offsets) {
        assert_eq!((info.position.partition, info.position.offset), (partition, offset));
        assert_eq!(info.code, "unknown_schema");
        let words = match number {
            NOBODYS => "the schema registry has no schema 999",
            1 => "schema 1 cannot be used: it is of type JSON",
            2 => "schema 2 cannot be used: events written with it cannot be read as dev.weir.UsageEvent",
            _ => "no schema is known for id 2147483657 (version 9 of Weir's own)",
        };
        assert!(info.message.contains(words), "{}", info.message);
        assert_eq!(letter.payload.as_ref().unwrap()[1..5], number.to_be_bytes());
    }
    // Three records within ten seconds, one question; what is no registry's is not asked.
    assert_eq!((registry.asked(NOBODYS), registry.asked(0x8000_0009)), (1, 0));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_registry_fails_partitions_wait_and_nothing_is_rejected() {
    let mut house = House::build(stack(), "failing").await;
    let registry = Registry::up();
    registry.configure(&mut house);
    registry.fail(true);
    let running = house.start();
    // What needs no registry is counted meanwhile.
    let mut all = events(&house, 0..60);
    house.produce(records(&house, &all, |nth| if nth % 2 == 0 { Form::Api } else { Form::Binary })).await;
    house.until(ACCEPTED, 60, 60).await;
    assert_eq!(running.status.problems(), Vec::<String>::new());
    let owners = house.text(OWNERS).await;

    let more = events(&house, 60..120);
    house.produce(records(&house, &more, |_| Form::Numbered(OF_V2))).await;
    all.extend(more);
    running.until_said("schema 7: the registry answered 500", 40).await;
    running.until_said("code 50001: the store is away", 40).await;
    let asked = registry.asked(OF_V2);
    until_asked(&registry, asked + 3).await;
    assert_eq!((house.number(ACCEPTED).await, house.number(REJECTED).await), (60, 0));

    registry.fail(false);
    check(&house, &all).await;
    // The partitions were held, not taken again, which would read their ids again.
    assert_eq!(house.text(OWNERS).await, owners);
    until("no problem to be left", Duration::from_secs(20), || async {
        let problems = running.status.problems();
        ensure!(problems.is_empty(), "{problems:?}");
        Ok(Some(()))
    })
    .await
    .unwrap();
    running.stop().await;
}

async fn until_asked(registry: &Registry, times: usize) {
    until(&format!("{times} questions"), Duration::from_secs(40), || async {
        let asked = registry.asked(OF_V2);
        ensure!(asked >= times, "asked {asked} times");
        Ok(Some(()))
    })
    .await
    .unwrap();
}

/// Also when ids are read again after a crash, which needs the same schemas.
#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_down_at_the_start_is_waited_for() {
    let mut house = House::build(stack(), "down").await;
    let registry = Registry::down();
    registry.configure(&mut house);
    let mut all = events(&house, 0..60);
    house.produce(records(&house, &all, |_| Form::Numbered(OF_V1))).await;
    let running = house.start();
    running.until_said("refused", 40).await;
    assert_eq!((house.number(ACCEPTED).await, house.number(REJECTED).await), (0, 0));
    registry.listen();
    check(&house, &all).await;
    running.kill().await;

    registry.fail(true);
    let running = house.start();
    running.until_said("schema 11: the registry answered 500", 40).await;
    let again = all.clone();
    let more = events(&house, 60..90);
    house.produce(records(&house, &again, |_| Form::Structured)).await;
    house.produce(records(&house, &more, |_| Form::Header(OF_V1))).await;
    all.extend(more);
    registry.fail(false);
    check(&house, &all).await;
    house.until(DUPLICATES, i64::try_from(again.len()).unwrap(), 30).await;
    running.stop().await;
}

/// What the API wrote is read again whatever was configured when it was written: without a
/// registry, with one whose numbers mean something else, with one that is down.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_api_wrote_is_read_under_every_registry() {
    let mut house = House::build(stack(), "everywhere").await;
    let registry = Registry::up();
    let mut all = Vec::new();
    for (round, url) in (0..).zip([
        None,
        Some(format!("http://{}", registry.address)),
        Some("http://127.0.0.1:1".into()),
        None,
    ]) {
        house.kafka.schema_registry_url = url;
        let running = house.start();
        // The last round's come again, by another way: ids were read again.
        let copies = all.clone();
        let more = events(&house, round * 40..(round + 1) * 40);
        house.produce(records(&house, &copies, |_| Form::Api)).await;
        house.produce(records(&house, &more, |_| Form::Api)).await;
        all.extend(more);
        house.until(ACCEPTED, i64::try_from(all.len()).unwrap(), 60).await;
        check(&house, &all).await;
        running.kill().await;
    }
    assert_eq!((registry.asked(1), registry.asked(2)), (0, 0));
    // 40 + 80 + 120 copies.
    house.until(DUPLICATES, 240, 30).await;
}
