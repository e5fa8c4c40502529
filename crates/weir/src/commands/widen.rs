//! `weir ledger widen`: more partitions for the usage topic, in Kafka and in the ledger. Without
//! `--yes` nothing is changed.

use weir_backends::ledger::width::Widened;
use weir_pipeline::widen_topic::{self, NewPartition, Widening};

use crate::cli::Widen;
use crate::config::Config;
use crate::out;
use crate::table::{self, Cell};

use super::{ledger_pool, now};

/// Shows what would change; changes it when told so.
pub(crate) async fn run(config: &Config, command: &Widen) -> anyhow::Result<bool> {
    let pool = ledger_pool(config).await?;
    let seen = widen_topic::look(&pool, &config.kafka, command.to).await?;
    let rows: Vec<Vec<Cell>> = seen.partitions.iter().map(row).collect();
    table::print(command.output.output, &["partition", "in_kafka", "begins", "ends"], &rows)?;
    if seen.is_needless() {
        eprintln!("{} are counted already: there is nothing to widen.", partitions(seen.counted));
        return Ok(true);
    }
    explain(&seen, &config.kafka.usage_topic);
    if !command.yes {
        eprintln!("Nothing was changed. Say it again with --yes.");
        return Ok(false);
    }
    match widen_topic::widen(&pool, &config.kafka, &seen, now()).await? {
        Widened::To(to) => {
            eprintln!("{} are counted from now on.", partitions(to));
            Ok(true)
        }
        Widened::Already(counted) if counted == seen.to => {
            eprintln!("Somebody else has done so meanwhile: {} are counted.", partitions(counted));
            Ok(true)
        }
        Widened::Already(counted) => {
            anyhow::bail!("somebody else has let the ledger count {counted} partitions meanwhile; look again")
        }
    }
}

fn partitions(count: i32) -> String {
    out::counted(usize::try_from(count).unwrap_or_default(), "partition")
}

fn row(new: &NewPartition) -> Vec<Cell> {
    let (state, low, high) = match new.held {
        Some((low, high)) => ("there", low, high),
        None => ("made by this command", 0, 0),
    };
    vec![new.partition.into(), state.to_owned().into(), low.into(), high.into()]
}

/// What widening means, in words and numbers.
fn explain(seen: &Widening, topic: &str) {
    let Widening { counted, found, to, tenants, .. } = seen;
    eprintln!("Widening lets the ledger count {to} partitions instead of {counted}:");
    if found < to {
        eprintln!("- {topic} has {found} partitions in Kafka, and gets {to}. Kafka takes none back.");
    } else {
        eprintln!("- {topic} has {found} partitions in Kafka already; nothing is changed there.");
    }
    eprintln!("- The {tenants} tenants that exist stay where they are, with all that is known of them.");
    eprintln!("  Those that are created from now on are spread over all {to} partitions.");
    eprintln!("- What producers of their own write of existing tenants by the new number is forwarded once.");
    eprintln!("  Every `weir serve` goes on, and counts the new partitions within a quarter of a minute.");
    eprintln!("  All of them must be of this version of Weir.");
    let lost = |new: &&NewPartition| new.held.is_some_and(|(low, _)| low > 0);
    for new in seen.partitions.iter().filter(lost) {
        eprintln!(
            "- Partition {} has lost records that nobody has counted: it will be refused until `weir ledger accept-topic`.",
            new.partition
        );
    }
}
