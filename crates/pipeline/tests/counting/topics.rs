//! A topic that is no longer the one that was counted is refused in words that name the way
//! out, and the ledger stays as it was.

use std::time::{Duration, Instant};

use crate::admin;
use crate::house::{House, PARTITIONS};
use crate::scenarios::{ACCEPTED, journal, stack};

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
        &["the ledger has counted up to", "the topic was recreated or cut", "raise the generation"],
    ),
    (
        "recreated_with_more_records",
        Accident::Recreated(2_000),
        &["holds another record", "cut and refilled", "raise the generation"],
    ),
    (
        "trimmed_above_what_was_counted",
        Accident::Trimmed,
        &["the journal was trimmed to offset", "records are lost", "raise the generation"],
    ),
    (
        "widened",
        Accident::Widened(6),
        &["has 6 partitions, but counting began with 4", "recreate it with 4 or begin a new ledger"],
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

/// After the accident, counting says all of the words, at least once for each partition or as
/// the reason why it ends, and has not changed the ledger.
async fn check((name, accident, words): Case) {
    let house = House::build(stack(), name).await;
    let running = house.start();
    let (_, records) = journal(&house, 0, 300);
    house.produce(records).await;
    house.until(ACCEPTED, 300, 60).await;
    house.settle(30).await;
    running.stop().await;
    let before = house.text(LEDGER).await;

    accident.happen(&house).await;
    let mut running = house.start();
    let says = |text: &str| words.iter().all(|word| text.contains(word));
    let deadline = Instant::now() + Duration::from_secs(40);
    loop {
        let problems = running.status.problems();
        if problems.iter().filter(|problem| says(problem)).count() == usize::try_from(PARTITIONS).unwrap() {
            running.stop().await;
            break;
        }
        if running.task.is_finished() {
            let refusal = (&mut running.task).await.unwrap().unwrap_err().to_string();
            assert!(says(&refusal), "{name}: {refusal}");
            break;
        }
        assert!(Instant::now() < deadline, "{name}: {words:?} are not in {problems:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(house.text(LEDGER).await, before, "{name}: the ledger was changed");
}
