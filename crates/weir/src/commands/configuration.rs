//! `weir migrate` and `weir config`: the servers as they should be.

use weir_backends::journal::{Producer, topics};
use weir_backends::projection::Projection;
use weir_backends::{StoreError, postgres};

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
    eprintln!("Kafka: {} has {} partitions", kafka.usage_topic, kafka.partitions);
    postgres::installation(&pool, &kafka).await?;
    Projection::new(&config.clickhouse).prepare().await?;
    eprintln!("ClickHouse: database {} is up to date", config.clickhouse.database);
    Ok(true)
}

/// `weir config check|print`.
pub(crate) async fn run(config: &Config, command: &ConfigCommand) -> anyhow::Result<bool> {
    if let ConfigCommand::Print = command {
        out::bytes(config::redacted(config)?.as_bytes())?;
        return Ok(true);
    }
    let postgres = match postgres::connect(&config.postgres).await {
        Ok(pool) => postgres::ping(&pool).await,
        Err(error) => Err(error),
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
    if !config.ledger.single_node {
        out::line(
            "note        ledger.single_node is false: the ledger must replicate synchronously, or say true",
        )?;
    }
    Ok(answers.into_iter().all(|answer| answer) && archive)
}

fn told(server: &str, place: &str, answer: Result<(), StoreError>) -> anyhow::Result<bool> {
    match &answer {
        Ok(()) => out::line(format_args!("{server:<11} ok ({place})"))?,
        Err(error) => out::line(format_args!("{server:<11} {error} ({place})"))?,
    }
    Ok(answer.is_ok())
}
