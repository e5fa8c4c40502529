//! The ledger is restored from a copy that is some batches old, while Kafka, ClickHouse and
//! the receivers of alerts have gone on.

use weir_backends::config::PostgresConfig;
use weir_backends::postgres;
use weir_metering::event::UsageEvent;

use crate::house::House;
use crate::scenarios::{ACCEPTED, check, counted, journal, stack};

/// Copies the ledger under another name; its connections end for that.
pub(crate) async fn copy(house: &mut House, name: &str) {
    let options = house.pool.connect_options();
    let from = options.get_database().unwrap().to_owned();
    house.pool.close().await;
    let base = stack().postgres_url();
    let admin = postgres::connect(&PostgresConfig { url: base.clone(), connections_max: 1 }).await.unwrap();
    let sql = format!("CREATE DATABASE {name} TEMPLATE {from}");
    sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&admin).await.unwrap();
    open(house, &from).await;
}

/// Goes on with the ledger of that name.
pub(crate) async fn open(house: &mut House, name: &str) {
    let url = format!("{}/{name}", stack().postgres_url().rsplit_once('/').unwrap().0);
    house.pool = postgres::connect(&PostgresConfig { url, connections_max: 24 }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_restored_to_a_few_batches_ago_counts_the_lost_ones_again_once() {
    let mut house = House::build(stack(), "restored").await;
    let running = house.start();
    let mut all = counted(&house, 600).await;
    house.settle(30).await;
    running.stop().await;
    copy(&mut house, "restored_copy").await;

    // What the copy does not know, down to a tenant; ClickHouse gets all of it.
    let running = house.start();
    house.add_tenant("lost", "now() + interval '20 days'").await;
    let lost: Vec<UsageEvent> =
        (0..50).map(|nth| UsageEvent { tenant: "lost".into(), ..house.event(nth) }).collect();
    let (events, mut records) = journal(&house, 580, 1_200);
    all.extend(events);
    records.extend(lost.iter().map(|event| house.record(event, 1)));
    house.produce(records).await;
    house.until(ACCEPTED, 1_250, 60).await;
    house.settle(30).await;
    running.stop().await;
    assert_eq!(house.projected().await, (1_250, 1_250));

    open(&mut house, "restored_copy").await;
    assert_eq!(house.number(ACCEPTED).await, 600);
    let running = house.start();
    house.until(ACCEPTED, 1_200, 60).await;
    house.until("SELECT sum(rejected_count)::bigint FROM batch", 50, 30).await;
    // The lost tenant's events are with the dead letters, and no longer in ClickHouse.
    house.expect_whole_chain().await;
    check(&house, &all).await;
    running.stop().await;
}
