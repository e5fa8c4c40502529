//! What does not move while records wait is said with its step, on real servers; what is idle or
//! moves is not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use sqlx::{Connection, PgConnection};
use weir_pipeline::PipelineMetrics;
use weir_pipeline::status::StatusSnapshot;
use weir_tests::wait::until;

use crate::admin;
use crate::house::{House, PARTITIONS, Running};
use crate::scenarios::{ACCEPTED, check, counted, journal, stack};

/// How long something may stand still here.
const BOUND_MS: u64 = 2_000;

struct Watched {
    running: Running,
    metrics: Arc<PipelineMetrics>,
}

impl Watched {
    fn start(house: &House, tick_after_ms: u64) -> Self {
        let mut metrics = None;
        let running = house.start_with(|aggregator| {
            aggregator.settings.stalled_after_ms = BOUND_MS;
            aggregator.settings.tick_after_ms = tick_after_ms;
            metrics = Some(Arc::clone(&aggregator.metrics));
        });
        Self { running, metrics: metrics.unwrap() }
    }

    fn measured(&self, part: &str, partition: &str) -> i64 {
        self.metrics.stalled.with_label_values(&[part, partition]).get()
    }

    async fn until(&self, what: &str, holds: impl Fn(&StatusSnapshot) -> bool) -> StatusSnapshot {
        until(what, Duration::from_secs(40), || async {
            let status = self.running.status.snapshot();
            ensure!(holds(&status), "{status:?}");
            Ok(Some(status))
        })
        .await
        .unwrap()
    }
}

/// Holds a partition's row, as a forgotten session does, until it is dropped. The pool's
/// connections would be ended for being idle.
async fn hold(house: &House, partition: i32) -> PgConnection {
    let options = house.pool.connect_options();
    let mut other = PgConnection::connect_with(
        &options.as_ref().clone().options([("idle_in_transaction_session_timeout", "0")]),
    )
    .await
    .unwrap();
    let held = format!("BEGIN; SELECT 1 FROM journal_partition WHERE partition = {partition} FOR UPDATE");
    sqlx::raw_sql(sqlx::AssertSqlSafe(held)).execute(&mut other).await.unwrap();
    other
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_hangs_is_said_with_its_partition_and_the_others_move() {
    let house = House::build(stack(), "hanging_commit").await;
    let watched = Watched::start(&house, 10_000);
    watched.running.until_counting(4).await;
    let holder = hold(&house, 2).await;
    let (all, records) = journal(&house, 0, 400);
    house.produce(records).await;
    let status = watched.until("partition 2 stands still", |status| status.stalled.contains_key(&2)).await;
    let words = &status.stalled[&2];
    assert!(
        words.starts_with("partition 2 stands at offset ") && words.contains("committing a batch since "),
        "{words}"
    );
    assert_eq!(status.stalled.len(), 1, "{:?}", status.stalled);
    assert_eq!((watched.measured("counting", "2"), watched.measured("counting", "1")), (1, 0));
    holder.close().await.unwrap();
    house.until(ACCEPTED, 400, 60).await;
    watched.until("nothing stands still", |status| status.stalled.is_empty()).await;
    assert_eq!(watched.measured("counting", "2"), 0);
    check(&house, &all).await;
    watched.running.stop().await;
}

/// Servers of its own: they are frozen.
#[tokio::test(flavor = "multi_thread")]
async fn frozen_servers_are_said_with_the_step_that_waits_for_them() {
    let stack = local_stack::scratch().unwrap_or_else(|error| panic!("{error}"));
    let house = House::build(&stack, "frozen").await;
    let watched = Watched::start(&house, 10_000);
    watched.running.until_counting(4).await;
    let mut all = counted(&house, 200).await;
    house.settle(30).await;

    stack.clickhouse().freeze().unwrap();
    let (events, records) = journal(&house, 100, 400);
    all.extend(events);
    house.produce(records).await;
    house.until(ACCEPTED, 400, 60).await;
    let status = watched.until("the projection stands", |status| status.projecting_stalled.is_some()).await;
    assert!(status.stalled.is_empty(), "counting goes on: {:?}", status.stalled);
    assert_eq!(watched.measured("projecting", ""), 1);
    stack.clickhouse().thaw().unwrap();
    watched.until("the projection moves", |status| status.projecting_stalled.is_none()).await;

    stack.postgres().freeze().unwrap();
    let (events, records) = journal(&house, 300, 600);
    all.extend(events);
    house.produce(records).await;
    let all_stand = |status: &StatusSnapshot| status.stalled.len() == usize::try_from(PARTITIONS).unwrap();
    let status = watched.until("all partitions stand", all_stand).await;
    let waits = ["committing a batch since", "asking the ledger for the catalogue since"];
    for words in status.stalled.values() {
        assert!(waits.iter().any(|step| words.contains(step)), "{words}");
    }
    stack.postgres().thaw().unwrap();
    house.until(ACCEPTED, 600, 60).await;
    watched
        .until("nothing stands", |status| status.stalled.is_empty() && status.folding_stalled.is_none())
        .await;
    check(&house, &all).await;
    watched.running.stop().await;
}

/// Nothing but ticks for three times the bound, and behind an aborted transaction.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_partition_never_stands_still() {
    let house = House::build(stack(), "idle").await;
    let watched = Watched::start(&house, 500);
    watched.running.until_counting(4).await;
    let producer = admin::transactional(&house.kafka);
    admin::begin(&producer, &house.kafka, 1, &[b"never".to_vec()]);
    admin::abort(&producer);
    let began = Instant::now();
    let ticked = "SELECT min(next_offset)::bigint FROM journal_partition";
    // Every look is a look at what must not be.
    until("ticks for three times the bound", Duration::from_secs(40), || async {
        let status = watched.running.status.snapshot();
        assert!(status.stalled.is_empty() && status.folding_stalled.is_none(), "{status:?}");
        let long_enough = began.elapsed() >= Duration::from_millis(3 * BOUND_MS);
        ensure!(long_enough && house.number(ticked).await >= 5, "no ticks: {status:?}");
        Ok(Some(()))
    })
    .await
    .unwrap();
    watched.running.stop().await;
}
