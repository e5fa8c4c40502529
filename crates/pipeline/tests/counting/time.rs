//! Journal time: ticks move it on where nothing is sent, aborted transactions do not stop it,
//! and a clock that cannot be right holds a partition.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use weir_backends::books;
use weir_backends::journal::{OutgoingRecord, Producer};
use weir_core::journal::partition_of;
use weir_core::{Quantity, TenantId, Timestamp};
use weir_metering::event::UsageEvent;
use weir_metering::meter::MeterKey;
use weir_metering::quota::{Enforcement, Limit, LimitSet, WhenStale};
use weir_pipeline::Clock;
use weir_pipeline::outbox::{Delivery, OutboxMetrics};
use weir_tests::wait::until;
use weir_wire::usage_record::{CONTROL_LIMITS, HEADER_CONTROL, encode_limits};

use crate::admin;
use crate::house::{House, PARTITIONS};
use crate::receiver::{Receiver, SECRET};
use crate::scenarios::{ACCEPTED, check, journal, stack};

const TICK_AFTER_MS: u64 = 300;
/// Long enough for a busy machine to do before the end what must be done before it.
const PERIOD_ENDS_AFTER_MS: i64 = 10_000;

/// Adds a tenant whose billing period ends soon, and says when.
async fn add_tenant_whose_period_ends(house: &House, tenant: &str) -> Timestamp {
    let end = Timestamp::from(chrono::Utc::now()).plus_millis(PERIOD_ENDS_AFTER_MS);
    house.add_tenant(tenant, &format!("'{end}'::timestamptz")).await;
    end
}

/// Events of a tenant, all within the period that ends soon.
fn events_of(house: &House, tenant: &str, count: usize) -> Vec<UsageEvent> {
    let time = Some(house.now.plus_millis(-7_200_000));
    (0..count).map(|nth| UsageEvent { tenant: tenant.to_owned(), time, ..house.event(nth) }).collect()
}

/// A hard limit on calls, as a control record.
fn hard_limit(house: &House, tenant: &str, calls: i64) -> OutgoingRecord {
    let limit = Limit {
        meter: MeterKey::new("calls").unwrap(),
        limit: Quantity::from_units(calls),
        enforcement: Enforcement::Hard,
        thresholds_percent: vec![80, 100],
        when_stale: WhenStale::Allow,
    };
    let set = LimitSet { tenant: TenantId::new(tenant).unwrap(), revision: 1, limits: vec![limit] };
    OutgoingRecord {
        topic: house.kafka.usage_topic.clone(),
        key: Some(tenant.as_bytes().to_vec()),
        value: Some(encode_limits(&set)),
        headers: vec![(HEADER_CONTROL.to_owned(), CONTROL_LIMITS.as_bytes().to_vec())],
        ..OutgoingRecord::default()
    }
}

/// Delivers what the house has to tell to a receiver, until the token is cancelled.
async fn deliver(house: &House, receiver: &Receiver) -> CancellationToken {
    let (url, secret) = (&receiver.url, SECRET);
    house
        .run(format!(
            "INSERT INTO webhook_endpoint (id, url, secret, created_at)
             VALUES (gen_random_uuid(), '{url}', '{secret}', now())"
        ))
        .await;
    let delivery = Delivery::of_servers(
        house.pool.clone(),
        Producer::connect(&house.kafka).unwrap(),
        house.kafka.clone(),
        true,
        Arc::new(OutboxMetrics::register(&prometheus::Registry::new()).unwrap()),
    );
    let stop = CancellationToken::new();
    tokio::spawn(delivery.run(stop.clone()));
    stop
}

async fn until_received(receiver: &Receiver, count: usize) {
    until(&format!("{count} notifications"), Duration::from_secs(40), || async {
        let received = receiver.received();
        ensure!(received.len() >= count, "{received:?}");
        Ok(Some(()))
    })
    .await
    .unwrap();
}

