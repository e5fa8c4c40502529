//! The archive: what was counted is there, Kafka's retention may pass, ClickHouse may be lost, and
//! everything is still known and proved.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use weir_backends::archive::Archive;
use weir_backends::config::ArchiveConfig;
use weir_backends::ledger::partition;
use weir_backends::postgres;
use weir_metering::event::UsageEvent;
use weir_pipeline::archive::check::{self, ArchiveReport, CheckedArchive};
use weir_pipeline::archive::status;
use weir_pipeline::{Aggregator, PipelineMetrics};
use weir_tests::object_store::Bucket;
use weir_tests::wait::until;

use crate::admin;
use crate::house::House;
use crate::projection::{clickhouse, prove, until_projected};
use crate::scenarios::{ACCEPTED, check as check_counts, counted, journal, stack};

/// Offsets that are counted and not archived.
const UNARCHIVED: &str =
    "SELECT COALESCE(sum(p.next_offset - COALESCE((SELECT max(f.to_offset) FROM archive_file AS f
        WHERE f.partition = p.partition AND f.generation = p.generation), p.first_offset)), 0)::bigint
    FROM journal_partition AS p";
const FILES: &str = "SELECT count(*) FROM archive_file";

/// A folder of one test, which goes with it.
struct Folder(PathBuf);

