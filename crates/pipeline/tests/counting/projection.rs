//! What ClickHouse holds, whatever happened to it: late owners, dropped databases, rows that
//! are missing or too many. Afterwards the ledger's own check proves it.

use std::time::Duration;

use anyhow::ensure;
use weir_backends::ledger::{partition, projecting};
use weir_backends::postgres;
use weir_backends::projection::Projection;
use weir_metering::shard::SERIES_MAX;
use weir_pipeline::ledger_check;
use weir_tests::wait::until;

use crate::house::{House, Running};
use crate::scenarios::{ACCEPTED, check, journal, stack};

/// Runs a statement in ClickHouse, outside of the house's database.
pub(crate) async fn clickhouse(house: &House, sql: &str) {
    let client = clickhouse::Client::default()
        .with_url(&house.clickhouse.url)
        .with_compression(clickhouse::Compression::None);
    client.query(&sql.replace("{db}", &house.clickhouse.database)).execute().await.expect("runs");
}

/// Waits until ClickHouse has as many events, and calls in its rollups.
pub(crate) async fn until_projected(house: &House, running: &Running, expected: u64) {
    until(&format!("{expected} events in ClickHouse"), Duration::from_secs(40), || async {
        let found = house.try_projected().await;
        ensure!(found == Some((expected, expected)), "{found:?} {:?}", running.status.snapshot());
        Ok(Some(()))
    })
    .await
    .unwrap();
}

/// `weir ledger check` finds no difference, and nothing that it could not look at.
pub(crate) async fn prove(house: &House) {
    house.settle(30).await;
    let key = postgres::installation(&house.pool, &house.kafka).await.unwrap().identity_key;
    let checks = ledger_check::check(&house.pool, &house.clickhouse, &key, SERIES_MAX, &()).await.unwrap();
    for found in checks {
        assert_eq!((found.differences, found.notes), (vec![], vec![]));
    }
}

