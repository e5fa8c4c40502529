//! A store that refuses data for good: the record at fault is named, everything else goes on
//! (invariant 11). And rollups that a lost future of the ledger left behind.

use std::time::Duration;

use anyhow::ensure;
use weir_backends::config::KafkaConfig;
use weir_backends::journal::record_range::stream_range;
use weir_metering::event::UsageEvent;
use weir_tests::wait::until;

use crate::house::{House, PARTITIONS};
use crate::scenarios::{ACCEPTED, check, counted, journal, stack};

const REFUSED: &str =
    "SELECT COALESCE(sum((rejected_by->>'refused_by_store')::bigint), 0)::bigint FROM batch";

/// Lets the ledger refuse every batch in which the record at `offset` is accepted.
async fn refuse(house: &House, name: &str, (partition, offset): (i32, i64)) {
    house
        .run(format!(
            "CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                IF NEW.partition = {partition} AND NEW.from_offset <= {offset} AND {offset} < NEW.to_offset
                    AND NOT NEW.rejected_by ? 'refused_by_store' THEN
                    RAISE EXCEPTION 'the marked record' USING ERRCODE = '22003';
                END IF;
                RETURN NEW;
            END $$"
        ))
        .await;
    house
        .run(format!("CREATE TRIGGER {name} BEFORE INSERT ON batch FOR EACH ROW EXECUTE FUNCTION {name}()"))
        .await;
}

/// The source offsets of dead letters that say so, with their message, each once.
async fn letters(house: &House, code: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for partition in 0..PARTITIONS {
        let topic = house.kafka.dead_letter_topic.clone();
        let kafka = KafkaConfig { usage_topic: topic, ..house.kafka.clone() };
        let mut records = stream_range(&kafka, partition, 0, i64::MAX);
        while let Some(part) = records.recv().await {
            for record in part.expect("dead letters") {
                let header = |name: &str| {
                    let found = record.headers.iter().find(|(header, _)| header == name);
                    String::from_utf8(found.expect(name).1.clone()).unwrap()
                };
                if header("weir-dlq-code") == code {
                    found.push((header("weir-dlq-offset"), header("weir-dlq-message")));
                }
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_the_ledger_refuses_are_rejected_by_name_and_the_rest_is_counted() {
    let house = House::build(stack(), "ledger_refuses").await;
    let (mut all, records) = journal(&house, 0, 1_500);
    house.produce(records).await;
    let mut marked = Vec::new();
    for nth in [9_001, 9_002] {
        let position = house.producer.send(house.record(&house.event(nth), 1)).await.unwrap();
        refuse(&house, &format!("refuses_{nth}"), position).await;
        marked.push(position.1.to_string());
    }
    let (events, records) = journal(&house, 1_400, 3_000);
    all.extend(events);
    house.produce(records).await;
    let running = house.start();
    house.until(REFUSED, 1, 60).await;
    // What was decided stands in the ledger: a restart does not ask again.
    running.kill().await;
    let running = house.start();
    house.until(ACCEPTED, 3_000, 60).await;
    house.until(REFUSED, 2, 60).await;
    check(&house, &all).await;
    assert!(running.status.problems().is_empty(), "{:?}", running.status.problems());
    marked.sort();
    let letters = letters(&house, "refused_by_store").await;
    assert_eq!(letters.iter().map(|letter| letter.0.clone()).collect::<Vec<_>>(), marked);
    assert!(letters.iter().all(|letter| letter.1.contains("the marked record")), "{letters:?}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_refuses_whatever_is_left_out_holds_the_partition() {
    let house = House::build(stack(), "ledger_refuses_all").await;
    house.run("ALTER TABLE batch ADD CHECK (partition <> 0)".into()).await;
    let (_, records) = journal(&house, 0, 600);
    house.produce(records).await;
    let running = house.start();
    running.until_problems("without its record, too", 1).await;
    // No record is blamed for it but the first, and others are counted.
    assert!(letters(&house, "refused_by_store").await.len() <= 1);
    let others = "SELECT count(*) FROM (SELECT DISTINCT partition FROM batch) AS counted";
    house.until(others, i64::from(PARTITIONS) - 1, 60).await;
    house.run("ALTER TABLE batch DROP CONSTRAINT batch_partition_check".into()).await;
    house.until(ACCEPTED, 600, 60).await;
    running.stop().await;
}

async fn clickhouse(house: &House, sql: &str) {
    let client = clickhouse::Client::default()
        .with_url(&house.clickhouse.url)
        .with_database(&house.clickhouse.database)
        .with_compression(clickhouse::Compression::None);
    client.query(sql).execute().await.expect("runs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_clickhouse_refuses_is_set_aside_in_words_and_taken_back() {
    let house = House::build(stack(), "clickhouse_refuses").await;
    let running = house.start();
    let mut all = counted(&house, 500).await;
    house.settle(30).await;
    clickhouse(&house, "ALTER TABLE events_raw ADD CONSTRAINT mark CHECK id != 'marked'").await;
    let marked = UsageEvent { id: "marked".into(), ..house.event(600) };
    let (partition, offset) = house.producer.send(house.record(&marked, 1)).await.unwrap();
    all.push(marked);
    let (events, records) = journal(&house, 400, 1_000);
    all.extend(events);
    house.produce(records).await;
    house.until(ACCEPTED, 1_001, 60).await;
    until("all but the refused one", Duration::from_secs(30), || async {
        let found = house.projected().await;
        ensure!(found == (1_000, 1_001), "{found:?} {:?}", running.status.snapshot());
        Ok(Some(()))
    })
    .await
    .unwrap();
    let words = format!("partition {partition}, offset {offset} is counted, but not projected");
    until(&words, Duration::from_secs(10), || async {
        let set_aside = running.status.snapshot().set_aside;
        ensure!(set_aside.iter().any(|said| said.contains(&words)), "{set_aside:?}");
        Ok(Some(()))
    })
    .await
    .unwrap();
    let behind = "SELECT count(*) FROM journal_partition WHERE projected_to < next_offset";
    house.until(behind, 1, 10).await;
    clickhouse(&house, "ALTER TABLE events_raw DROP CONSTRAINT mark").await;
    check(&house, &all).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rollups_of_a_lost_future_are_replaced_by_what_the_ledger_says() {
    let house = House::build(stack(), "lost_rollups").await;
    let running = house.start();
    let events = counted(&house, 500).await;
    check(&house, &events).await;
    running.stop().await;
    clickhouse(
        &house,
        "INSERT INTO usage_hourly_raw SELECT tenant, meter, hour, dimensions, generation, partition,
             quantity + 7, event_count + 7, epoch + 7, folded_to + 1000000
         FROM usage_hourly_raw FINAL WHERE meter = 'calls' ORDER BY tenant, hour LIMIT 9",
    )
    .await;
    clickhouse(
        &house,
        "INSERT INTO usage_hourly_raw SELECT tenant, meter, hour, '{\"region\":\"never\"}', generation,
             partition, quantity, event_count, epoch + 7, folded_to + 1000000
         FROM usage_hourly_raw FINAL WHERE meter = 'calls' ORDER BY tenant, hour LIMIT 3",
    )
    .await;
    assert_ne!(house.projected().await.1, 500);
    let running = house.start();
    until("what the ledger says in ClickHouse", Duration::from_secs(40), || async {
        let found = house.projected().await;
        ensure!(found == (500, 500), "{found:?}");
        Ok(Some(()))
    })
    .await
    .unwrap();
    running.stop().await;
}
