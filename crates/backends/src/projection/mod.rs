//! ClickHouse: raw events and rollups. Whatever is written twice becomes one row; nothing
//! is counted, answered or billed from it (invariants 1 and 13).

mod columns;
mod rows;

use std::iter;
use std::time::Duration;

use clickhouse::{Client, Compression, Row};
use serde::Serialize;
use weir_core::{Generation, Partition, Position, TenantId};
use weir_metering::aggregate::UsageKey;

use rows::RollupKeyRow;
pub use rows::{EventRow, RollupRow, StoredEvent};

use crate::StoreError;
use crate::config::ClickHouseConfig;

/// The schema, in the order in which it is made, statement by statement.
const SCHEMA: [&str; 3] = [
    include_str!("../../../../schemas/clickhouse/0001_projection.sql"),
    include_str!("../../../../schemas/clickhouse/0002_signed_counts.sql"),
    include_str!("../../../../schemas/clickhouse/0003_vertical_merges.sql"),
];
/// The most events of one id that are looked for.
const SAME_ID_MAX: u32 = 16;
/// An insert is atomic below 1,048,449 rows.
const INSERT_ROWS_MAX: usize = 500_000;
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
pub struct EventCursor(clickhouse::query::RowCursor<StoredEvent>);

impl std::fmt::Debug for EventCursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EventCursor")
    }
}

impl EventCursor {
    /// The next event; `None` after the last.
    pub async fn next(&mut self) -> Result<Option<StoredEvent>, StoreError> {
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

    /// Makes database, tables and views where they are missing. What they were filled with is
    /// not believed any more then: the mark goes first.
    pub async fn prepare(&self) -> Result<(), StoreError> {
        const ATTEMPT: &str = "make the projection's tables";
        if !self.database.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            let reason = format!("{:?} is no name for a database", self.database);
            return Err(StoreError::corrupt(ATTEMPT, reason));
        }
        let create = format!("CREATE DATABASE IF NOT EXISTS {}", self.database);
        let outside = self.client.clone().with_database("default");
        within(ATTEMPT, outside.query(&create).execute()).await?;
        if !self.is_whole().await? {
            within(ATTEMPT, self.client.query("DROP TABLE IF EXISTS projection_mark SYNC").execute()).await?;
        }
        for statement in SCHEMA.into_iter().flat_map(statements) {
            within(ATTEMPT, self.client.query(&statement).execute()).await?;
        }
        self.client.clear_cached_metadata().await;
        Ok(())
    }

    /// Whether every table is there.
    async fn is_whole(&self) -> Result<bool, StoreError> {
        const TABLES: &str = "SELECT count() FROM system.tables WHERE database = ?
            AND name IN ('events_raw', 'usage_hourly_raw', 'projection_mark')";
        let outside = self.client.clone().with_database("default");
        let query = outside.query(TABLES).bind(&self.database);
        let found: u64 = within("look for the projection's tables", query.fetch_one()).await?;
        Ok(found == 3)
    }

    /// The ids of fillings that this database is marked with; none where a table is missing.
    pub async fn marks(&self) -> Result<Vec<String>, StoreError> {
        if !self.is_whole().await? {
            return Ok(Vec::new());
        }
        let query = self.client.query("SELECT id FROM projection_mark");
        within("read the projection's mark", query.fetch_all()).await
    }

    /// Marks this database with the id of a filling that begins.
    pub async fn mark(&self, id: &str) -> Result<(), StoreError> {
        let query = self.client.query("INSERT INTO projection_mark (id) VALUES (?)").bind(id);
        within("mark the projection", query.execute()).await
    }