/// Waits until every partition has been given so many ticks more.
async fn until_ticks(house: &House, more: i64) {
    const TICKS: &str = "SELECT min(ticks)::bigint FROM (
            SELECT p.partition, COALESCE(sum(b.control_count), 0) AS ticks
            FROM journal_partition AS p LEFT JOIN batch AS b USING (partition) GROUP BY p.partition
        ) AS by_partition";
    let enough = house.number(TICKS).await + more;
    until(&format!("{enough} ticks"), Duration::from_secs(30), || async {
        let found = house.number(TICKS).await;
        ensure!(found >= enough, "{found} ticks");
        Ok(Some(()))
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reached_limit_is_told_and_its_end_too_once_although_nothing_is_sent() {
    let house = House::build(stack(), "ended").await;
    let receiver = Receiver::start().await;
    let delivery = deliver(&house, &receiver).await;
    let start = || house.start_with(|aggregator| aggregator.settings.tick_after_ms = TICK_AFTER_MS);
    let running = start();
    running.until_counting(4).await;
    let end = add_tenant_whose_period_ends(&house, "limited").await;
    let mut records = vec![hard_limit(&house, "limited", 10)];
    records.extend(events_of(&house, "limited", 12).iter().map(|event| house.record(event, 1)));
    for record in records {
        // One after the other: the limit stands before the events that reach it.
        house.produce(vec![record]).await;
    }
    until_received(&receiver, 2).await;
    // Whoever counts when the period ends has read in the ledger what was reached.
    running.kill().await;
    let running = start();
    until_received(&receiver, 4).await;
    running.kill().await;
    let running = start();
    until_ticks(&house, 3).await;
    house.until("SELECT count(*) FROM outbox WHERE delivered_at IS NULL", 0, 30).await;
    running.stop().await;
    delivery.cancel();

    let told = receiver.received();
    let expected = [
        ("quota.threshold.reached", 80, "8"),
        ("quota.threshold.reached", 100, "10"),
        ("quota.threshold.resolved", 80, "12"),
        ("quota.threshold.resolved", 100, "12"),
    ];
    let mut found: Vec<_> = told
        .iter()
        .map(|(_, body)| json!([body["type"], body["data"]["threshold_percent"], body["data"]["used"]]))
        .collect();
    found.sort_by_key(ToString::to_string);
    let mut expected = expected.map(|(kind, percent, used)| json!([kind, percent, used]));
    expected.sort_by_key(ToString::to_string);
    assert_eq!(found, expected);
    let mut ids: Vec<_> = told.iter().map(|(id, _)| id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 4, "{told:?}");
    // By journal time: told after the end, reached before it.
    for (_, body) in &told {
        let at = Timestamp::parse(body["timestamp"].as_str().unwrap()).unwrap();
        assert_eq!(at >= end, body["type"] == "quota.threshold.resolved", "{body} of a period until {end}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_period_closes_although_the_last_record_is_an_aborted_transaction() {
    const HOLES: &str = "SELECT count(*) FROM batch WHERE to_offset - from_offset > read_count";
    let house = House::build(stack(), "aborted").await;
    let running = house.start_with(|aggregator| aggregator.settings.tick_after_ms = TICK_AFTER_MS);
    running.until_counting(4).await;
    let end = add_tenant_whose_period_ends(&house, "closing").await;
    let partition = partition_of(b"closing", PARTITIONS);
    let events = events_of(&house, "closing", 10);
    house.produce(events.iter().map(|event| house.record(event, 1)).collect()).await;
    house.until(ACCEPTED, 10, 30).await;
    running.kill().await;
    assert_eq!(house.number(HOLES).await, 0);

    // Nobody counts, so nothing stands behind the transaction.
    let transactions = admin::transactional(&house.kafka);
    let values: Vec<_> = (10..15).filter_map(|nth| house.record(&house.event(nth), 1).value).collect();
    admin::begin(&transactions, &house.kafka, partition, &values);
    admin::abort(&transactions);
    let running = house.start_with(|aggregator| aggregator.settings.tick_after_ms = TICK_AFTER_MS);
    until(&format!("the period to close that ends at {end}"), Duration::from_secs(40), || async {
        let reach = books::journal_reach(&house.pool, partition).await.unwrap().unwrap();
        let status = running.status.snapshot().partitions.get(&partition).cloned().unwrap_or_default();
        let all_read = status.lag_records() == 0 && status.high_watermark > 0;
        ensure!(reach.folded_broker_time >= end && all_read, "{reach:?} {status:?}");
        Ok(Some(()))
    })
    .await
    .unwrap();
    // Five records and the marker of the abort are covered, and not counted.
    assert_eq!(house.number(HOLES).await, 1);
    assert_eq!(house.number(ACCEPTED).await, 10);
    house.expect_whole_chain().await;
    // Events behind the hole are counted as ever, also by one who must read it again.
    running.kill().await;
    let running = house.start();
    let more = events_of(&house, "closing", 20);
    house.produce(more.iter().map(|event| house.record(event, 1)).collect()).await;
    house.until(ACCEPTED, 20, 30).await;
    assert_eq!(house.number("SELECT sum(duplicate_count)::bigint FROM batch").await, 10);
    house.settle(30).await;
    assert_eq!(house.counted().await["closing"].events, 20);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_far_behind_the_brokers_holds_every_partition_and_says_so() {
    const HOUR_MS: i64 = 3_600_000;
    let house = House::build(stack(), "behind").await;
    let behind = |ms: i64| house.start_with(move |aggregator| aggregator.clock = Clock::wrong_by_ms(-ms));
    let running = behind(HOUR_MS);
    let (events, records) = journal(&house, 0, 300);
    house.produce(records).await;
    let problems = running.until_problems("far ahead of this machine's clock", 4).await;
    assert!(problems.iter().all(|words| words.contains("one of them is wrong")), "{problems:?}");
    assert_eq!(house.number("SELECT count(*) FROM batch").await, 0);
    assert_eq!(house.number("SELECT sum(next_offset)::bigint FROM journal_partition").await, 0);
    // It does not stand in the way of an end.
    running.stop().await;
    // Almost five minutes are borne.
    let running = behind(290_000);
    house.until(ACCEPTED, 300, 30).await;
    assert!(running.status.problems().is_empty(), "{:?}", running.status.problems());
    check(&house, &events).await;
    running.stop().await;
}
