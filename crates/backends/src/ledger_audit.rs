//! Reading the ledger to prove it: the chain of batches and the usage rows of a
//! partition, page by page, all in one snapshot, since counting goes on meanwhile and what
//! was read at different times would not fit. It reads only, and judges nothing.

use sqlx::postgres::PgRow;
use sqlx::{Postgres, Row, Transaction};
use weir_core::{ContentSum, Generation, Partition, Quantity, TenantId, Timestamp};
use weir_metering::aggregate::UsageKey;
use weir_metering::meter::MeterKey;
use weir_metering::outcome::Counts;

use crate::StoreError;
use crate::postgres::Pool;

const ATTEMPT: &str = "read the ledger";

/// Where counting stands in a partition.
#[derive(Clone, Debug)]
pub struct PartitionRow {
    /// Which partition.
    pub partition: Partition,
    /// Which life of the topic.
    pub generation: Generation,
    /// Where its chain begins.
    pub first_offset: i64,
    /// The first offset not counted.
    pub next_offset: i64,
    /// Usage rows hold everything below.
    pub folded_to: i64,
    /// ClickHouse events hold everything below.
    pub projected_to: i64,
    /// ClickHouse rollups hold everything below.
    pub rolled_to: i64,
    /// Running maximum of broker time.
    pub broker_time_max: Timestamp,
    /// Who counts it, for people.
    pub owner_name: Option<String>,
}

const PARTITIONS: &str =
    "SELECT partition, generation, first_offset, next_offset, folded_to, projected_to, rolled_to,
        broker_time_max, owner_name
    FROM journal_partition ORDER BY partition";
const PARTITION: &str =
    "SELECT partition, generation, first_offset, next_offset, folded_to, projected_to, rolled_to,
        broker_time_max, owner_name
    FROM journal_partition WHERE partition = $1";

/// Every partition.
pub async fn partitions(pool: &Pool) -> Result<Vec<PartitionRow>, StoreError> {
    let rows = sqlx::query(PARTITIONS).fetch_all(pool).await.map_err(failed)?;
    rows.iter().map(partition_row).collect()
}

fn partition_row(row: &PgRow) -> Result<PartitionRow, StoreError> {
    Ok(PartitionRow {
        partition: get(row, "partition")?,
        generation: get(row, "generation")?,
        first_offset: get(row, "first_offset")?,
        next_offset: get(row, "next_offset")?,
        folded_to: get(row, "folded_to")?,
        projected_to: get(row, "projected_to")?,
        rolled_to: get(row, "rolled_to")?,
        broker_time_max: Timestamp::from(get::<chrono::DateTime<chrono::Utc>>(row, "broker_time_max")?),
        owner_name: get(row, "owner_name")?,
    })
}

