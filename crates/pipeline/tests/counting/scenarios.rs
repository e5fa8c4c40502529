//! The scenarios. Each has its own database and topics on one stack.

use std::time::{Duration, Instant};

use anyhow::ensure;
use weir_backends::journal::OutgoingRecord;
use weir_metering::event::UsageEvent;
use weir_tests::wait::until;

use crate::house::{House, count};

pub(crate) const ACCEPTED: &str = "SELECT COALESCE(sum(accepted_count), 0)::bigint FROM batch";

/// Offsets that usage rows or ClickHouse do not hold yet.
const UNPROJECTED: &str =
    "SELECT COALESCE(sum(3 * next_offset - folded_to - projected_to - rolled_to), 0)::bigint
    FROM journal_partition";

pub(crate) fn stack() -> &'static local_stack::Stack {
    local_stack::shared_for_tests().unwrap_or_else(|error| panic!("{error}"))
}

/// Events with repetitions, as records.
pub(crate) fn journal(house: &House, from: usize, to: usize) -> (Vec<UsageEvent>, Vec<OutgoingRecord>) {
    let numbers = (from..to).flat_map(|nth| if nth % 10 == 0 { vec![nth, nth] } else { vec![nth] });
    let (mut events, mut records) = (Vec::new(), Vec::new());
    for nth in numbers {
        let event = house.event(nth);
        records.push(house.record(&event, nth));
        events.push(event);
    }
    (events, records)
}

/// The first so many events come, with repetitions, and are counted.
pub(crate) async fn counted(house: &House, count: u32) -> Vec<UsageEvent> {
    let (events, records) = journal(house, 0, usize::try_from(count).unwrap());
    house.produce(records).await;
    house.until(ACCEPTED, i64::from(count), 60).await;
    events
}

pub(crate) async fn check(house: &House, events: &[UsageEvent]) {
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
    let mut all = counted(&house, 1_000).await;
    let other = house.start();
    until("two partitions each", Duration::from_secs(40), || async {
        let (one, other) = (one.status.snapshot(), other.status.snapshot());
        ensure!(one.partitions.len() == 2 && other.partitions.len() == 2, "{one:?} {other:?}");
        Ok(Some(()))
    })
    .await
    .unwrap();
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

#[tokio::test(flavor = "multi_thread")]
async fn without_clickhouse_and_across_restarts_of_the_ledger_counting_goes_on() {
    let stack = local_stack::scratch().unwrap_or_else(|error| panic!("{error}"));
    let house = House::build(&stack, "faults").await;
    let running = house.start();
    let mut all = counted(&house, 1_000).await;
    house.settle(30).await;

    stack.clickhouse().kill().expect("killed");
    let (events, records) = journal(&house, 900, 3_000);
    all.extend(events);
    house.produce(records).await;
    house.until(ACCEPTED, 3_000, 60).await;
    // Nothing of this process's memory is left, and it starts without ClickHouse.
    running.kill().await;
    let running = house.start();
    let (events, records) = journal(&house, 2_900, 4_000);
    all.extend(events);
    house.produce(records).await;
    house.until(ACCEPTED, 4_000, 60).await;
    stack.clickhouse().restart().expect("restarted");
    check(&house, &all).await;

    stack.postgres().kill().expect("killed");
    let (events, records) = journal(&house, 3_900, 5_000);
    all.extend(events);
    house.produce(records).await;
    stack.postgres().restart().expect("restarted");
    house.until(ACCEPTED, 5_000, 60).await;
    check(&house, &all).await;

    stack.kafka().kill().expect("killed");
    stack.kafka().restart().expect("restarted");
    let (events, records) = journal(&house, 4_900, 6_000);
    all.extend(events);
    house.produce_patiently(records).await;
    house.until(ACCEPTED, 6_000, 90).await;
    check(&house, &all).await;
    running.kill().await;

    // As after a restored ledger: ClickHouse holds an event that the ledger has never heard of.
    house.phantom().await;
    let running = house.start();
    let (events, records) = journal(&house, 5_900, 6_500);
    all.extend(events);
    house.produce_patiently(records).await;
    house.until(ACCEPTED, 6_500, 60).await;
    check(&house, &all).await;
    running.stop().await;
}

/// Many full batches in every partition, as after a long pause. How fast is `make bench`'s matter.
#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_is_counted() {
    const COUNT: usize = 200_000;
    let house = House::build(stack(), "backlog").await;
    let events: Vec<_> = (0..COUNT).map(|nth| house.event(nth)).collect();
    for part in events.chunks(100_000) {
        house.produce(part.iter().map(|event| house.record(event, 1)).collect()).await;
    }
    let running = house.start();
    house.until(ACCEPTED, i64::try_from(COUNT).unwrap(), 300).await;
    house.until(UNPROJECTED, 0, 300).await;
    check(&house, &events).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_frozen_in_its_transaction_is_ended_and_writes_nothing() {
    let house = House::build(stack(), "frozen").await;
    let running = house.start();
    let mut all = counted(&house, 500).await;
    running.kill().await;
    // As an owner would hold the rows that is frozen between UPDATE and COMMIT.
    let mut frozen = house.pool.begin().await.unwrap();
    sqlx::query("UPDATE journal_partition SET next_offset = next_offset + 1000000")
        .execute(&mut *frozen)
        .await
        .unwrap();
    let started = Instant::now();
    let running = house.start();
    let (events, records) = journal(&house, 400, 1_000);
    all.extend(events);
    house.produce(records).await;
    house.until(ACCEPTED, 1_000, 30).await;
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
    assert!(frozen.commit().await.is_err());
    check(&house, &all).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_comes_while_counting_is_counted_from_its_first_event() {
    let house = House::build(stack(), "newcomer").await;
    let running = house.start();
    counted(&house, 300).await;
    house.add_tenant("newcomer", "now() + interval '20 days'").await;
    let first = UsageEvent { tenant: "newcomer".into(), ..house.event(900) };
    house.produce(vec![house.record(&first, 1)]).await;
    house.until(ACCEPTED, 301, 30).await;
    assert_eq!(house.number("SELECT sum(rejected_count)::bigint FROM batch").await, 0);
    house.settle(30).await;
    assert_eq!(house.counted().await.remove("newcomer").unwrap().events, 1);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_ahead_of_its_journal_is_refused_in_words() {
    let house = House::build(stack(), "ahead").await;
    let running = house.start();
    counted(&house, 300).await;
    running.stop().await;
    sqlx::query("UPDATE journal_partition SET next_offset = next_offset + 1000 WHERE partition = 0")
        .execute(&house.pool)
        .await
        .unwrap();
    sqlx::query("UPDATE journal_partition SET last_crc = last_crc # 1 WHERE partition = 1")
        .execute(&house.pool)
        .await
        .unwrap();
    let running = house.start();
    let problems = running.until_problems("weir ledger accept-topic", 2).await;
    assert!(problems[0].contains("the topic was recreated or cut"), "{problems:?}");
    assert!(problems[1].contains("cut and refilled"), "{problems:?}");
    running.stop().await;
}
