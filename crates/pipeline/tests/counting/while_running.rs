//! What is noticed while counting goes on: a topic that is no longer the same, a store that
//! is away, a process that was only gone for a moment.

use std::time::{Duration, Instant};

use anyhow::ensure;
use weir_tests::wait::until;

use crate::admin;
use crate::house::House;
use crate::scenarios::{ACCEPTED, check, counted, journal, stack};

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_recreated_and_filled_further_is_refused_before_anything_of_it_is_counted() {
    let house = House::build(stack(), "recreated_running").await;
    let running = house.start();
    counted(&house, 200).await;
    running.until_counting(4).await;
    const COUNTED: &str = "SELECT sum(next_offset)::bigint FROM journal_partition";
    let before = house.number(COUNTED).await;
    admin::recreate(&house.kafka).await;
    let (_, records) = journal(&house, 10_000, 12_000);
    house.produce_patiently(records).await;
    running.until_problems("weir ledger accept-topic", 4).await;
    assert_eq!(house.number(ACCEPTED).await, 200);
    // Ticks may have been counted before it was deleted, nothing of the new one was.
    assert!(house.number(COUNTED).await <= before + 4);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_widened_or_compacted_while_it_is_counted_is_refused() {
    let house = House::build(stack(), "changed_running").await;
    let running = house.start();
    running.until_counting(4).await;
    admin::alter(&house.kafka, "cleanup.policy", "compact").await;
    running.until_problems("needs cleanup.policy=delete", 4).await;
    admin::alter(&house.kafka, "cleanup.policy", "delete").await;
    running.until_counting(4).await;
    admin::widen(&house.kafka, 6).await;
    running.until_said("has 6 partitions, but the ledger counts 4", 30).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_named_process_that_was_gone_for_a_moment_has_its_partitions_back_at_once() {
    let mut house = House::build(stack(), "named").await;
    house.kafka.group_instance_id = Some("only".into());
    let running = house.start();
    running.until_counting(4).await;
    let mut all = counted(&house, 300).await;
    running.kill().await;
    let started = Instant::now();
    let running = house.start();
    running.until_counting(4).await;
    // The session's timeout is ten seconds.
    assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());
    let (events, records) = journal(&house, 200, 600);
    all.extend(events);
    house.produce(records).await;
    house.until(ACCEPTED, 600, 60).await;
    check(&house, &all).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_delay_of_the_projection_grows_while_clickhouse_is_away() {
    let stack = local_stack::scratch().unwrap_or_else(|error| panic!("{error}"));
    let house = House::build(&stack, "delayed").await;
    let mut metrics = None;
    let running = house.start_with(|aggregator| metrics = Some(aggregator.metrics.clone()));
    let metrics = metrics.unwrap();
    let delay = || metrics.projection_delay_seconds.get();
    let mut all = counted(&house, 200).await;
    house.settle(30).await;
    let until_delay = async |what: &str, seconds: std::ops::Range<f64>| {
        let within = until(what, Duration::from_secs(30), || async {
            let delay = delay();
            ensure!(seconds.contains(&delay), "{delay} s");
            Ok(Some(()))
        });
        within.await.unwrap();
    };
    until_delay("nothing to wait", 0.0..0.001).await;
    stack.clickhouse().kill().expect("killed");
    let (events, records) = journal(&house, 100, 400);
    all.extend(events);
    house.produce(records).await;
    house.until(ACCEPTED, 400, 60).await;
    until_delay("the delay to grow", 3.0..60.0).await;
    stack.clickhouse().restart().expect("restarted");
    check(&house, &all).await;
    until_delay("nothing to wait again", 0.0..0.001).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_conflict_alert_of_an_hour_is_told_once_across_a_restart() {
    let house = House::build(stack(), "conflicts").await;
    const ALERTS: &str = "SELECT count(*) FROM outbox WHERE kind = 'alert_topic'";
    const DUPLICATES: &str = "SELECT COALESCE(sum(duplicate_count), 0)::bigint FROM batch";
    let other_facts = |nth: usize| {
        let data = vec![("value".to_owned(), "7".to_owned())];
        house.record(&weir_metering::event::UsageEvent { data, ..house.event(nth) }, 1)
    };
    let running = house.start();
    let events: Vec<_> = (0..60).map(|nth| house.event(nth)).collect();
    house.produce(events.iter().map(|event| house.record(event, 1)).collect()).await;
    house.until(ACCEPTED, 60, 60).await;
    house.produce(vec![other_facts(6)]).await;
    house.until(DUPLICATES, 1, 30).await;
    let alerts = house.number(ALERTS).await;
    assert_eq!(alerts, 1);
    house.run("UPDATE outbox SET delivered_at = now()".into()).await;
    running.kill().await;
    let running = house.start();
    house.produce(vec![other_facts(12)]).await;
    house.until(DUPLICATES, 2, 30).await;
    let hours =
        "SELECT count(DISTINCT date_trunc('hour', broker_time_max)) FROM batch WHERE duplicate_count > 0";
    assert_eq!(house.number(ALERTS).await, house.number(hours).await);
    running.stop().await;
}
