//! A topic that is no longer the one that was counted is refused in words that name the way
//! out, and the ledger stays as it was.

use std::time::Duration;

use anyhow::ensure;
use weir_backends::ledger::generation::Begun;
use weir_backends::postgres;
use weir_metering::shard::SERIES_MAX;
use weir_pipeline::{accept_topic, ledger_check};
use weir_tests::wait::until;

use crate::admin;
use crate::counts::Count;
use crate::house::{House, PARTITIONS, count as house_count};
use crate::scenarios::{ACCEPTED, counted, journal, stack};

/// What was counted, without who counts it.
const LEDGER: &str = "SELECT md5(COALESCE(string_agg(line, ',' ORDER BY line), '')) FROM (
        SELECT 'p' || row(partition, generation, first_offset, next_offset, broker_time_max, last_offset,
            last_broker_time, last_key, last_crc)::text AS line FROM journal_partition
        UNION ALL SELECT 'b' || row(b.*)::text FROM batch AS b
        UNION ALL SELECT 'i' || row(i.*)::text FROM installation AS i
    ) AS lines";

/// What happens to the topic while nobody counts.
#[derive(Clone, Copy)]
enum Accident {
    /// Deleted and made again, with so many records.
    Recreated(usize),
    /// Records that nobody has counted are deleted.
    Trimmed,
    /// It has more partitions.
    Widened(usize),
    /// A setting is another one.
    Altered(&'static str, &'static str),
}

impl Accident {
    async fn happen(self, house: &House) {
        match self {
            Self::Recreated(count) => {
                admin::recreate(&house.kafka).await;
                house.produce(everywhere(house, 10_000, 10_000 + count)).await;
            }
            Self::Trimmed => {
                house.produce(everywhere(house, 20_000, 20_040)).await;
                admin::trim(&house.kafka).await;
            }
            Self::Widened(count) => admin::widen(&house.kafka, count).await,
            Self::Altered(name, value) => admin::alter(&house.kafka, name, value).await,
        }
    }
}

/// Events in turn over all partitions.
fn everywhere(house: &House, from: usize, to: usize) -> Vec<weir_backends::journal::OutgoingRecord> {
    let record = |nth: usize| {
        let mut record = house.record(&house.event(nth), 1);
        record.partition = Some(i32::try_from(nth).unwrap() % PARTITIONS);
        record
    };
    (from..to).map(record).collect()
}

