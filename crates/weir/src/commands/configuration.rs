//! `weir migrate` and `weir config`: the servers as they should be.

use weir_backends::journal::{Producer, topics};
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
        Some(pool) => told_settings(settings(config, &pool).await)?,
        None => true,
    };
    Ok(answers.into_iter().all(|answer| answer) && archive && settings)
}

/// Whether anything may be counted on the servers' settings. Topics that are not there yet have
/// none.
fn told_settings(found: Result<Vec<Finding>, StoreError>) -> anyhow::Result<bool> {
    let found = match found {
        Ok(found) => found,
        Err(error) => {
            out::line(format_args!("note        {error}"))?;
            return Ok(true);
        }
    };
    for Finding { refuses, words } in &found {
        out::line(format_args!("{:<11} {words}", if *refuses { "Settings" } else { "note" }))?;
    }
    Ok(found.iter().all(|one| !one.refuses))
}

fn told(server: &str, place: &str, answer: Result<(), StoreError>) -> anyhow::Result<bool> {
    match &answer {
        Ok(()) => out::line(format_args!("{server:<11} ok ({place})"))?,
        Err(error) => out::line(format_args!("{server:<11} {error} ({place})"))?,
    }
    Ok(answer.is_ok())
}
