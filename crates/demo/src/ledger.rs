//! Weir's ledger, read with SQL: what was counted, how far, and what was billed. It writes nothing.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use sqlx::postgres::{PgPool, PgPoolOptions};

use crate::decimal::{self, Digits};

/// How many records had which end.
#[derive(Clone, Debug, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct Counts {
    /// Records read.
    pub read: i64,
    /// Events counted.
    pub accepted: i64,
    /// Events seen before.
    pub duplicate: i64,
    /// Records for the dead letters.
    pub rejected: i64,
    /// Records sent on to their own partition.
    pub forwarded: i64,
    /// Weir's own limits and ticks.
    pub control: i64,
}

const COUNTS: &str = "SELECT coalesce(sum(read_count), 0)::bigint AS read,
    coalesce(sum(accepted_count), 0)::bigint AS accepted, coalesce(sum(duplicate_count), 0)::bigint AS duplicate,
    coalesce(sum(rejected_count), 0)::bigint AS rejected, coalesce(sum(forwarded_count), 0)::bigint AS forwarded,
    coalesce(sum(control_count), 0)::bigint AS control FROM batch";
const REASONS: &str = "SELECT reason.key, sum(reason.value::bigint)::bigint
    FROM batch, jsonb_each_text(rejected_by) AS reason GROUP BY reason.key ORDER BY reason.key";
const BATCHES: &str = "SELECT count(*) FROM batch";
const USAGE: &str = "SELECT tenant, meter, sum(quantity)::text, sum(event_count)::bigint FROM usage
    GROUP BY tenant, meter";
const UNIQUE: &str = "SELECT tenant, meter, count(DISTINCT value_hash)::bigint FROM usage_unique
    GROUP BY tenant, meter";
const POSITIONS: &str = "SELECT partition, next_offset, folded_to, projected_to, rolled_to
    FROM journal_partition ORDER BY partition";
const LIMITS_IN_FORCE: &str = "SELECT count(*) FROM limit_in_force WHERE tenant = $1";
const DOCUMENTS: &str = "SELECT tenant, number, sequence, document FROM invoice
    WHERE number IS NOT NULL ORDER BY finalized_at, number";

/// How far a partition is.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Standing {
    /// Which.
    pub partition: i32,
    /// The first offset not counted.
    pub next_offset: i64,
    /// Usage rows hold everything below.
    pub folded_to: i64,
    /// ClickHouse's events hold everything below.
    pub projected_to: i64,
    /// ClickHouse's rollups hold everything below.
    pub rolled_to: i64,
}

/// A finalized invoice or correction.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Document {
    /// Whose.
    pub tenant: String,
    /// Its number.
    pub number: String,
    /// 0 for the invoice, 1… for its corrections.
    pub sequence: i32,
    /// All of it, as JSON text.
    pub document: String,
}

/// Usage as the ledger has it: 10^-9 units and events.
pub type Totals = BTreeMap<(String, String), (i128, i64)>;

/// A connection.
#[derive(Clone, Debug)]
pub struct Ledger {
    pool: PgPool,
}

impl Ledger {
    /// Connects.
    pub async fn connect(url: &str) -> Result<Self> {
        let pool = PgPoolOptions::new().max_connections(2).connect(url).await;
        Ok(Self { pool: pool.context("connect to Postgres")? })
    }

    /// Makes a schema for this run, in a database of the user's own.
    pub async fn make_schema(url: &str, schema: &str) -> Result<()> {
        let pool =
            PgPoolOptions::new().max_connections(1).connect(url).await.context("connect to Postgres")?;
        let statement = sqlx::AssertSqlSafe(format!("CREATE SCHEMA IF NOT EXISTS {schema}"));
        sqlx::query(statement).execute(&pool).await.with_context(|| format!("create the schema {schema}"))?;
        pool.close().await;
        Ok(())
    }

    /// How many records had which end.
    pub async fn counts(&self) -> Result<Counts> {
        sqlx::query_as(COUNTS).fetch_one(&self.pool).await.context("read the counts of all batches")
    }

    /// Rejected records and conflicts by reason.
    pub async fn reasons(&self) -> Result<BTreeMap<String, i64>> {
        let rows: Vec<(String, i64)> =
            sqlx::query_as(REASONS).fetch_all(&self.pool).await.context("read the reasons of rejections")?;
        Ok(rows.into_iter().collect())
    }

    /// How many batches were committed.
    pub async fn batches(&self) -> Result<i64> {
        sqlx::query_scalar(BATCHES).fetch_one(&self.pool).await.context("count the batches")
    }

    /// How far each partition is.
    pub async fn standings(&self) -> Result<Vec<Standing>> {
        sqlx::query_as(POSITIONS).fetch_all(&self.pool).await.context("read how far the partitions are")
    }

    /// Whether limits of a tenant are in force.
    pub async fn has_limits(&self, tenant: &str) -> Result<bool> {
        let count: i64 = sqlx::query_scalar(LIMITS_IN_FORCE)
            .bind(tenant)
            .fetch_one(&self.pool)
            .await
            .context("read the limits in force")?;
        Ok(count > 0)
    }

    /// Usage by tenant and meter; of unique meters how many different values.
    pub async fn usage(&self) -> Result<Totals> {
        let rows: Vec<(String, String, String, i64)> =
            sqlx::query_as(USAGE).fetch_all(&self.pool).await.context("read usage")?;
        let unique: Vec<(String, String, i64)> =
            sqlx::query_as(UNIQUE).fetch_all(&self.pool).await.context("read usage of unique meters")?;
        let mut totals = Totals::new();
        for (tenant, meter, quantity, events) in rows {
            totals.insert((tenant, meter), (nanos(&quantity)?, events));
        }
        for (tenant, meter, values) in unique {
            totals.entry((tenant, meter)).or_default().0 = i128::from(values) * 1_000_000_000;
        }
        Ok(totals)
    }

    /// All finalized documents, in the order in which they were finalized.
    pub async fn documents(&self) -> Result<Vec<Document>> {
        sqlx::query_as(DOCUMENTS).fetch_all(&self.pool).await.context("read the invoices")
    }
}

/// A quantity as Weir writes it, in 10^-9 units.
pub fn nanos(text: &str) -> Result<i128> {
    decimal::parse(text, Digits::Exact).with_context(|| format!("{text} is no quantity"))
}