/// A name, an accident, and all the words of the refusal; its last words name the way out.
type Case = (&'static str, Accident, &'static [&'static str]);

const CASES: [Case; 6] = [
    (
        "recreated_with_fewer_records",
        Accident::Recreated(8),
        &["is another one than the ledger has counted", "made again", "weir ledger accept-topic"],
    ),
    (
        "recreated_with_more_records",
        Accident::Recreated(2_000),
        &["is another one than the ledger has counted", "made again", "weir ledger accept-topic"],
    ),
    (
        "trimmed_above_what_was_counted",
        Accident::Trimmed,
        &["the journal was trimmed to offset", "records are lost", "weir ledger accept-topic"],
    ),
    (
        "widened",
        Accident::Widened(6),
        &["has 6 partitions, but the ledger counts 4", "`weir ledger widen --to 6` counts all"],
    ),
    (
        "compacted",
        Accident::Altered("cleanup.policy", "compact"),
        &["cleanup.policy=compact", "needs cleanup.policy=delete", "alter the topic's configuration"],
    ),
    (
        "with_the_producers_time",
        Accident::Altered("message.timestamp.type", "CreateTime"),
        &["=CreateTime", "needs message.timestamp.type=LogAppendTime", "alter the topic's configuration"],
    ),
];

/// All side by side, since each mostly waits.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_no_longer_the_one_that_was_counted_is_refused_at_start() {
    let mut checks = tokio::task::JoinSet::new();
    for case in CASES {
        checks.spawn(check(case));
    }
    while let Some(checked) = checks.join_next().await {
        checked.unwrap();
    }
}

/// After the accident, counting says all of the words, once for each partition, as the reason why
/// it ends, or why it does not begin, and has not changed the ledger.
async fn check((name, accident, words): Case) {
    let house = House::build(stack(), name).await;
    let running = house.start();
    counted(&house, 300).await;
    house.settle(30).await;
    running.stop().await;
    let before = house.text(LEDGER).await;

    accident.happen(&house).await;
    // What may be corrected is waited for before any partition is taken.
    let is_waited_for = matches!(accident, Accident::Altered(..) | Accident::Widened(_));
    let times = if is_waited_for { 1 } else { usize::try_from(PARTITIONS).unwrap() };
    let mut running = house.start();
    let says = |text: &str| words.iter().all(|word| text.contains(word));
    let what = format!("{name}: {words:?}");
    let said = until(&what, Duration::from_secs(40), || async {
        let problems = running.status.problems();
        let said = problems.iter().filter(|problem| says(problem)).count() == times;
        ensure!(said || running.task.is_finished(), "{problems:?}");
        Ok(Some(said))
    });
    if said.await.unwrap() {
        running.stop().await;
    } else {
        let refusal = (&mut running.task).await.unwrap().unwrap_err().to_string();
        assert!(says(&refusal), "{name}: {refusal}");
    }
    assert_eq!(house.text(LEDGER).await, before, "{name}: the ledger was changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_gone_is_not_made_again_in_silence() {
    let house = House::build(stack(), "gone").await;
    let running = house.start();
    counted(&house, 100).await;
    running.stop().await;
    admin::delete(&house.kafka).await;
    let mut running = house.start();
    let refusal = (&mut running.task).await.unwrap().unwrap_err().to_string();
    assert!(refusal.contains("is gone") && refusal.contains("weir ledger accept-topic"), "{refusal}");
    assert!(accept_topic::look(&house.pool, &house.kafka).await.is_err());
}

/// What was counted of the topic before stays and is billed; what is there now is counted.
#[tokio::test(flavor = "multi_thread")]
async fn an_accepted_topic_is_counted_from_its_beginning_and_what_was_counted_stays() {
    let house = House::build(stack(), "accepted").await;
    let running = house.start();
    let mut all = counted(&house, 300).await;
    house.settle(30).await;
    running.stop().await;
    assert!(accept_topic::look(&house.pool, &house.kafka).await.unwrap().is_needless());
    admin::recreate(&house.kafka).await;
    let (events, records) = journal(&house, 10_000, 10_200);
    all.extend(events);
    house.produce(records).await;

    let before = house.text(LEDGER).await;
    let seen = accept_topic::look(&house.pool, &house.kafka).await.unwrap();
    assert!(!seen.is_needless() && seen.partitions.len() == 4);
    assert_eq!(house.text(LEDGER).await, before, "looking has changed the ledger");
    let begun = accept_topic::accept(&house.pool, &seen, house.now).await.unwrap();
    assert_eq!(begun, Begun::Generation(2));
    let again = accept_topic::accept(&house.pool, &seen, house.now).await.unwrap();
    assert_eq!(again, Begun::Another(2));

    let running = house.start();
    house.until(ACCEPTED, 500, 60).await;
    house.settle(30).await;
    assert_eq!(house.projected().await, (500, 500));
    // Each generation keeps its own usage rows; a value that both have is one value.
    let sets = "SELECT count(DISTINCT (tenant, hour, dimensions, value_hash)) FROM usage_unique";
    let expected = house_count(&all);
    assert_eq!(house.number(sets).await, expected.values().map(|one| one.users_by_hour).sum::<i64>());
    let facts = |one: &Count| (one.events, one.calls, one.thousandths);
    let counted = house.counted().await;
    assert!(counted.values().map(facts).eq(expected.values().map(facts)), "{counted:?} {expected:?}");
    house.expect_whole_chain().await;
    running.stop().await;
    let key = postgres::installation(&house.pool, &house.kafka).await.unwrap().identity_key;
    let checks = ledger_check::check(&house.pool, &house.clickhouse, &key, SERIES_MAX, &()).await.unwrap();
    assert_eq!(checks.iter().map(|check| check.events).sum::<u64>(), 500, "both generations are looked at");
    for found in checks {
        assert_eq!((found.differences, found.notes), (vec![], vec![]));
    }
}
