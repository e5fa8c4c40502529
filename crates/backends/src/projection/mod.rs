//! ClickHouse: raw events and rollups. Whatever is written twice becomes one row; nothing
//! is counted, answered or billed from it (invariants 1 and 13).

mod rows;

use std::time::Duration;

use clickhouse::{Client, Compression, Row};
use serde::Serialize;
use weir_core::{Generation, Partition, TenantId};
use weir_metering::aggregate::UsageKey;

use rows::RollupKeyRow;
pub use rows::{EventRow, RollupRow, version};

use crate::StoreError;
use crate::config::ClickHouseConfig;

/// The schema, statement by statement.
const SCHEMA: &str = include_str!("../../../../schemas/clickhouse/0001_projection.sql");
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
const END_TIMEOUT: Duration = Duration::from_secs(60);
const QUERY_TIMEOUT: Duration = Duration::from_secs(60);

/// A connection to the projection. Cheap to clone.
#[derive(Clone)]
pub struct Projection {
    client: Client,
    database: String,
}

impl std::fmt::Debug for Projection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Projection({})", self.database)
    }
}

/// Events of a stream of rows, one by one.
pub struct EventCursor(clickhouse::query::RowCursor<EventRow>);

impl std::fmt::Debug for EventCursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EventCursor")
    }
}

impl EventCursor {
    /// The next event; `None` after the last.
    pub async fn next(&mut self) -> Result<Option<EventRow>, StoreError> {
        self.0.next().await.map_err(|error| StoreError::clickhouse("read raw events", &error))
    }
}

impl Projection {
    /// A client that has not asked anything yet.
    pub fn new(config: &ClickHouseConfig) -> Self {
        let client = Client::default()
            .with_url(&config.url)
            .with_database(&config.database)
            .with_user(&config.user)
            .with_password(&config.password)
            .with_compression(Compression::None);
        Self { client, database: config.database.clone() }
    }