impl Folder {
    fn make() -> Self {
        let path = std::env::temp_dir().join(format!("weir-archive-{}", uuid::Uuid::new_v4().simple()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn config(&self) -> ArchiveConfig {
        let url = Some(self.0.display().to_string());
        ArchiveConfig { url, age_max_ms: 0, ..ArchiveConfig::default() }
    }

    /// All files of the archive.
    fn files(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.0.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { folders.push(path) } else { found.push(path) }
            }
        }
        found.sort();
        found
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn open(config: &ArchiveConfig) -> Archive {
    Archive::open(config, std::iter::empty()).unwrap().unwrap()
}

/// Has an aggregator archive everything at once. Nothing is appended while all is idle.
fn archiving(config: ArchiveConfig) -> impl FnOnce(&mut Aggregator) {
    move |aggregator| {
        aggregator.archive = Some(open(&config));
        aggregator.archiving = config;
        aggregator.settings.tick_after_ms = 3_600_000;
    }
}

/// `weir archive check`.
async fn checked(house: &House, config: &ArchiveConfig) -> ArchiveReport {
    let key = postgres::installation(&house.pool, &house.kafka).await.unwrap().identity_key;
    let archive = open(config);
    let (pool, kafka) = (&house.pool, &house.kafka);
    let of = CheckedArchive { archive: &archive, pool, kafka, key: &key, record_bytes_max: 1 << 20 };
    check::check(&of, &()).await.unwrap()
}

fn differences(report: &ArchiveReport) -> Vec<String> {
    report.checks.iter().flat_map(|check| check.differences.clone()).collect()
}

/// Kafka deletes everything that was counted.
async fn trim(house: &House) {
    for row in partition::all(&house.pool).await.unwrap() {
        admin::trim_below(&house.kafka, row.partition, row.next_offset).await;
    }
}

/// What is counted is archived and deleted by Kafka, and ClickHouse is lost, twice.
async fn outlives_kafka(house: House, config: ArchiveConfig) {
    let running = house.start_with(archiving(config.clone()));
    let mut all = counted(&house, 1_000).await;
    house.until(UNARCHIVED, 0, 60).await;
    let report = checked(&house, &config).await;
    assert_eq!((differences(&report), report.unknown), (vec![], (0, 0)));
    assert_eq!(report.checks.iter().map(|check| check.events).sum::<u64>(), 1_000);
    trim(&house).await;
    running.stop().await;
    clickhouse(&house, "DROP DATABASE {db} SYNC").await;

    // Ids of before are known from the archive alone: the last five hundred come again.
    let running = house.start_with(archiving(config.clone()));
    let (events, records) = journal(&house, 500, 1_500);
    all.extend(events);
    house.produce(records).await;
    house.until(ACCEPTED, 1_500, 60).await;
    until_projected(&house, &running, 1_500).await;
    check_counts(&house, &all).await;
    prove(&house).await;
    house.until(UNARCHIVED, 0, 60).await;
    // Dropped while it runs, and filled again from what Kafka holds and what it does not.
    clickhouse(&house, "DROP DATABASE {db} SYNC").await;
    until_projected(&house, &running, 1_500).await;
    prove(&house).await;
    for found in status::look(&house.pool, &house.kafka).await.unwrap() {
        assert_eq!(found.readable_from(), found.row.first_offset);
        assert_eq!(found.archived.map(|archived| archived.runs), Some(1));
    }
    assert_eq!(differences(&checked(&house, &config).await), Vec::<String>::new());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_kafka_has_deleted_is_read_from_the_archive() {
    let folder = Folder::make();
    outlives_kafka(House::build(stack(), "archived").await, folder.config()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_store_is_an_archive_as_a_folder_is() {
    let bucket = Bucket::start().await.unwrap();
    let (url, settings) = (Some(bucket.url("weir/usage")), bucket.settings().into_iter().collect());
    let config = ArchiveConfig { url, settings, age_max_ms: 0, ..ArchiveConfig::default() };
    outlives_kafka(House::build(stack(), "archived_in_s3").await, config).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_damaged_or_gone_is_told_by_name_and_never_believed() {
    let (house, folder) = (House::build(stack(), "damaged").await, Folder::make());
    let running = house.start_with(archiving(folder.config()));
    counted(&house, 400).await;
    house.until(UNARCHIVED, 0, 60).await;
    house.settle(30).await;
    running.stop().await;
    let of_partition = |at: usize| {
        let folder_name = format!("p{at:05}");
        folder.files().into_iter().find(|path| path.parent().unwrap().ends_with(&folder_name)).unwrap()
    };
    let files = [of_partition(0), of_partition(1)];
    let mut bytes = std::fs::read(&files[0]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&files[0], bytes).unwrap();
    std::fs::remove_file(&files[1]).unwrap();
    let found = differences(&checked(&house, &folder.config()).await).join("\n");
    let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    assert!(found.contains(&format!("{} is damaged", name(&files[0]))), "{found}");
    assert!(found.contains(&format!("{} is gone", name(&files[1]))), "{found}");

    // Where Kafka holds nothing else, a partition waits in words rather than to count without ids.
    trim(&house).await;
    let running = house.start_with(archiving(folder.config()));
    let problems = running.until_problems("archive", 2).await.join("\n");
    assert!(problems.contains("is damaged") && problems.contains("is gone"), "{problems}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_again_and_again_the_archive_has_no_gap_and_nothing_twice() {
    let (house, folder) = (House::build(stack(), "archive_killed").await, Folder::make());
    let mut all: Vec<UsageEvent> = Vec::new();
    for round in 0..5_i64 {
        let before = house.number(FILES).await;
        let running = house.start_with(|aggregator| {
            archiving(folder.config())(aggregator);
            // Many files, so that most ends are in the middle of one.
            aggregator.archiving.records_max = 40;
        });
        let from = usize::try_from(round).unwrap() * 500;
        let (events, records) = journal(&house, from, from + 500);
        all.extend(events);
        house.produce(records).await;
        let deadline = Instant::now() + Duration::from_secs(60);
        while house.number(FILES).await < before + 3 {
            assert!(Instant::now() < deadline, "nothing is archived");
            tokio::task::yield_now().await;
        }
        running.kill().await;
    }
    let running = house.start_with(archiving(folder.config()));
    house.until(ACCEPTED, 2_500, 60).await;
    house.until(UNARCHIVED, 0, 60).await;
    check_counts(&house, &all).await;
    let report = checked(&house, &folder.config()).await;
    assert_eq!(differences(&report), Vec::<String>::new());
    assert_eq!(report.checks.iter().map(|check| check.events).sum::<u64>(), 2_500);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_before_it_was_archived_is_a_gap_that_is_told() {
    let (house, folder) = (House::build(stack(), "gap").await, Folder::make());
    let running = house.start_with(archiving(folder.config()));
    counted(&house, 300).await;
    house.until(UNARCHIVED, 0, 60).await;
    running.stop().await;
    // Counted by a process that archives nothing.
    let running = house.start();
    let (_, records) = journal(&house, 300, 600);
    house.produce(records).await;
    house.until(ACCEPTED, 600, 60).await;
    house.settle(30).await;
    running.stop().await;
    trim(&house).await;
    let mut metrics: Option<Arc<PipelineMetrics>> = None;
    let running = house.start_with(|aggregator| {
        archiving(folder.config())(aggregator);
        metrics = Some(Arc::clone(&aggregator.metrics));
    });
    let endangered = until("four partitions to be endangered", Duration::from_secs(30), || async {
        let status = running.status.snapshot();
        ensure!(status.archive.endangered.len() >= 4, "{status:?}");
        Ok(Some(status.archive.endangered))
    });
    let words = endangered.await.unwrap().join("\n");
    assert!(words.contains("Kafka has deleted those below"), "{words}");
    let (_, records) = journal(&house, 600, 900);
    house.produce(records).await;
    house.until(ACCEPTED, 900, 60).await;
    house.until(UNARCHIVED, 0, 60).await;
    assert!(metrics.unwrap().archive.lost_offsets.get() > 0);
    let found = differences(&checked(&house, &folder.config()).await);
    assert!(!found.is_empty() && found.iter().all(|one| one.ends_with("are not archived")), "{found:?}");
    running.stop().await;
}