/// Counts so many events, the last hundred of those before again.
async fn count_to(house: &House, to: usize, all: &mut Vec<weir_metering::event::UsageEvent>) {
    let counted = usize::try_from(house.number(ACCEPTED).await).unwrap();
    let (events, records) = journal(house, counted.saturating_sub(100), to);
    all.extend(events);
    house.produce(records).await;
    house.until(ACCEPTED, i64::try_from(to).unwrap(), 60).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_that_comes_late_removes_nothing_of_a_newer_owner() {
    let house = House::build(stack(), "late_purge").await;
    let mut all = Vec::new();
    for to in [500, 1_000] {
        let running = house.start();
        running.until_counting(4).await;
        count_to(&house, to, &mut all).await;
        house.settle(30).await;
        running.kill().await;
    }
    // The one that was frozen right after taking has the same rows in its hands.
    let running = house.start();
    running.until_counting(4).await;
    let frozen = partition::all(&house.pool).await.unwrap();
    running.kill().await;
    let running = house.start();
    count_to(&house, 2_000, &mut all).await;
    check(&house, &all).await;
    let projection = Projection::new(&house.clickhouse);
    for row in frozen {
        let place = (row.partition, row.generation);
        let removed = projection.remove_events(place, (row.next_offset, i64::MAX), row.epoch).await.unwrap();
        let given = partition::given_epochs(&house.pool, place).await.unwrap();
        let before = given.iter().rfind(|one| one.epoch < row.epoch).expect("the first two owners");
        projection.remove_rollups_beyond(place, (before.epoch, row.folded_to)).await.unwrap();
        assert_eq!(removed, 0);
    }
    check(&house, &all).await;
    prove(&house).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_dropped_while_counting_goes_on_is_filled_again() {
    let house = House::build(stack(), "dropped_running").await;
    let running = house.start();
    let mut all = Vec::new();
    count_to(&house, 1_000, &mut all).await;
    house.settle(30).await;
    for to in [2_000, 3_000] {
        clickhouse(&house, "DROP DATABASE {db} SYNC").await;
        count_to(&house, to, &mut all).await;
        until_projected(&house, &running, u64::try_from(to).unwrap()).await;
    }
    check(&house, &all).await;
    prove(&house).await;
    // One table alone, and nothing is counted that could notice it.
    clickhouse(&house, "DROP TABLE {db}.usage_hourly_raw SYNC").await;
    until_projected(&house, &running, 3_000).await;
    prove(&house).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_dropped_while_nobody_counts_is_filled_again() {
    let house = House::build(stack(), "dropped_stopped").await;
    let running = house.start();
    let mut all = Vec::new();
    count_to(&house, 1_000, &mut all).await;
    house.settle(30).await;
    running.stop().await;
    clickhouse(&house, "DROP DATABASE {db} SYNC").await;
    // As `weir migrate` does: the tables are there again, and empty.
    Projection::new(&house.clickhouse).prepare().await.unwrap();
    let by_columns =
        "SELECT throwIf(engine_full NOT LIKE '%vertical_merge_algorithm_min_columns_to_activate = 1%')
        FROM system.tables WHERE database = '{db}' AND name = 'events_raw'";
    clickhouse(&house, by_columns).await;
    let running = house.start();
    until_projected(&house, &running, 1_000).await;
    check(&house, &all).await;
    prove(&house).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_missing_or_too_many_are_found_and_mended() {
    let house = House::build(stack(), "mended").await;
    let running = house.start();
    let mut all = Vec::new();
    count_to(&house, 1_000, &mut all).await;
    check(&house, &all).await;
    let phantom = "INSERT INTO {db}.events_raw
        SELECT generation, partition, -1, broker_time, tenant, source, 'phantom', type, time, data, epoch
        FROM {db}.events_raw LIMIT 1";
    // What stands at an offset that was not accepted: a forwarded record's.
    let at = house
        .text(
            "SELECT partition || ' ' || from_offset FROM batch WHERE accepted_count = 0 AND forwarded_count > 0
             UNION ALL SELECT '' LIMIT 1",
        )
        .await;
    if let Some((partition, offset)) = at.split_once(' ') {
        let placed = phantom.replace("partition, -1", &format!("{partition}, {offset}"));
        clickhouse(&house, &placed).await;
    }
    // What a process of a lost time writes late: no key replaces it, or it stands above what is true.
    for written in [
        "'lost', generation, partition, quantity, event_count, epoch - 1, 1000000",
        "'lost', generation, partition, quantity, event_count, epoch - 2, 1",
        "dimensions, generation, partition, quantity + 7, event_count + 7, epoch + 1000, 1",
        "dimensions, generation, partition, quantity + 8, event_count + 8, epoch - 1, 1000000",
    ] {
        let lost = format!(
            "INSERT INTO {{db}}.usage_hourly_raw
            (tenant, meter, hour, dimensions, generation, partition, quantity, event_count, epoch, folded_to)
        SELECT tenant, meter, hour, {written} FROM {{db}}.usage_hourly_raw WHERE meter = 'calls' LIMIT 1"
        );
        clickhouse(&house, &lost).await;
    }
    clickhouse(&house, "ALTER TABLE {db}.events_raw DELETE WHERE offset % 3 = 0 SETTINGS mutations_sync = 2")
        .await;
    until_projected(&house, &running, 1_000).await;
    check(&house, &all).await;
    prove(&house).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_for_by_hand_is_projected_again_while_counting_goes_on() {
    let house = House::build(stack(), "by_hand").await;
    let running = house.start();
    let mut all = Vec::new();
    count_to(&house, 1_000, &mut all).await;
    check(&house, &all).await;
    clickhouse(&house, "TRUNCATE TABLE {db}.usage_hourly_raw").await;
    for partition in 0..4 {
        let (from, next) = projecting::again(&house.pool, partition, 0).await.unwrap().unwrap();
        assert!(from == 0 && next > 0);
    }
    assert_eq!(projecting::again(&house.pool, 99, 0).await.unwrap(), None);
    count_to(&house, 2_000, &mut all).await;
    until_projected(&house, &running, 2_000).await;
    check(&house, &all).await;
    prove(&house).await;
    running.stop().await;
}