const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// The ledger as it stood at one moment. It ends when it is dropped.
#[derive(Debug)]
pub struct Snapshot(Transaction<'static, Postgres>);

impl Snapshot {
    /// Begins one.
    pub async fn begin(pool: &Pool) -> Result<Self, StoreError> {
        pool.begin_with(BEGIN).await.map(Self).map_err(failed)
    }

    /// One partition.
    pub async fn partition(&mut self, partition: Partition) -> Result<PartitionRow, StoreError> {
        let row = sqlx::query(PARTITION).bind(partition).fetch_one(&mut *self.0).await.map_err(failed)?;
        partition_row(&row)
    }

    /// The next `count` links of a partition's chain from `from` on.
    pub async fn batches(
        &mut self,
        partition: Partition,
        generation: Generation,
        from: i64,
        count: i64,
    ) -> Result<Vec<BatchRow>, StoreError> {
        let query = sqlx::query(BATCHES).bind(partition).bind(generation).bind(from).bind(count);
        let rows = query.fetch_all(&mut *self.0).await.map_err(failed)?;
        rows.iter().map(batch_row).collect()
    }

    /// Every usage row of a partition.
    pub async fn usage(
        &mut self,
        partition: Partition,
        generation: Generation,
    ) -> Result<Vec<UsageRow>, StoreError> {
        let query = sqlx::query(USAGE).bind(partition).bind(generation);
        let rows = query.fetch_all(&mut *self.0).await.map_err(failed)?;
        rows.iter().map(usage_row).collect()
    }
}

/// A link of the chain.
#[derive(Clone, Debug)]
pub struct BatchRow {
    /// First offset covered.
    pub from: i64,
    /// First offset not covered.
    pub to: i64,
    /// Counts by end.
    pub counts: Counts,
    /// Rejects and conflicts by reason.
    pub rejected_by: serde_json::Value,
    /// `wire::batch_blob` exceptions.
    pub exceptions: Vec<u8>,
    /// `wire::batch_blob` deltas.
    pub deltas: Vec<u8>,
    /// Sum of the accepted events' hashes.
    pub content_sum: ContentSum,
}

const BATCHES: &str =
    "SELECT from_offset, to_offset, read_count, accepted_count, duplicate_count, rejected_count,
        forwarded_count, control_count, rejected_by, exceptions, deltas, content_sum
    FROM batch WHERE partition = $1 AND generation = $2 AND from_offset >= $3
    ORDER BY from_offset LIMIT $4";

fn batch_row(row: &PgRow) -> Result<BatchRow, StoreError> {
    let count = |name| {
        let value: i64 = get(row, name)?;
        u64::try_from(value).map_err(|error| StoreError::corrupt(ATTEMPT, format!("{name}: {error}")))
    };
    let sum: Vec<u8> = get(row, "content_sum")?;
    let sum = <[u8; 16]>::try_from(sum)
        .map_err(|_| StoreError::corrupt(ATTEMPT, "a content sum is not 16 bytes"))?;
    Ok(BatchRow {
        from: get(row, "from_offset")?,
        to: get(row, "to_offset")?,
        counts: Counts {
            read: count("read_count")?,
            accepted: count("accepted_count")?,
            duplicate: count("duplicate_count")?,
            rejected: count("rejected_count")?,
            forwarded: count("forwarded_count")?,
            control: count("control_count")?,
        },
        rejected_by: get(row, "rejected_by")?,
        exceptions: get(row, "exceptions")?,
        deltas: get(row, "deltas")?,
        content_sum: ContentSum::from_bytes(sum),
    })
}

/// A usage row as stored.
#[derive(Clone, Debug)]
pub struct UsageRow {
    /// What it is kept by.
    pub key: UsageKey,
    /// Its quantity.
    pub quantity: Quantity,
    /// How many events.
    pub event_count: u64,
}

const USAGE: &str = "SELECT tenant, meter, hour, dimensions, quantity::text AS quantity, event_count
    FROM usage WHERE partition = $1 AND generation = $2";

fn usage_row(row: &PgRow) -> Result<UsageRow, StoreError> {
    let count: i64 = get(row, "event_count")?;
    let quantity: String = get(row, "quantity")?;
    Ok(UsageRow {
        key: usage_key(row)?,
        quantity: Quantity::parse_total(&quantity).map_err(|error| StoreError::corrupt(ATTEMPT, error))?,
        event_count: u64::try_from(count).map_err(|error| StoreError::corrupt(ATTEMPT, error))?,
    })
}

fn usage_key(row: &PgRow) -> Result<UsageKey, StoreError> {
    let tenant: String = get(row, "tenant")?;
    let meter: String = get(row, "meter")?;
    Ok(UsageKey {
        tenant: TenantId::new(&tenant).map_err(|error| StoreError::corrupt(ATTEMPT, error))?,
        meter: MeterKey::new(&meter).map_err(|error| StoreError::corrupt(ATTEMPT, error))?,
        hour: Timestamp::from(get::<chrono::DateTime<chrono::Utc>>(row, "hour")?),
        dimensions: get(row, "dimensions")?,
    })
}

fn get<'r, T: sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>>(
    row: &'r PgRow,
    name: &str,
) -> Result<T, StoreError> {
    row.try_get(name).map_err(failed)
}

fn failed(error: sqlx::Error) -> StoreError {
    StoreError::postgres(ATTEMPT, &error)
}
