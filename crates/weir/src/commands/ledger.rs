//! `weir ledger status|check|accept-topic|widen`: what was counted, and the proof of it.

use weir_backends::ledger::partition;
use weir_backends::postgres;
use weir_core::HashKey;
use weir_pipeline::ledger_check::{self, PartitionCheck};

use crate::cli::{Ledger, Output};
use crate::config::Config;
use crate::table::{self, Cell};
use crate::waiting::Waiting;

use super::proof::{result, verdict};
use super::{accept_topic, ledger_pool, widen};

/// Shows where counting stands, or proves it.
pub(crate) async fn run(config: &Config, command: &Ledger) -> anyhow::Result<bool> {
    match command {
        Ledger::Status(output) => status(config, *output).await,
        Ledger::Check(output) => check(config, *output).await,
        Ledger::AcceptTopic(command) => accept_topic::run(config, command).await,
        Ledger::Widen(command) => widen::run(config, command).await,
    }
}

async fn status(config: &Config, output: Output) -> anyhow::Result<bool> {
    let pool = ledger_pool(config).await?;
    let columns = [
        "partition",
        "generation",
        "first",
        "next",
        "folded_to",
        "projected_to",
        "rolled_to",
        "broker_time_max",
        "owner",
    ];
    let mut owners = partition::owner_names(&pool).await?;
    let rows: Vec<Vec<Cell>> = partition::all(&pool)
        .await?
        .into_iter()
        .map(|row| {
            vec![
                row.partition.into(),
                row.generation.into(),
                row.first_offset.into(),
                row.next_offset.into(),
                row.folded_to.into(),
                row.projected_to.into(),
                row.rolled_to.into(),
                row.broker_time_max.to_string().into(),
                owners.remove(&row.partition).unwrap_or_default().into(),
            ]
        })
        .collect();
    table::print(output.output, &columns, &rows)?;
    Ok(true)
}

async fn check(config: &Config, output: Output) -> anyhow::Result<bool> {
    let pool = ledger_pool(config).await?;
    let key: HashKey = postgres::installation(&pool, &config.kafka).await?.identity_key;
    let (waiting, series_max) = (Waiting::begin(), config.counting.series_max);
    let checks = ledger_check::check(&pool, &config.clickhouse, &key, series_max, &waiting).await?;
    drop(waiting);
    let columns = [
        "partition",
        "batches",
        "read",
        "accepted",
        "duplicate",
        "rejected",
        "forwarded",
        "control",
        "projected",
        "usage",
        "result",
    ];
    let mut rows: Vec<Vec<Cell>> = checks.iter().map(check_row).collect();
    if checks.len() > 1 {
        rows.push(sum_row(&checks));
    }
    table::print(output.output, &columns, &rows)?;
    for check in &checks {
        for note in &check.notes {
            eprintln!("partition {}: note: {note}", check.partition.partition);
        }
        for difference in &check.differences {
            eprintln!("partition {}: {difference}", check.partition.partition);
        }
    }
    let proved = checks.iter().all(|check| check.differences.is_empty());
    let yes = "Proved: nothing lost, nothing counted twice.";
    Ok(verdict(proved, yes, "The ledger does not agree with itself; see above."))
}

fn check_row(check: &PartitionCheck) -> Vec<Cell> {
    let counts = &check.counts;
    let numbers = [
        check.batches,
        counts.read,
        counts.accepted,
        counts.duplicate,
        counts.rejected,
        counts.forwarded,
        counts.control,
        check.events,
        check.usage_rows,
    ];
    std::iter::once(Cell::from(check.partition.partition))
        .chain(numbers.map(Cell::from))
        .chain(std::iter::once(result(&check.differences)))
        .collect()
}

fn sum_row(checks: &[PartitionCheck]) -> Vec<Cell> {
    let sum = |of: fn(&PartitionCheck) -> u64| Cell::from(checks.iter().map(of).sum::<u64>());
    vec![
        "all".to_owned().into(),
        sum(|check| check.batches),
        sum(|check| check.counts.read),
        sum(|check| check.counts.accepted),
        sum(|check| check.counts.duplicate),
        sum(|check| check.counts.rejected),
        sum(|check| check.counts.forwarded),
        sum(|check| check.counts.control),
        sum(|check| check.events),
        sum(|check| check.usage_rows),
        Cell::from(if checks.iter().all(|check| check.differences.is_empty()) {
            "ok".to_owned()
        } else {
            "differs".to_owned()
        }),
    ]
}
