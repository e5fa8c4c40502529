//! A house to measure: a stack of its own, Weir's tables and topics, a catalogue, tenants; and what
//! its processes have used. Nothing is served yet.

use anyhow::{Context, Result};
use local_stack::{Kind, Stack};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tempfile::TempDir;
use weir_load::kafka::ToKafka;

use crate::spent::{self, Spent};
use crate::tenants;
use crate::weir::{Serving, Weir};

/// Everything that a bench needs. Dropping it ends all processes and removes all data.
#[derive(Debug)]
pub(crate) struct House {
    /// Postgres.
    pub ledger: PgPool,
    /// How Weir is configured.
    pub weir: Weir,
    /// The three servers.
    pub stack: Stack,
    /// Anything that a bench wants to keep for a while.
    pub folder: TempDir,
}

impl House {
    /// Starts the servers and makes what Weir needs to count so many tenants.
    pub(crate) async fn build(tenants: u32, meters: u32) -> Result<Self> {
        Self::build_since(tenants, meters, 0).await
    }

    /// The same, with tenants whose first billing period began so many months ago.
    pub(crate) async fn build_since(tenants: u32, meters: u32, months_ago: i32) -> Result<Self> {
        let stack = tokio::task::spawn_blocking(local_stack::scratch).await.context("start the stack")?;
        let stack = stack.context("start the stack; `make setup` fetches its programs")?;
        let folder = tempfile::tempdir().context("make a folder")?;
        let weir = Weir::new(&stack, folder.path())?;
        weir.succeed(&["migrate"])?;
        let catalogue = folder.path().join("catalogue.toml");
        std::fs::write(&catalogue, weir_load::house::catalogue(meters, true))
            .context("write the catalogue")?;
        weir.succeed(&["catalog", "apply", &catalogue.display().to_string()])?;
        let ledger = PgPoolOptions::new().max_connections(2).connect_lazy(&stack.postgres_url());
        let ledger = ledger.context("connect to Postgres")?;
        tenants::create(&ledger, tenants, months_ago).await?;
        Ok(Self { ledger, weir, stack, folder })
    }

    /// Where load goes: so many records a second, or as fast as possible.
    pub(crate) fn to_kafka(&self, rate: Option<u32>) -> ToKafka {
        ToKafka {
            bootstrap_servers: self.stack.kafka_bootstrap(),
            topic: "weir.usage.v1".to_owned(),
            producers: 1,
            rate,
            settings: Default::default(),
        }
    }

    /// `host:port` of ClickHouse.
    pub(crate) fn clickhouse_address(&self) -> String {
        let url = self.stack.clickhouse_url();
        url.trim_start_matches("http://").trim_end_matches('/').to_owned()
    }

    /// What the processes have used so far: Weir first, then the servers.
    pub(crate) fn spent(&self, serving: &Serving) -> Vec<(&'static str, Spent)> {
        let mut all = vec![("weir", spent::by(serving.pid()))];
        for server in self.stack.components() {
            let name = match server.kind() {
                Kind::Kafka => "Kafka",
                Kind::Postgres => "Postgres",
                Kind::ClickHouse => "ClickHouse",
            };
            all.push((name, server.pid().map(spent::by).unwrap_or_default()));
        }
        all
    }
}
