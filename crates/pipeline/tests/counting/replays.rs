//! Dead letters are listed once a record, and counted after all once their cause is gone: once,
//! however often they are sent again, by the tenant whatever they were keyed by, at the time at
//! which they happened.

use std::time::Duration;

use weir_backends::config::KafkaConfig;
use weir_backends::journal::record_range::stream_range;
use weir_backends::journal::{OutgoingRecord, OwnedRecord, topics};
use weir_backends::postgres;
use weir_core::Position;
use weir_metering::event::UsageEvent;
use weir_metering::shard::SERIES_MAX;
use weir_pipeline::CountingSettings;
use weir_pipeline::dead_letters::{
    Counted, Entry, Fate, Filter, Reader, Reading, Replay, Replayed, counted, fetch_all, survey,
};
use weir_pipeline::ledger_check;

use crate::house::{House, PARTITIONS, Running};
use crate::scenarios::{ACCEPTED, stack};

const REJECTED: &str = "SELECT COALESCE(sum(rejected_count), 0)::bigint FROM batch";
const DUPLICATES: &str = "SELECT COALESCE(sum(duplicate_count), 0)::bigint FROM batch";
const CONFLICTS: &str = "SELECT COALESCE(sum((rejected_by->>'conflict')::bigint), 0)::bigint FROM batch";
const DAY_MS: i64 = 86_400_000;

fn reader(house: &House) -> Reader {
    Reader::new(&house.kafka, CountingSettings::default().record_bytes_max)
}

async fn letters(house: &House, filter: &Filter) -> Vec<Entry> {
    survey(&reader(house), filter, |_| {}).await.unwrap().entries
}

