//! `weir archive status|check`: what is kept of the journal beyond Kafka's retention, and the
//! proof that it is what was counted.

use anyhow::Context;
use weir_backends::StoreError;
use weir_backends::archive::Archive;
use weir_backends::postgres;
use weir_pipeline::archive::check::{self, ArchiveCheck, CheckedArchive};
use weir_pipeline::archive::status::{self, ArchiveStatus};

use crate::cli::{self, Output};
use crate::config::Config;
use crate::table::{self, Cell};
use crate::waiting::Waiting;

use super::ledger_pool;
use super::proof::{result, verdict};

/// The archive that is configured, if one is.
pub(crate) fn open(config: &Config) -> Result<Option<Archive>, StoreError> {
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    Archive::open(&config.archive, variables)
}

/// Shows how far it reaches, or proves it.
pub(crate) async fn run(config: &Config, command: &cli::Archive) -> anyhow::Result<bool> {
    match command {
        cli::Archive::Status(output) => status(config, *output).await,
        cli::Archive::Check(output) => check(config, *output).await,
    }
}

async fn status(config: &Config, output: Output) -> anyhow::Result<bool> {
    let pool = ledger_pool(config).await?;
    let columns = [
        "partition",
        "generation",
        "first",
        "next",
        "kafka_from",
        "archived_from",
        "archived_to",
        "gaps",
        "files",
        "records",
        "bytes",
        "broker_time_max",
    ];
    let found = status::look(&pool, &config.kafka).await?;
    table::print(output.output, &columns, &found.iter().map(status_row).collect::<Vec<_>>())?;
    if open(config)?.is_none() {
        eprintln!("There is no archive (archive.url): nothing is added, and nothing can be read from it.");
    }
    for one in found.iter().filter(|one| one.readable_from() > one.row.first_offset) {
        eprintln!(
            "partition {}: what was counted below offset {} can be read nowhere any more",
            one.row.partition,
            one.readable_from()
        );
    }
    Ok(true)
}

fn status_row(status: &ArchiveStatus) -> Vec<Cell> {
    let row = &status.row;
    let mut cells: Vec<Cell> = vec![
        row.partition.into(),
        row.generation.into(),
        row.first_offset.into(),
        row.next_offset.into(),
        status.kafka_from.into(),
    ];
    match &status.archived {
        Some(archived) => cells.extend([
            archived.from.into(),
            archived.to.into(),
            (archived.runs - 1).into(),
            archived.files.into(),
            archived.records.into(),
            archived.file_bytes.into(),
            archived.broker_time_max.map(|time| time.to_string()).unwrap_or_default().into(),
        ]),
        None => {
            let nothing = || Cell::from(String::new());
            cells.extend([
                nothing(),
                nothing(),
                0_i64.into(),
                0_i64.into(),
                0_i64.into(),
                0_i64.into(),
                nothing(),
            ]);
        }
    }
    cells
}

async fn check(config: &Config, output: Output) -> anyhow::Result<bool> {
    let pool = ledger_pool(config).await?;
    let archive = open(config)?.context("there is no archive; archive.url says where one is")?;
    let key = postgres::installation(&pool, &config.kafka).await?.identity_key;
    let record_bytes_max = config.counting.record_bytes_max;
    let of =
        CheckedArchive { archive: &archive, pool: &pool, kafka: &config.kafka, key: &key, record_bytes_max };
    let report = check::check(&of, &Waiting::begin()).await?;
    let columns = ["partition", "generation", "files", "bytes", "records", "batches", "accepted", "result"];
    table::print(output.output, &columns, &report.checks.iter().map(check_row).collect::<Vec<_>>())?;
    for check in &report.checks {
        for difference in &check.differences {
            eprintln!("partition {}, generation {}: {difference}", check.partition, check.generation);
        }
    }
    let (files, bytes) = report.unknown;
    if files > 0 {
        eprintln!(
            "note: {files} files of {bytes} bytes are not in the ledger: a crash or a restored ledger left them, \
             nothing reads them"
        );
    }
    let proved = report.checks.iter().all(|check| check.differences.is_empty());
    let yes = "Proved: the archive holds what was counted, as far as it reaches.";
    Ok(verdict(proved, yes, "The archive does not hold what was counted; see above."))
}

fn check_row(check: &ArchiveCheck) -> Vec<Cell> {
    let numbers = [check.files, check.file_bytes, check.records, check.batches, check.events];
    [Cell::from(check.partition), Cell::from(check.generation)]
        .into_iter()
        .chain(numbers.map(Cell::from))
        .chain(std::iter::once(result(&check.differences)))
        .collect()
}
