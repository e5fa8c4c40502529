//! The scenarios. Each has its own database and topics on one stack.

use std::time::Instant;

use weir_backends::journal::OutgoingRecord;
use weir_metering::event::UsageEvent;

use crate::house::{House, count};

const ACCEPTED: &str = "SELECT COALESCE(sum(accepted_count), 0)::bigint FROM batch";

fn stack() -> &'static local_stack::Stack {
    local_stack::shared_for_tests().unwrap_or_else(|error| panic!("{error}"))
}

/// Events with repetitions, as records.
fn journal(house: &House, from: usize, to: usize) -> (Vec<UsageEvent>, Vec<OutgoingRecord>) {
    let numbers = (from..to).flat_map(|nth| if nth % 10 == 0 { vec![nth, nth] } else { vec![nth] });
    let (mut events, mut records) = (Vec::new(), Vec::new());
    for nth in numbers {
        let event = house.event(nth);
        records.push(house.record(&event, nth));
        events.push(event);
    }
    (events, records)
}

async fn check(house: &House, events: &[UsageEvent]) {
    house.settle(30).await;
    let expected = count(events);
    assert_eq!(house.counted().await, expected);
    let total = expected.values().map(|count| u64::try_from(count.events).unwrap()).sum();
    assert_eq!(house.projected().await, (total, total));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_is_counted_once_and_the_rest_is_said() {
    let house = House::build(stack(), "plain").await;
    let (events, mut records) = journal(&house, 0, 2_000);
    let foreign = records.iter().filter(|record| record.partition.is_some()).count();
    let late = UsageEvent { time: Some(house.now.plus_millis(-36 * 86_400_000)), ..house.event(5_000) };
    let future = UsageEvent { time: Some(house.now.plus_millis(2 * 3_600_000)), ..house.event(5_001) };
    let stranger = UsageEvent { tenant: "nobody".into(), ..house.event(5_002) };
    let conflict = UsageEvent { data: vec![("value".into(), "7".into())], ..house.event(1) };
    let bad_value = UsageEvent { data: vec![("value".into(), "NaN".into())], ..house.event(5_003) };
    records.extend([&late, &future, &stranger, &conflict, &bad_value].map(|event| house.record(event, 1)));
    let mut malformed = house.record(&house.event(5_004), 1);
    malformed.value = Some(vec![0, 0, 0, 0, 1, 255, 255]);
    records.push(malformed);
    let running = house.start();
    house.produce(records).await;
    house.until(ACCEPTED, 2_000, 60).await;
    house.until("SELECT COALESCE(sum(rejected_count), 0)::bigint FROM batch", 5, 30).await;
    check(&house, &events).await;
    let forwarded = house.number("SELECT sum(forwarded_count)::bigint FROM batch").await;
    assert_eq!(forwarded, i64::try_from(foreign).unwrap());
    // 200 repetitions and the conflict.
    assert_eq!(house.number("SELECT sum(duplicate_count)::bigint FROM batch").await, 201);
    let reasons: Vec<(String, i64)> = sqlx::query_as(
        "SELECT key, sum(value::bigint)::bigint FROM batch, jsonb_each_text(rejected_by) GROUP BY key ORDER BY key",
    )
    .fetch_all(&house.pool)
    .await
    .unwrap();
    let expected = ["conflict", "in_future", "invalid_value", "malformed", "too_late", "unknown_tenant"];
    assert_eq!(reasons, expected.map(|reason| (reason.to_owned(), 1)));
    assert_eq!(house.number("SELECT count(*) FROM outbox WHERE kind = 'alert_topic'").await, 1);
    assert!(running.status.problems().is_empty(), "{:?}", running.status.problems());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_again_and_again_it_counts_as_if_nothing_had_been() {
    let house = House::build(stack(), "killed").await;
    let mut all = Vec::new();
    for round in 0..4 {
        let running = house.start();
        let before = house.number(ACCEPTED).await;
        // The last hundred of the round before come again.
        let from = (round * 1_500_usize).saturating_sub(100);
        let (events, records) = journal(&house, from, (round + 1) * 1_500);
        house.produce(records).await;
        all.extend(events);
        while house.number(ACCEPTED).await < before + 300 {
            tokio::task::yield_now().await;
        }
        running.kill().await;
    }
    let running = house.start();
    house.until(ACCEPTED, 6_000, 60).await;
    check(&house, &all).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_share_the_partitions_and_one_takes_over() {
    let house = House::build(stack(), "shared").await;
    let one = house.start();
    let (mut all, records) = journal(&house, 0, 1_000);
    house.produce(records).await;
    house.until(ACCEPTED, 1_000, 60).await;
    let other = house.start();
    let deadline = Instant::now() + std::time::Duration::from_secs(40);
    while other.status.snapshot().partitions.len() != 2 || one.status.snapshot().partitions.len() != 2 {
        assert!(Instant::now() < deadline, "{:?} {:?}", one.status.snapshot(), other.status.snapshot());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let (events, records) = journal(&house, 900, 2_000);
    all.extend(events);
    house.produce(records).await;
    house.until(ACCEPTED, 2_000, 60).await;
    one.stop().await;
    let (events, records) = journal(&house, 1_900, 3_000);
    all.extend(events);
    house.produce(records).await;
    house.until(ACCEPTED, 3_000, 60).await;
    check(&house, &all).await;
    other.stop().await;
}