    /// Makes database, tables and views where they are missing.
    pub async fn prepare(&self) -> Result<(), StoreError> {
        const ATTEMPT: &str = "make the projection's tables";
        if !self.database.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            let reason = format!("{:?} is no name for a database", self.database);
            return Err(StoreError::corrupt(ATTEMPT, reason));
        }
        let create = format!("CREATE DATABASE IF NOT EXISTS {}", self.database);
        let outside = self.client.clone().with_database("default");
        within(ATTEMPT, outside.query(&create).execute()).await?;
        for statement in statements(SCHEMA) {
            within(ATTEMPT, self.client.query(&statement).execute()).await?;
        }
        self.client.clear_cached_metadata().await;
        Ok(())
    }

    /// Answers when ClickHouse does.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let outside = self.client.clone().with_database("default");
        within("reach ClickHouse", outside.query("SELECT 1").execute()).await
    }

    /// Inserts raw events. On an error any part of them may be there: insert all again.
    pub async fn insert_events(&self, rows: &[EventRow]) -> Result<(), StoreError> {
        self.insert("insert raw events", "events_raw", rows).await
    }

    /// Inserts rollups. On an error any part of them may be there: insert all again.
    pub async fn insert_rollups(&self, rows: &[RollupRow]) -> Result<(), StoreError> {
        self.insert("insert rollups", "usage_hourly_raw", rows).await
    }

    async fn insert<T>(&self, attempt: &'static str, table: &str, rows: &[T]) -> Result<(), StoreError>
    where
        T: Row + Serialize,
        for<'a> T: Row<Value<'a> = T>,
    {
        let failed = |error: clickhouse::error::Error| StoreError::clickhouse(attempt, &error);
        // An insert is atomic below 1,048,449 rows.
        for part in rows.chunks(500_000) {
            let insert = self.client.insert::<T>(table).await.map_err(failed)?;
            let mut insert =
                insert.with_setting("async_insert", "0").with_timeouts(Some(SEND_TIMEOUT), Some(END_TIMEOUT));
            for row in part {
                insert.write(row).await.map_err(failed)?;
            }
            insert.end().await.map_err(failed)?;
        }
        Ok(())
    }

    /// Removes events at or above `next_offset`, which the ledger has never heard of: it went
    /// back in time. Returns how many there were.
    pub async fn purge_from(
        &self,
        partition: Partition,
        generation: Generation,
        next_offset: i64,
    ) -> Result<u64, StoreError> {
        const ATTEMPT: &str = "remove events that the ledger does not know";
        let count = "SELECT count() FROM events_raw WHERE partition = ? AND generation = ? AND offset >= ?";
        let query = self.client.query(count).bind(partition).bind(generation).bind(next_offset);
        let found: u64 = within(ATTEMPT, query.fetch_one()).await?;
        if found > 0 {
            let delete =
                "ALTER TABLE events_raw DELETE WHERE partition = ? AND generation = ? AND offset >= ?
                SETTINGS mutations_sync = 2";
            let query = self.client.query(delete).bind(partition).bind(generation).bind(next_offset);
            within(ATTEMPT, query.execute()).await?;
        }
        Ok(found)
    }

    /// The keys of rollups that have a higher version: the ledger went back in time.
    pub async fn rollups_above(
        &self,
        (partition, generation): (Partition, Generation),
        version: u64,
    ) -> Result<Vec<UsageKey>, StoreError> {
        const ABOVE: &str = "SELECT DISTINCT ?fields FROM usage_hourly_raw
            WHERE partition = ? AND generation = ? AND version > ?";
        let query = self.client.query(ABOVE).bind(partition).bind(generation).bind(version);
        let keys =
            within("look for rollups that the ledger does not know", query.fetch_all::<RollupKeyRow>());
        keys.await?.into_iter().map(RollupKeyRow::into_key).collect()
    }

    /// Removes rollups that have a higher version.
    pub async fn remove_rollups_above(
        &self,
        (partition, generation): (Partition, Generation),
        version: u64,
    ) -> Result<(), StoreError> {
        const DELETE: &str = "ALTER TABLE usage_hourly_raw DELETE
            WHERE partition = ? AND generation = ? AND version > ? SETTINGS mutations_sync = 2";
        let query = self.client.query(DELETE).bind(partition).bind(generation).bind(version);
        within("remove rollups that the ledger does not know", query.execute()).await
    }

    /// The events of a partition at offsets `[from, to)`, by rising offset, of one tenant or
    /// of all, each once.
    pub fn read_events(
        &self,
        tenant: Option<&TenantId>,
        (partition, generation): (Partition, Generation),
        from: i64,
        to: i64,
    ) -> Result<EventCursor, StoreError> {
        const READ: &str = "SELECT ?fields FROM events_raw FINAL
            WHERE partition = ? AND generation = ? AND offset >= ? AND offset < ?
                AND (? = '' OR tenant = ?) ORDER BY offset";
        let tenant = tenant.map_or("", TenantId::as_str);
        let query = self.client.query(READ).bind(partition).bind(generation).bind(from).bind(to);
        let cursor = query.bind(tenant).bind(tenant).fetch::<EventRow>();
        cursor.map(EventCursor).map_err(|error| StoreError::clickhouse("read raw events", &error))
    }

    /// How many events a partition has below `to`, each counted once.
    pub async fn count_events(
        &self,
        (partition, generation): (Partition, Generation),
        to: i64,
    ) -> Result<u64, StoreError> {
        const COUNT: &str = "SELECT count() FROM events_raw FINAL
            WHERE partition = ? AND generation = ? AND offset < ?";
        let query = self.client.query(COUNT).bind(partition).bind(generation).bind(to);
        within("count raw events", query.fetch_one()).await
    }
}

async fn within<T>(
    attempt: &'static str,
    work: impl Future<Output = Result<T, clickhouse::error::Error>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(QUERY_TIMEOUT, work).await {
        Ok(result) => result.map_err(|error| StoreError::clickhouse(attempt, &error)),
        Err(_) => {
            let reason = format!("no answer within {QUERY_TIMEOUT:?}");
            Err(StoreError::Transient { attempt, reason })
        }
    }
}

/// The statements of a schema: each ends with a semicolon at the end of a line.
fn statements(schema: &str) -> Vec<String> {
    let lines = schema.lines().filter(|line| !line.trim_start().starts_with("--"));
    let text = lines.collect::<Vec<_>>().join("\n");
    let parts = text.split(";\n").map(|part| part.trim().trim_end_matches(';').to_owned());
    parts.filter(|part| !part.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_schema_is_cut_at_semicolons_that_end_a_line() {
        let found = super::statements(super::SCHEMA);
        assert_eq!(found.len(), 4);
        assert!(found.iter().all(|statement| statement.starts_with("CREATE ")));
    }
}
