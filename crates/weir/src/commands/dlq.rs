//! `weir dlq list|show|replay`: what was not counted, and counting it after all. Whatever a
//! letter holds came from outside: nothing of it reaches the terminal as it is.

mod show;

use anyhow::Context;
use weir_backends::journal::Producer;
use weir_core::Position;
use weir_pipeline::dead_letters::{self, Entry, Fate, Filter, Letter, Reader, Replay, Replayed, Survey};
use weir_pipeline::told::Told;

use crate::cli::dlq::{Dlq, DlqFilter, DlqList, DlqReplay};
use crate::config::Config;
use crate::out;
use crate::table::{self, Cell};
use crate::waiting::Waiting;

use super::{ledger_pool, now};

/// Carries out the command.
pub(crate) async fn run(config: &Config, command: &Dlq) -> anyhow::Result<bool> {
    let reader = Reader::new(&config.kafka, config.counting.record_bytes_max);
    match command {
        Dlq::List(asked) => list(&reader, asked).await,
        Dlq::Show { position } => show(config, &reader, *position).await,
        Dlq::Replay(asked) => replay(config, &reader, asked).await,
    }
}

fn filter(asked: &DlqFilter, positions: &[Position]) -> Filter {
    Filter {
        positions: positions.iter().copied().collect(),
        reasons: asked.reasons.iter().cloned().collect(),
        tenant: asked.tenant.as_ref().map(|tenant| tenant.0.to_string()),
        since: asked.since,
        until: asked.until,
        partition: asked.partition,
    }
}

async fn survey(reader: &Reader, filter: &Filter) -> anyhow::Result<Survey> {
    let waiting = Waiting::begin();
    let survey = dead_letters::survey(reader, filter, |read| waiting.told("letters read", read, None)).await;
    drop(waiting);
    let survey = survey.context("read the dead letters")?;
    if survey.foreign > 0 {
        eprintln!("{} records of the topic are no letters of Weir's, and are left out.", survey.foreign);
    }
    Ok(survey)
}

async fn list(reader: &Reader, asked: &DlqList) -> anyhow::Result<bool> {
    let survey = survey(reader, &filter(&asked.filter, &[])).await?;
    let left_out = if asked.limit == 0 { 0 } else { survey.entries.len().saturating_sub(asked.limit) };
    let entries = &survey.entries[left_out..];
    let letters = dead_letters::fetch_all(reader, entries).await.context("read the dead letters again")?;
    let columns =
        ["position", "arrived_at", "reason", "tenant", "source", "id", "letters", "rejected_at", "message"];
    let rows: Vec<Vec<Cell>> = entries
        .iter()
        .zip(&letters)
        .map(|(entry, (letter, reading))| {
            let (source, id) = show::identity(reading);
            vec![
                entry.origin.to_string().into(),
                entry.arrived_at.to_string().into(),
                plain(&entry.code).into(),
                plain(entry.tenant.as_deref().unwrap_or_default()).into(),
                plain(source).into(),
                plain(id).into(),
                entry.letters.into(),
                entry.rejected_at.to_string().into(),
                plain(&letter.info.message).into(),
            ]
        })
        .collect();
    table::print(asked.output.output, &columns, &rows)?;
    if left_out > 0 {
        eprintln!("{left_out} earlier ones are left out; --limit 0 shows all.");
    }
    Ok(true)
}

async fn show(config: &Config, reader: &Reader, position: Position) -> anyhow::Result<bool> {
    let one = Filter { positions: [position].into(), ..Filter::default() };
    let found = survey(reader, &one).await?;
    let Some((entry, (letter, reading))) = first(reader, &found.entries).await? else {
        eprintln!("There is no dead letter of {position}; `weir dlq list` shows those that there are.");
        return Ok(false);
    };
    let pool = ledger_pool(config).await?;
    let counted = dead_letters::counted(&pool, letter.info.position).await?;
    out::bytes(show::letter(&entry, &letter, &reading, counted).as_bytes())?;
    Ok(true)
}

