//! Event ids in files: what was counted before is known after a kill, with the files and
//! without, whole or damaged; and taking a partition asks the ledger nothing that grows with its
//! history.

use std::path::{Path, PathBuf};

use weir_backends::journal::OutgoingRecord;
use weir_metering::event::UsageEvent;

use crate::house::{House, PARTITIONS, Running};
use crate::scenarios::{ACCEPTED, check, journal, stack};

const DUPLICATES: &str = "SELECT COALESCE(sum(duplicate_count), 0)::bigint FROM batch";
const RECORDED: &str = "SELECT COALESCE(sum(id_count), 0)::bigint FROM id_file";

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("weir-{name}-{}", std::process::id())))
    }

    /// The files of ids.
    fn files(&self) -> Vec<PathBuf> {
        let list = |folder: &Path| {
            let entries = std::fs::read_dir(folder).into_iter().flatten();
            entries.map(|entry| entry.unwrap().path()).collect::<Vec<_>>()
        };
        let all = list(&self.0).into_iter().flat_map(|folder| list(&folder));
        all.filter(|path| path.extension().is_some_and(|ending| ending == "ids")).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
        let _ = std::fs::remove_dir_all(self.0.with_extension("lost"));
    }
}

fn start(house: &House, folder: &Folder) -> Running {
    house.start_with(|aggregator| {
        aggregator.settings.id_folder = Some(folder.0.clone());
        aggregator.settings.id_bucket_max = 20;
    })
}

fn again(house: &House, events: &[UsageEvent]) -> Vec<OutgoingRecord> {
    events.iter().map(|event| house.record(event, 1)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_files_is_known_after_kills_and_so_is_what_was_in_files_that_are_gone() {
    let house = House::build(stack(), "sealed").await;
    let folder = Folder::new("sealed");
    let (mut events, records) = journal(&house, 0, 1_000);
    let running = start(&house, &folder);
    house.produce(records).await;
    house.until(ACCEPTED, 1_000, 60).await;
    // Buckets of twenty: all but the last ones of each partition are sealed with the next batch.
    let (more, records) = journal(&house, 1_000, 1_400);
    house.produce(records).await;
    events.extend(more);
    house.until(ACCEPTED, 1_400, 60).await;
    running.kill().await;
    let in_files = house.number(RECORDED).await;
    assert!(in_files > 800 && in_files < 1_400, "{in_files} ids in files");

    // With all files; with some damaged and some gone; with none.
    let mut duplicates = house.number(DUPLICATES).await;
    for round in 0..3 {
        match round {
            0 => {}
            1 => {
                for (number, file) in folder.files().iter().enumerate() {
                    match number % 3 {
                        0 => std::fs::remove_file(file).unwrap(),
                        1 => {
                            let mut bytes = std::fs::read(file).unwrap();
                            *bytes.last_mut().unwrap() ^= 1;
                            std::fs::write(file, bytes).unwrap();
                        }
                        _ => {}
                    }
                }
            }
            // Moved, for a thread of the process that was killed may still be writing.
            _ => std::fs::rename(&folder.0, folder.0.with_extension("lost")).unwrap(),
        }
        let running = start(&house, &folder);
        running.until_counting(usize::try_from(PARTITIONS).unwrap()).await;
        house.produce(again(&house, &events)).await;
        duplicates += i64::try_from(events.len()).unwrap();
        house.until(DUPLICATES, duplicates, 60).await;
        running.kill().await;
    }
    assert_eq!(house.number(ACCEPTED).await, 1_400);
    let running = start(&house, &folder);
    check(&house, &events).await;
    assert!(running.status.problems().is_empty(), "{:?}", running.status.problems());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_breaks_while_it_is_used_is_read_again_from_the_journal() {
    let house = House::build(stack(), "broken").await;
    let folder = Folder::new("broken");
    let (events, records) = journal(&house, 0, 600);
    let running = start(&house, &folder);
    house.produce(records).await;
    house.until(ACCEPTED, 600, 60).await;
    let (more, records) = journal(&house, 600, 700);
    house.produce(records).await;
    house.until(ACCEPTED, 700, 60).await;
    let duplicates = house.number(DUPLICATES).await;
    assert!(!folder.files().is_empty());
    for file in folder.files() {
        std::fs::remove_file(file).unwrap();
    }
    house.produce(again(&house, &events)).await;
    house.until(DUPLICATES, duplicates + i64::try_from(events.len()).unwrap(), 60).await;
    check(&house, &[events, more].concat()).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_taking_a_partition_asks_is_found_by_indexes() {
    let house = House::build(stack(), "indexed").await;
    // Sequential scans of small tables are cheap, so they are made dear to see what could be used.
    let plan = |sql: &'static str| {
        let pool = house.pool.clone();
        async move {
            let mut tx = pool.begin().await.unwrap();
            sqlx::query("SET LOCAL enable_seqscan = off").execute(&mut *tx).await.unwrap();
            let explain = sqlx::AssertSqlSafe(format!("EXPLAIN {sql}"));
            let lines: Vec<String> = sqlx::query_scalar(explain).fetch_all(&mut *tx).await.unwrap();
            lines.join("\n")
        }
    };
    let reaching = plan(
        "SELECT from_offset FROM batch WHERE partition = 1 AND generation = 1
         AND broker_time_max >= now() ORDER BY broker_time_max, from_offset LIMIT 1",
    );
    let reaching = reaching.await;
    assert!(reaching.contains("batch_reaching") && !reaching.contains("Sort"), "{reaching}");
    let before = plan(
        "SELECT to_offset, broker_time_max FROM batch WHERE partition = 1 AND generation = 1
         AND from_offset < 9 ORDER BY from_offset DESC LIMIT 1",
    );
    let before = before.await;
    assert!(before.contains("batch_pkey") && !before.contains("Sort"), "{before}");
    let series = plan("SELECT tenant, meter, dimensions FROM series WHERE partition = 1").await;
    assert!(series.contains("series_pkey"), "{series}");
}
