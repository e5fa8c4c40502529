//! The ledger check: while counting goes on it reads one moment of the ledger, so it finds
//! nothing, whatever is committed and folded between its questions. What happens to tenants,
//! settings and slow servers is no difference either; what was changed is one.

use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::ensure;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use weir_backends::postgres;
use weir_metering::shard::SERIES_MAX;
use weir_pipeline::CountingSettings;
use weir_pipeline::ledger_check;
use weir_tests::wait::until;

use crate::house::House;
use crate::scenarios::{ACCEPTED, check, counted, journal, stack};

#[tokio::test(flavor = "multi_thread")]
async fn a_check_finds_nothing_while_counting_goes_on() {
    let house = House::build(stack(), "checked").await;
    let running = house.start_with(|aggregator| {
        aggregator.settings =
            CountingSettings { batch_interval_ms: 5, fold_interval_ms: 5, ..CountingSettings::default() };
    });
    let key = postgres::installation(&house.pool, &house.kafka).await.unwrap().identity_key;
    let (events, records) = journal(&house, 0, 3_000);
    // In small parts, so that batches are committed and folded all the while.
    let producing = async {
        for part in records.chunks(30) {
            house.produce(part.to_vec()).await;
        }
    };
    let checking = async {
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut overtaken = 0;
        while house.number(ACCEPTED).await < 3_000 {
            assert!(Instant::now() < deadline, "not everything was counted");
            let before = house.number(ACCEPTED).await;
            for found in
                ledger_check::check(&house.pool, &house.clickhouse, &key, SERIES_MAX, &()).await.unwrap()
            {
                assert!(found.differences.is_empty(), "{:?}", found.differences);
            }
            overtaken += usize::from(house.number(ACCEPTED).await > before);
        }
        overtaken
    };
    let ((), overtaken) = tokio::join!(producing, checking);
    assert!(overtaken > 0, "nothing was counted during any check, so nothing was tried");
    check(&house, &events).await;
    running.stop().await;
}

/// What the check says with this bound on series: differences and notes of all partitions.
async fn said(house: &House, series_max: u32) -> (Vec<String>, Vec<String>) {
    let key = postgres::installation(&house.pool, &house.kafka).await.unwrap().identity_key;
    let checks = ledger_check::check(&house.pool, &house.clickhouse, &key, series_max, &()).await.unwrap();
    assert!(checks.iter().map(|check| check.events).sum::<u64>() > 0, "nothing was looked at");
    checks.into_iter().fold((vec![], vec![]), |(mut differences, mut notes), check| {
        differences.extend(check.differences);
        notes.extend(check.notes);
        (differences, notes)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_tenants_and_other_bounds_on_series_are_no_difference() {
    let house = House::build(stack(), "checked_after").await;
    // Three regions are sent, so one of each tenant's is counted under `other`.
    let running = house.start_with(|aggregator| aggregator.settings.series_max = 2);
    let records = (0..600).map(|nth| {
        let mut event = house.event(nth);
        for (_, region) in event.data.iter_mut().filter(|(name, _)| name == "region") {
            *region = format!("r{}", nth / 6 % 3);
        }
        house.record(&event, 1)
    });
    house.produce(records.collect()).await;
    house.until(ACCEPTED, 600, 60).await;
    house.settle(30).await;
    running.stop().await;
    const OTHER: &str = r#"SELECT count(*) FROM usage WHERE dimensions = '{"other":"true"}'"#;
    assert!(house.number(OTHER).await > 0, "the bound was not reached");
    assert_eq!(said(&house, 2).await, (vec![], vec![]));
    house.run("UPDATE tenant SET status = 'deleted' WHERE id = 't0'".into()).await;
    assert_eq!(said(&house, 2).await, (vec![], vec![]));
    let (differences, notes) = said(&house, SERIES_MAX).await;
    assert_eq!(differences, Vec::<String>::new());
    assert!(notes.iter().all(|note| note.contains("counting.series_max was lower once")), "{notes:?}");
    assert!(!notes.is_empty());
    house
        .run(
            "UPDATE usage SET event_count = event_count + 1 WHERE tenant = 't0' AND meter = 'bytes'
            AND hour = (SELECT min(hour) FROM usage WHERE tenant = 't0')"
                .into(),
        )
        .await;
    let (differences, _) = said(&house, 2).await;
    assert!(differences.iter().all(|words| words.contains("usage of t0 bytes at ")), "{differences:?}");
    assert!(!differences.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_goes_on_while_clickhouse_takes_longer_than_sessions_may_idle() {
    const IDLE: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
        AND state = 'idle in transaction' AND clock_timestamp() - state_change > interval '500 ms'";
    let mut house = House::build(stack(), "checked_slowly").await;
    let running = house.start();
    counted(&house, 200).await;
    house.settle(30).await;
    running.stop().await;
    let target = house.clickhouse.url.trim_start_matches("http://").to_owned();
    let proxy = local_stack::Proxy::before(&target).unwrap();
    house.clickhouse.url = format!("http://{}", proxy.address());
    let url = format!("{}/checked_slowly", stack().postgres_url().rsplit_once('/').unwrap().0);
    let hasty =
        PgConnectOptions::from_str(&url).unwrap().options([("idle_in_transaction_session_timeout", "100ms")]);
    let hasty = PgPoolOptions::new().connect_with(hasty).await.unwrap();
    let key = postgres::installation(&house.pool, &house.kafka).await.unwrap().identity_key;
    proxy.hold();
    let checking = ledger_check::check(&hasty, &house.clickhouse, &key, SERIES_MAX, &());
    let waiting = async {
        until("a session that idles in its transaction", Duration::from_secs(20), || async {
            ensure!(house.number(IDLE).await > 0, "none does");
            Ok(Some(()))
        })
        .await
        .unwrap();
        proxy.release();
    };
    let (checks, ()) = tokio::join!(checking, waiting);
    for found in checks.unwrap() {
        assert_eq!((found.differences, found.notes), (vec![], vec![]));
    }
}