async fn first(
    reader: &Reader,
    entries: &[Entry],
) -> anyhow::Result<Option<(Entry, (Letter, dead_letters::Reading))>> {
    let letters = dead_letters::fetch_all(reader, entries).await.context("read the dead letter again")?;
    Ok(entries.first().cloned().zip(letters.into_iter().next()))
}

async fn replay(config: &Config, reader: &Reader, asked: &DlqReplay) -> anyhow::Result<bool> {
    let pool = ledger_pool(config).await?;
    let mut survey = survey(reader, &filter(&asked.filter, &asked.positions)).await?;
    let unknown: Vec<_> = asked
        .positions
        .iter()
        .filter(|position| !survey.entries.iter().any(|entry| entry.origin == **position))
        .collect();
    for position in &unknown {
        eprintln!("There is no such dead letter: {position}");
    }
    survey.entries.truncate(asked.limit.unwrap_or(usize::MAX));
    let producer = if asked.dry_run { None } else { Some(Producer::connect(&config.kafka)?) };
    let replay = Replay {
        kafka: &config.kafka,
        pool: &pool,
        producer: producer.as_ref(),
        settings: &config.counting,
        now: now(),
        earlier_generations: asked.earlier_generations,
        wait: asked.wait,
    };
    let (waiting, all) = (Waiting::begin(), u64::try_from(survey.entries.len()).ok());
    let told = |done| waiting.told("letters looked at", done, all);
    let replayed = replay.run(reader, &survey.entries, told).await?;
    drop(waiting);
    print_fates(asked, &replayed)?;
    say(&replayed, asked.dry_run);
    let well = replayed.count(Fate::NotSent) + replayed.count(Fate::RejectedAgain) == 0;
    Ok(well && unknown.is_empty())
}

fn print_fates(asked: &DlqReplay, replayed: &Replayed) -> anyhow::Result<()> {
    let columns = ["result", "reason", "tenant", "letters", "for_example", "why"];
    let rows: Vec<Vec<Cell>> = replayed
        .lines
        .iter()
        .map(|(line, (count, example))| {
            vec![
                line.fate.to_string().into(),
                plain(&line.code).into(),
                plain(&line.tenant).into(),
                (*count).into(),
                example.map(|position| position.to_string()).unwrap_or_default().into(),
                plain(&line.why).into(),
            ]
        })
        .collect();
    table::print(asked.output.output, &columns, &rows)
}

fn say(replayed: &Replayed, dry_run: bool) {
    let count = |fate| replayed.count(fate);
    if dry_run {
        eprintln!(
            "Nothing was sent: {} letters would be, {} would not.",
            count(Fate::WouldBeSent),
            count(Fate::NotSent)
        );
        return;
    }
    eprintln!(
        "{} counted, {} counted before, {} rejected again, {} not counted yet, {} not sent.",
        count(Fate::Counted),
        count(Fate::CountedBefore),
        count(Fate::RejectedAgain),
        count(Fate::Waits),
        count(Fate::NotSent)
    );
    if count(Fate::Waits) > 0 {
        eprintln!(
            "What is not counted yet waits in the journal for `weir serve`; nothing needs to be sent again."
        );
    }
}

/// Text from outside for a terminal: what would move its cursor is spelled out.
fn plain(text: &str) -> String {
    let spelled = |character: char| {
        let plain = !character.is_control();
        let (kept, escaped) =
            if plain { (Some(character), None) } else { (None, Some(character.escape_default())) };
        kept.into_iter().chain(escaped.into_iter().flatten())
    };
    text.chars().flat_map(spelled).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn nothing_moves_the_cursor() {
        assert_eq!(super::plain("Zürich \u{1b}[2J\r\n\u{9b}"), "Zürich \\u{1b}[2J\\r\\n\\u{9b}");
    }
}
