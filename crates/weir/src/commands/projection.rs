//! `weir projection rebuild`: has ClickHouse filled again from the journal and the ledger,
//! while counting goes on. Whoever counts notices within a second and does it.

use std::collections::BTreeMap;

use anyhow::Context;
use weir_backends::ledger::{partition, projecting};
use weir_core::Timestamp;
use weir_pipeline::archive::status;

use crate::cli::{Projection, Rebuild};
use crate::config::Config;
use crate::out;

use super::ledger_pool;

/// Carries out the command.
pub(crate) async fn run(config: &Config, command: &Projection) -> anyhow::Result<bool> {
    let Projection::Rebuild(rebuild) = command;
    let pool = ledger_pool(config).await?;
    let rows = partition::all(&pool).await?;
    let chosen: Vec<_> =
        rows.iter().filter(|row| rebuild.partition.is_none_or(|only| only == row.partition)).collect();
    anyhow::ensure!(
        !chosen.is_empty(),
        "no such partition was ever counted; `weir ledger status` shows them"
    );
    let has_archive = super::archive::open(config)?.is_some();
    // Where Kafka does not answer, it is asked for all the same.
    let looked = status::look(&pool, &config.kafka).await.unwrap_or_else(|error| {
        eprintln!("note: {error}; so it is not known how far back raw events can be written again");
        Vec::new()
    });
    let readable: BTreeMap<_, _> = looked
        .into_iter()
        .map(|one| (one.row.partition, if has_archive { one.readable_from() } else { one.kafka_from }))
        .collect();
    for row in chosen {
        let from = match beginning(rebuild)? {
            Beginning::First => Some(row.first_offset),
            Beginning::Offset(offset) => Some(offset),
            Beginning::Time(time) => projecting::reaching(&pool, row.partition, time).await?,
        };
        let Some(from) = from else {
            eprintln!("partition {}: nothing arrived so late", row.partition);
            continue;
        };
        if let Some((from, next)) = projecting::again(&pool, row.partition, from).await? {
            out::line(format_args!("partition {}: [{from}, {next}) is projected again", row.partition))?;
            let readable = readable.get(&row.partition).copied().unwrap_or(from);
            if from < readable {
                eprintln!(
                    "partition {}: Kafka no longer holds what is below offset {readable}, and {}: raw events below \
                     are not written again",
                    row.partition,
                    if has_archive {
                        "the archive does not have it"
                    } else {
                        "there is no archive (archive.url)"
                    }
                );
            }
        }
    }
    eprintln!(
        "`weir serve` does it within seconds, or when it is started; `weir ledger status` shows how far it is."
    );
    Ok(true)
}

enum Beginning {
    First,
    Offset(i64),
    Time(Timestamp),
}

fn beginning(rebuild: &Rebuild) -> anyhow::Result<Beginning> {
    let Some(text) = &rebuild.from else { return Ok(Beginning::First) };
    if let Ok(offset) = text.parse() {
        return Ok(Beginning::Offset(offset));
    }
    let time = chrono::DateTime::parse_from_rfc3339(text)
        .with_context(|| format!("{text:?} is neither an offset nor a time such as 2026-01-31T00:00:00Z"))?;
    Ok(Beginning::Time(Timestamp::from(time.to_utc())))
}