    /// Answers when ClickHouse does.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let outside = self.client.clone().with_database("default");
        within("reach ClickHouse", outside.query("SELECT 1").execute()).await
    }

    /// Inserts raw events. On an error any part of them may be there: insert all again.
    pub async fn insert_events(&self, rows: &[EventRow]) -> Result<(), StoreError> {
        let failed = |error: clickhouse::error::Error| StoreError::clickhouse("insert raw events", &error);
        let statement = format!("INSERT INTO events_raw ({}) FORMAT Native", columns::COLUMNS);
        for part in rows.chunks(INSERT_ROWS_MAX) {
            let insert = self.client.insert_formatted_with(statement.as_str());
            // What is written twice becomes one row by merges and views; within an insert there is
            // nothing twice to look for.
            let insert = insert.with_setting("async_insert", "0").with_setting("optimize_on_insert", "0");
            let mut insert = insert.with_timeouts(Some(SEND_TIMEOUT), Some(END_TIMEOUT));
            for piece in columns::block(part) {
                insert.send(piece).await.map_err(failed)?;
            }
            insert.end().await.map_err(failed)?;
        }
        Ok(())
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
        for part in rows.chunks(INSERT_ROWS_MAX) {
            let insert = self.client.insert::<T>(table).await.map_err(failed)?;
            let insert = insert.with_setting("async_insert", "0").with_setting("optimize_on_insert", "0");
            let mut insert = insert.with_timeouts(Some(SEND_TIMEOUT), Some(END_TIMEOUT));
            for row in part {
                insert.write(row).await.map_err(failed)?;
            }
            insert.end().await.map_err(failed)?;
        }
        Ok(())
    }

    /// The highest epoch among a partition's rollups and its events at or above `from`; 0
    /// where there are none.
    pub async fn epoch_max(
        &self,
        (partition, generation): (Partition, Generation),
        from: i64,
    ) -> Result<i64, StoreError> {
        const HIGHEST: &str = "SELECT max(epoch) FROM (
            SELECT epoch FROM events_raw WHERE partition = ? AND generation = ? AND offset >= ?
            UNION ALL SELECT epoch FROM usage_hourly_raw WHERE partition = ? AND generation = ?)";
        let query = self.client.query(HIGHEST).bind(partition).bind(generation).bind(from);
        within("look for the highest epoch", query.bind(partition).bind(generation).fetch_one()).await
    }

    /// Removes events at offsets `[from, to)` that were written before `epoch`. Returns how
    /// many there were.
    ///
    /// It waits until every part that was there when it began has been rewritten. However late
    /// it happens, rows of `epoch` and later ones stay.
    pub async fn remove_events(
        &self,
        (partition, generation): (Partition, Generation),
        (from, to): (i64, i64),
        epoch: i64,
    ) -> Result<u64, StoreError> {
        const ATTEMPT: &str = "remove events that the ledger does not know";
        const COUNT: &str = "SELECT count() FROM events_raw
            WHERE partition = ? AND generation = ? AND offset >= ? AND offset < ? AND epoch < ?";
        const DELETE: &str = "ALTER TABLE events_raw DELETE
            WHERE partition = ? AND generation = ? AND offset >= ? AND offset < ? AND epoch < ?
            SETTINGS mutations_sync = 2";
        let bound =
            |sql| self.client.query(sql).bind(partition).bind(generation).bind(from).bind(to).bind(epoch);
        let found: u64 = within(ATTEMPT, bound(COUNT).fetch_one()).await?;
        if found > 0 {
            within(ATTEMPT, bound(DELETE).execute()).await?;
        }
        Ok(found)
    }

    /// The epochs that a partition's rollups carry, and how far those of each were folded at most.
    pub async fn rollup_epochs(
        &self,
        (partition, generation): (Partition, Generation),
    ) -> Result<Vec<(i64, i64)>, StoreError> {
        const EPOCHS: &str = "SELECT epoch, max(folded_to) FROM usage_hourly_raw
            WHERE partition = ? AND generation = ? GROUP BY epoch ORDER BY epoch";
        let query = self.client.query(EPOCHS).bind(partition).bind(generation);
        within("look for the epochs of rollups", query.fetch_all()).await
    }

    /// The keys of the rollups of an epoch that were folded beyond `folded_to`.
    pub async fn rollups_beyond(
        &self,
        (partition, generation): (Partition, Generation),
        (epoch, folded_to): (i64, i64),
    ) -> Result<Vec<UsageKey>, StoreError> {
        const BEYOND: &str = "SELECT DISTINCT ?fields FROM usage_hourly_raw
            WHERE partition = ? AND generation = ? AND epoch = ? AND folded_to > ?";
        let query = self.client.query(BEYOND).bind(partition).bind(generation).bind(epoch).bind(folded_to);
        let keys =
            within("look for rollups that the ledger does not know", query.fetch_all::<RollupKeyRow>());
        keys.await?.into_iter().map(RollupKeyRow::into_key).collect()
    }

    /// Removes the rollups of an epoch that were folded beyond `folded_to`. It waits, as
    /// [`Projection::remove_events`] does.
    pub async fn remove_rollups_beyond(
        &self,
        (partition, generation): (Partition, Generation),
        (epoch, folded_to): (i64, i64),
    ) -> Result<(), StoreError> {
        const DELETE: &str = "ALTER TABLE usage_hourly_raw DELETE
            WHERE partition = ? AND generation = ? AND epoch = ? AND folded_to > ?
            SETTINGS mutations_sync = 2";
        let query = self.client.query(DELETE).bind(partition).bind(generation).bind(epoch).bind(folded_to);
        within("remove rollups that the ledger does not know", query.execute()).await
    }

    /// How many different positions the events of a partition have at offsets `[from, to)`.
    pub async fn count_positions(
        &self,
        (partition, generation): (Partition, Generation),
        (from, to): (i64, i64),
    ) -> Result<u64, StoreError> {
        const COUNT: &str = "SELECT uniqExact(offset) FROM events_raw
            WHERE partition = ? AND generation = ? AND offset >= ? AND offset < ?";
        let query = self.client.query(COUNT).bind(partition).bind(generation).bind(from).bind(to);
        within("count raw events", query.fetch_one()).await
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
            PREWHERE partition = ? AND generation = ? AND offset >= ? AND offset < ?
                AND (? = '' OR tenant = ?) ORDER BY offset";
        let tenant = tenant.map_or("", TenantId::as_str);
        let query = self.client.query(READ).bind(partition).bind(generation).bind(from).bind(to);
        let cursor = query.bind(tenant).bind(tenant).fetch::<StoredEvent>();
        cursor.map(EventCursor).map_err(|error| StoreError::clickhouse("read raw events", &error))
    }

    /// The events below an end in each of some partitions, each once and in no order: in one pass,
    /// since the table has a partition's events among those of all others.
    pub fn scan_events(&self, ends: &[Position]) -> Result<EventCursor, StoreError> {
        let below = ends.iter().map(|end| {
            let Position { generation, partition, offset } = end;
            format!("(partition = {partition} AND generation = {generation} AND offset < {offset})")
        });
        let below = iter::once("false".to_owned()).chain(below).collect::<Vec<_>>().join(" OR ");
        // A position's broker time never changes, so all its rows lie in the same day's parts.
        let scan = format!(
            "SELECT ?fields FROM events_raw FINAL PREWHERE {below}
            SETTINGS do_not_merge_across_partitions_select_final = 1"
        );
        let cursor = self.client.query(&scan).fetch::<StoredEvent>();
        cursor.map(EventCursor).map_err(|error| StoreError::clickhouse("read raw events", &error))
    }

    /// A tenant's events of one source and id, by rising position: more than one where an id
    /// came again after it was forgotten.
    pub async fn events_of_id(
        &self,
        tenant: &TenantId,
        source: &str,
        id: &str,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        const FIND: &str = "SELECT ?fields FROM events_raw FINAL
            WHERE tenant = ? AND source = ? AND id = ?
            ORDER BY generation, partition, offset LIMIT ?";
        let query = self.client.query(FIND).bind(tenant.as_str()).bind(source).bind(id).bind(SAME_ID_MAX);
        within("look for an event", query.fetch_all()).await
    }

    /// How many events a partition has below `to`, each counted once.
    pub async fn count_events(
        &self,
        (partition, generation): (Partition, Generation),
        to: i64,
    ) -> Result<u64, StoreError> {
        const COUNT: &str = "SELECT count() FROM events_raw FINAL
            PREWHERE partition = ? AND generation = ? AND offset < ?";
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
        let found: Vec<_> = super::SCHEMA.into_iter().flat_map(super::statements).collect();
        assert_eq!(found.len(), 8);
        let begins = |statement: &String| statement.starts_with("CREATE ") || statement.starts_with("ALTER ");
        assert!(found.iter().all(begins));
    }
}
