//! `weir migrate` and `weir config`: the servers as they should be.

use weir_backends::journal::{Producer, TopicSettings, topics};
use weir_backends::postgres::Pool;
use weir_backends::projection::Projection;
use weir_backends::settings::Finding;
use weir_backends::{StoreError, postgres};
use weir_pipeline::settings_watch::{Promises, SettingsWatch};

use crate::cli::ConfigCommand;
use crate::config::{self, Config};
use crate::out;

/// `weir migrate`: Postgres, ClickHouse and Kafka's topics.
pub(crate) async fn migrate(config: &Config) -> anyhow::Result<bool> {
    let pool = postgres::connect(&config.postgres).await?;
    postgres::migrate(&pool).await?;
    eprintln!("Postgres: the ledger is up to date");
    topics::ensure_for(&config.kafka, postgres::has_counted(&pool).await?).await?;
    let mut kafka = config.kafka.clone();
    kafka.partitions = topics::partitions(&config.kafka).await?;
    eprintln!("Kafka: {} has {}", kafka.usage_topic, out::counted(kafka.partitions, "partition"));
    postgres::installation(&pool, &kafka).await?;
    Projection::new(&config.clickhouse).prepare().await?;
    eprintln!("ClickHouse: database {} is up to date", config.clickhouse.database);
    let found = settings(config, &pool).await?;
    for Finding { refuses, words } in &found {
        eprintln!("{}: {words}", if *refuses { "nothing is counted" } else { "note" });
    }
    Ok(found.iter().all(|one| !one.refuses))
}

/// What is wrong with the servers' settings: what `weir serve` would say of them.
pub(super) async fn settings(config: &Config, pool: &Pool) -> Result<Vec<Finding>, StoreError> {
    let archiving = config.archive.url.is_some().then_some(&config.archive);
    let promises = Promises::new(&config.counting, archiving, config.ledger.single_node);
    SettingsWatch::connect(&config.kafka, pool, promises).await?.look().await
}

/// `weir config check|print`.
pub(crate) async fn run(config: &Config, command: &ConfigCommand) -> anyhow::Result<bool> {
    if let ConfigCommand::Print = command {
        out::bytes(config::redacted(config)?.as_bytes())?;
        return Ok(true);
    }
    let (pool, postgres) = match postgres::connect(&config.postgres).await {
        Ok(pool) => (Some(pool), Ok(())),
        Err(error) => (None, Err(error)),
    };
    let kafka = match Producer::connect(&config.kafka) {
        Ok(producer) => producer.ping().await,
        Err(error) => Err(error),
    };
    let clickhouse = Projection::new(&config.clickhouse).ping().await;
    let answers = [
        told("Kafka", &config.kafka.bootstrap_servers, kafka)?,
        told("Postgres", "postgres.url", postgres)?,
        told("ClickHouse", &config.clickhouse.url, clickhouse)?,
    ];
    let archive = match super::archive::open(config) {
        Ok(Some(archive)) => told("Archive", archive.url(), archive.ping().await)?,
        Ok(None) => {
            out::line("note        archive.url is not set: the journal reaches as far as Kafka's retention")?;
            true
        }
        Err(error) => {
            out::line(format_args!("Archive     {error}"))?;
            false
        }
    };
    let settings = match pool.filter(|_| answers[0]) {
        Some(pool) => {
            let found = settings(config, &pool).await;
            let missing = match &found {
                Ok(_) => Vec::new(),
                Err(_) => missing_topics(config).await,
            };
            let (lines, may_be_counted) = settings_lines(found, &missing);
            lines.iter().try_for_each(out::line)?;
            may_be_counted
        }
        None => true,
    };
    Ok(answers.into_iter().all(|answer| answer) && archive && settings)
}

/// Topics that are not made yet; none where Kafka does not tell.
async fn missing_topics(config: &Config) -> Vec<String> {
    match TopicSettings::connect(&config.kafka).await {
        Ok(topics) => topics.missing().await.unwrap_or_default(),
        Err(_) => Vec::new(),
    }
}

/// What is said of the servers' settings, and whether anything may be counted on them. Topics
/// that are not made yet have none; settings that could not be looked at are not known to be right.
fn settings_lines(found: Result<Vec<Finding>, StoreError>, missing: &[String]) -> (Vec<String>, bool) {
    match found {
        Ok(found) => {
            let line = |Finding { refuses, words }: &Finding| {
                format!("{:<11} {words}", if *refuses { "Settings" } else { "note" })
            };
            (found.iter().map(line).collect(), found.iter().all(|one| !one.refuses))
        }
        Err(_) if !missing.is_empty() => {
            let line = format!("note        not there yet, `weir migrate` makes it: {}", missing.join(", "));
            (vec![line], true)
        }
        Err(error) => (vec![format!("Settings    could not be looked at: {error}")], false),
    }
}

fn told(server: &str, place: &str, answer: Result<(), StoreError>) -> anyhow::Result<bool> {
    match &answer {
        Ok(()) => out::line(format_args!("{server:<11} ok ({place})"))?,
        Err(error) => out::line(format_args!("{server:<11} {error} ({place})"))?,
    }
    Ok(answer.is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_could_not_be_looked_at_are_not_right() {
        let away = || StoreError::Transient { attempt: "look at settings", reason: "timed out".into() };
        let finding = |refuses| Finding { refuses, words: "so it is".into() };
        let check = |found, missing: &[&str], words: &str, yes| {
            let missing: Vec<_> = missing.iter().map(ToString::to_string).collect();
            let (lines, may_be_counted) = settings_lines(found, &missing);
            assert_eq!((lines.join("\n").as_str(), may_be_counted), (words, yes));
        };
        check(Ok(vec![]), &[], "", true);
        check(Ok(vec![finding(false)]), &[], "note        so it is", true);
        check(Ok(vec![finding(true)]), &[], "Settings    so it is", false);
        check(
            Err(away()),
            &["weir.usage.v1"],
            "note        not there yet, `weir migrate` makes it: weir.usage.v1",
            true,
        );
        check(
            Err(away()),
            &[],
            "Settings    could not be looked at: could not look at settings: timed out",
            false,
        );
    }
}