/// Sends letters again, or says what would be; counting is waited for.
async fn replay(house: &House, filter: &Filter, change: impl FnOnce(&mut Replay<'_>)) -> Replayed {
    let settings = CountingSettings::default();
    let mut replay = Replay {
        kafka: &house.kafka,
        pool: &house.pool,
        producer: Some(&house.producer),
        settings: &settings,
        now: house.now,
        earlier_generations: false,
        wait: Duration::from_secs(60),
    };
    change(&mut replay);
    let entries = letters(house, filter).await;
    replay.run(&reader(house), &entries, |_| {}).await.unwrap()
}

/// How many had which fate; no other had any.
fn check(replayed: &Replayed, expected: &[(Fate, u64)]) {
    let all: u64 = replayed.lines.values().map(|(count, _)| count).sum();
    let found: Vec<_> = expected.iter().map(|(fate, _)| (*fate, replayed.count(*fate))).collect();
    assert_eq!(found, expected, "{replayed:?}");
    assert_eq!(all, expected.iter().map(|(_, count)| count).sum::<u64>(), "{replayed:?}");
}

fn reason(code: &str) -> Filter {
    Filter { reasons: [code.to_owned()].into(), ..Filter::default() }
}

/// An event of a tenant that nobody knows yet, three days ago; every fourth without a time.
fn early(house: &House, nth: usize) -> UsageEvent {
    let time = (!nth.is_multiple_of(4)).then(|| house.now.plus_millis(-3 * DAY_MS));
    UsageEvent { tenant: "later".into(), time, ..house.event(nth) }
}

/// Keyed by something else, and put anywhere.
fn astray(house: &House, event: &UsageEvent, nth: usize) -> OutgoingRecord {
    let partition = Some(i32::try_from(nth).unwrap() % PARTITIONS);
    OutgoingRecord { key: Some(b"someone-else".to_vec()), partition, ..house.record(event, nth * 3 + 1) }
}

/// Twenty events of a tenant that is not there, and one of each other kind of letter.
async fn with_letters(name: &str) -> (House, Running) {
    let house = House::build(stack(), name).await;
    let mut records: Vec<_> = (0..20).map(|nth| astray(&house, &early(&house, nth), nth)).collect();
    let late = UsageEvent { time: Some(house.now.plus_millis(-40 * DAY_MS)), ..house.event(100) };
    let conflict = UsageEvent { data: vec![("value".into(), "7".into())], ..house.event(101) };
    let first = house.event(101);
    records.extend([&late, &first].map(|event| house.record(event, 1)));
    let mut malformed = house.record(&house.event(102), 1);
    malformed.value = Some(vec![7; 100]);
    records.push(malformed);
    let running = house.start();
    house.produce(records).await;
    house.until(ACCEPTED, 1, 60).await;
    house.produce(vec![house.record(&conflict, 1)]).await;
    house.until(REJECTED, 22, 60).await;
    house.until(CONFLICTS, 1, 60).await;
    (house, running)
}

async fn dead_letter_topic(house: &House) -> Vec<OwnedRecord> {
    let topic = KafkaConfig { usage_topic: house.kafka.dead_letter_topic.clone(), ..house.kafka.clone() };
    let mut all = Vec::new();
    for partition in 0..PARTITIONS {
        let (low, high) = topics::watermarks(&topic, partition).await.unwrap();
        let mut records = stream_range(&topic, partition, low, high);
        while let Some(part) = records.recv().await {
            all.extend(part.unwrap());
        }
    }
    all
}

async fn sound(house: &House) {
    house.settle(60).await;
    let key = postgres::installation(&house.pool, &house.kafka).await.unwrap().identity_key;
    for found in ledger_check::check(&house.pool, &house.clickhouse, &key, SERIES_MAX, &()).await.unwrap() {
        assert!(found.differences.is_empty(), "{:?}", found.differences);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_are_counted_once_when_their_cause_is_gone_however_often_they_are_sent() {
    let (house, running) = with_letters("replayed").await;
    let unknown = reason("unknown_tenant");
    let dry = |replay: &mut Replay<'_>| replay.producer = None;
    let found = replay(&house, &unknown, dry).await;
    check(&found, &[(Fate::NotSent, 20)]);
    assert!(found.lines.keys().all(|line| line.why == "there is no tenant later"), "{found:?}");

    house.add_tenant("later", "date_trunc('hour', now()) + interval '10 days'").await;
    check(&replay(&house, &unknown, dry).await, &[(Fate::WouldBeSent, 20)]);
    check(&replay(&house, &unknown, |_| {}).await, &[(Fate::Counted, 20)]);
    assert_eq!(house.number(ACCEPTED).await, 21);
    // Again, and again after a restart that reads the ids from the journal.
    check(&replay(&house, &unknown, |_| {}).await, &[(Fate::CountedBefore, 20)]);
    running.kill().await;
    let running = house.start();
    check(&replay(&house, &unknown, |_| {}).await, &[(Fate::CountedBefore, 20)]);
    assert_eq!((house.number(ACCEPTED).await, house.number(DUPLICATES).await), (21, 41));
    assert_eq!(house.number(CONFLICTS).await, 1, "the second sending was told as a conflict");
    sound(&house).await;
    expect_times(&house).await;
    // Nothing was forwarded but what stood astray at first.
    let astray = house.number("SELECT sum(forwarded_count)::bigint FROM batch").await;
    assert!(astray <= 20, "{astray} were forwarded, though replays are keyed by tenant");
    running.stop().await;
}

/// Events without a time happened when they first arrived, not when they were sent again.
async fn expect_times(house: &House) {
    let client = clickhouse::Client::default()
        .with_url(&house.clickhouse.url)
        .with_database(&house.clickhouse.database)
        .with_compression(clickhouse::Compression::None);
    let mut found: Vec<(String, i64)> = client
        .query("SELECT id, toUnixTimestamp64Milli(time) FROM events WHERE tenant = 'later' ORDER BY id")
        .fetch_all()
        .await
        .expect("events");
    found.sort();
    let entries = letters(house, &reason("unknown_tenant")).await;
    let mut expected: Vec<(String, i64)> = fetch_all(&reader(house), &entries)
        .await
        .unwrap()
        .into_iter()
        .map(|(letter, reading)| match reading {
            Reading::Event(event) => (event.id, event.time.unwrap_or(letter.arrived_at).millis()),
            other => panic!("{other:?}"),
        })
        .collect();
    expected.sort();
    assert_eq!(found, expected);
    assert_eq!(found.len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_counted_is_not_sent_and_says_why() {
    let (house, running) = with_letters("not_replayed").await;
    for (code, words) in [
        ("too_late", "too long ago"),
        ("conflict", "the first stands"),
        ("malformed", "no known format"),
        ("unknown_tenant", "there is no tenant later"),
    ] {
        let found = replay(&house, &reason(code), |_| {}).await;
        assert_eq!(found.count(Fate::NotSent), found.lines.values().map(|(count, _)| count).sum::<u64>());
        assert!(
            !found.lines.is_empty() && found.lines.keys().all(|one| one.why.contains(words)),
            "{found:?}"
        );
    }
    assert_eq!(house.number(ACCEPTED).await, 1);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_one_letter_by_where_it_stood_first() {
    let (house, running) = with_letters("one_letter").await;
    let all = letters(&house, &Filter::default()).await;
    assert_eq!(all.len(), 23, "{all:?}");
    assert!(all.iter().all(|entry| entry.letters == 1), "{all:?}");
    // As after a crash between the letters and the commit.
    let mut twice = Vec::new();
    for record in dead_letter_topic(&house).await {
        twice.push(OutgoingRecord {
            topic: house.kafka.dead_letter_topic.clone(),
            partition: None,
            key: record.key.map(Into::into),
            value: record.payload.map(Into::into),
            headers: record.headers,
        });
    }
    house.produce(twice).await;
    let doubled = letters(&house, &Filter::default()).await;
    assert_eq!(doubled.len(), 23, "{doubled:?}");
    assert!(doubled.iter().all(|entry| entry.letters == 2), "{doubled:?}");

    // Sent by whoever believes in a longer window, it is rejected again, and is the same letter.
    let late = reason("too_late");
    let longer = CountingSettings { window_ms: 100 * DAY_MS, ..CountingSettings::default() };
    let longer: &'static CountingSettings = Box::leak(Box::new(longer));
    let origin = letters(&house, &late).await[0].origin;
    let again = replay(&house, &late, |replay| replay.settings = longer).await;
    check(&again, &[(Fate::RejectedAgain, 1)]);
    let found = letters(&house, &late).await;
    assert_eq!((found.len(), found[0].origin, found[0].letters), (1, origin, 3), "{found:?}");
    let (letter, _) = fetch_all(&reader(&house), &found).await.unwrap().remove(0);
    assert_ne!(letter.info.position, origin, "the last letter is of the record that was sent again");
    assert_eq!(letter.arrived_at, found[0].arrived_at);
    let by_position = Filter { positions: [origin].into(), ..Filter::default() };
    assert_eq!(letters(&house, &by_position).await, found);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_of_what_was_counted_after_all_is_not_sent() {
    let (house, running) = with_letters("after_all").await;
    let (partition, offset) = house.producer.send(house.record(&house.event(200), 1)).await.unwrap();
    house.until(ACCEPTED, 2, 60).await;
    let accepted = Position { generation: 1, partition, offset };
    assert_eq!(counted(&house.pool, accepted).await.unwrap(), Counted::Accepted);
    // As a batch leaves it that was applied twice: rejected at first, and counted in the end.
    let mut letter = dead_letter_topic(&house).await.remove(0);
    for (name, value) in &mut letter.headers {
        match name.as_str() {
            "weir-dlq-partition" => *value = partition.to_string().into_bytes(),
            "weir-dlq-offset" => *value = offset.to_string().into_bytes(),
            "weir-dlq-code" => *value = b"unknown_tenant".to_vec(),
            _ => {}
        }
    }
    let topic = house.kafka.dead_letter_topic.clone();
    let value = house.record(&house.event(200), 1).value;
    house
        .produce(vec![OutgoingRecord { topic, value, headers: letter.headers, ..OutgoingRecord::default() }])
        .await;
    let this = Filter { positions: [accepted].into(), ..Filter::default() };
    let found = replay(&house, &this, |_| {}).await;
    check(&found, &[(Fate::NotSent, 1)]);
    assert!(found.lines.keys().all(|line| line.why == "it was counted after all"), "{found:?}");
    running.stop().await;
}
