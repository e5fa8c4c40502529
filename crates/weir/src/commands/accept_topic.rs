//! `weir ledger accept-topic`: what has become of the usage topic, in numbers, and counting
//! what is there now. Without `--yes` nothing is changed.

use weir_backends::ledger::generation::Begun;
use weir_pipeline::accept_topic::{self, Acceptance, Happened, PartitionChange};

use crate::cli::AcceptTopic;
use crate::config::Config;
use crate::table::{self, Cell};

use super::{configuration, ledger_pool, now};

/// Shows what has happened; accepts it when told so.
pub(crate) async fn run(config: &Config, command: &AcceptTopic) -> anyhow::Result<bool> {
    let pool = ledger_pool(config).await?;
    let seen = accept_topic::look(&pool, &config.kafka).await?;
    let columns =
        ["partition", "happened", "counted_to", "begins", "ends", "lost", "to_count", "unprojected"];
    let rows: Vec<Vec<Cell>> = seen.partitions.iter().map(row).collect();
    table::print(command.output.output, &columns, &rows)?;
    if seen.is_needless() {
        eprintln!("The topic is the one that was counted, as it was: there is nothing to accept.");
        return Ok(true);
    }
    explain(&seen, &config.kafka.usage_topic);
    for setting in configuration::settings(config, &pool).await?.iter().filter(|one| one.refuses) {
        eprintln!("- Nothing will be counted before this is corrected: {}.", setting.words);
    }
    if !command.yes {
        eprintln!("Nothing was changed. Stop every `weir serve`, then say it again with --yes.");
        return Ok(false);
    }
    match accept_topic::accept(&pool, &seen, now()).await? {
        Begun::Generation(generation) => {
            eprintln!("Generation {generation} is counted from now on: start `weir serve` again.");
            Ok(true)
        }
        Begun::Another(generation) => {
            anyhow::bail!("somebody else has begun generation {generation} meanwhile; look again")
        }
        Begun::Unfolded(partitions) => {
            anyhow::bail!(
                "{partitions} partitions have been counted further meanwhile; stop every `weir serve`"
            )
        }
    }
}

fn row(change: &PartitionChange) -> Vec<Cell> {
    let happened = match change.happened {
        Happened::Nothing => "nothing",
        Happened::Replaced => "another topic",
        Happened::Trimmed => "trimmed",
        Happened::Cut => "ends earlier",
        Happened::Refilled => "other records",
    };
    vec![
        change.partition.into(),
        happened.to_owned().into(),
        change.next_offset.into(),
        change.low.into(),
        change.high.into(),
        change.lost.map_or_else(|| "unknown".to_owned().into(), Cell::from),
        (change.high - change.low).into(),
        change.unprojected.into(),
    ]
}

/// What accepting means, in words and numbers.
fn explain(seen: &Acceptance, topic: &str) {
    let next = seen.generation.saturating_add(1);
    let sum = |of: fn(&PartitionChange) -> i64| seen.partitions.iter().map(of).sum::<i64>();
    let lost = sum(|one| one.lost.unwrap_or(0));
    let again = sum(|one| one.high - one.low);
    let unprojected = sum(|one| one.unprojected);
    eprintln!("Accepting ends generation {} and begins generation {next}:", seen.generation);
    eprintln!("- What was counted stays counted, is billed, and can be verified from the ledger.");
    eprintln!("- {again} offsets of {topic} that are there now are counted from their first on.");
    eprintln!(
        "  Event ids of before are not known any more: what was counted before and stands there, or is sent"
    );
    eprintln!("  again, is counted a second time. Let producers send only what was lost.");
    eprintln!(
        "- {lost} offsets are known to be lost without having been counted; what a topic that is gone held"
    );
    eprintln!("  beyond what was counted cannot be told.");
    eprintln!(
        "- {unprojected} offsets were counted, but never reached ClickHouse, and will not: their proof rests on"
    );
    eprintln!("  the ledger.");
}
