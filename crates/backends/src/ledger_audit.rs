//! Reading the ledger to prove it: the chain of batches and the usage rows of a
//! partition, page by page, all in one snapshot, since counting goes on meanwhile and what
//! was read at different times would not fit. It reads only, and judges nothing.

use std::collections::{BTreeMap, HashMap};

use futures::TryStreamExt;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Postgres, Row, Transaction};
use weir_core::{ContentSum, Generation, HourAlignment, Partition, Quantity, TenantId, Timestamp};
use weir_metering::aggregate::{Aggregate, UsageKey};
use weir_metering::meter::MeterKey;
use weir_metering::outcome::Counts;
use weir_wire::batch_blob::decode_deltas;

use crate::StoreError;
use crate::ledger::adjustment::{self, AdjustedUsage};
use crate::ledger::generation;
use crate::ledger::partition::{self, PartitionRow};
use crate::postgres::{Pool, SNAPSHOT};

const ATTEMPT: &str = "read the ledger";

/// The ledger as it stood at one moment. It ends when it is dropped.
#[derive(Debug)]
pub struct Snapshot(Transaction<'static, Postgres>);

impl Snapshot {
    /// Begins one. Whoever proves asks ClickHouse between two questions to the ledger, for as
    /// long as that takes, so the session's timeouts do not hold for it.
    pub async fn begin(pool: &Pool) -> Result<Self, StoreError> {
        let mut snapshot = pool.begin_with(SNAPSHOT).await.map_err(failed)?;
        for setting in PATIENT {
            sqlx::query(setting).execute(&mut *snapshot).await.map_err(failed)?;
        }
        Ok(Self(snapshot))
    }

    /// One partition.
    pub async fn partition(&mut self, partition: Partition) -> Result<PartitionRow, StoreError> {
        let row = partition::one(&mut *self.0, partition).await?;
        row.ok_or_else(|| StoreError::corrupt(ATTEMPT, format!("partition {partition} is gone")))
    }

    /// How far ClickHouse was filled with each generation of a partition; of earlier ones, when
    /// they ended.
    pub async fn projected(&mut self, partition: Partition) -> Result<BTreeMap<Generation, i64>, StoreError> {
        generation::projected(&mut self.0, partition).await
    }

    /// Where the hours of every tenant begin, deleted ones included: their usage stays.
    pub async fn alignments(&mut self) -> Result<HashMap<String, HourAlignment>, StoreError> {
        let rows: Vec<(String, i16)> =
            sqlx::query_as(ALIGNMENTS).fetch_all(&mut *self.0).await.map_err(failed)?;
        let read = |(tenant, minutes): (String, i16)| {
            let alignment = u8::try_from(minutes).ok().and_then(HourAlignment::from_minutes);
            let wrong = || StoreError::corrupt(ATTEMPT, format!("{tenant} has the hour alignment {minutes}"));
            Ok((tenant.clone(), alignment.ok_or_else(wrong)?))
        };
        rows.into_iter().map(read).collect()
    }

    /// The next `count` links of a partition's chain after the one at `after`, through all
    /// generations; empty at the end. Begin with generation `i32::MIN`.
    pub async fn batches_after(
        &mut self,
        partition: Partition,
        after: (Generation, i64),
        count: i64,
    ) -> Result<Vec<BatchRow>, StoreError> {
        batches_after(&mut self.0, partition, after, count).await
    }

    /// What adjustments added to the usage of a partition, by rising position.
    pub async fn adjusted(&mut self, partition: Partition) -> Result<Vec<AdjustedUsage>, StoreError> {
        adjustment::usage(&mut self.0, partition).await
    }

    /// Hands over every usage row of a partition, one by one and in any order.
    pub async fn each_usage(
        &mut self,
        partition: Partition,
        mut each: impl FnMut(UsageRow),
    ) -> Result<(), StoreError> {
        let mut rows = sqlx::query(USAGE).bind(partition).fetch(&mut *self.0);
        while let Some(row) = rows.try_next().await.map_err(failed)? {
            each(usage_row(&row)?);
        }
        Ok(())
    }
}

const PATIENT: [&str; 2] =
    ["SET LOCAL idle_in_transaction_session_timeout = 0", "SET LOCAL statement_timeout = 0"];
const ALIGNMENTS: &str = "SELECT id, hour_alignment FROM tenant";

/// A link of the chain.
#[derive(Clone, Debug)]
pub struct BatchRow {
    /// Which life of the topic.
    pub generation: Generation,
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
    /// The running maximum of broker time at its end.
    pub broker_time_max: Timestamp,
}

impl BatchRow {
    /// What usage grew by.
    pub fn usage(&self) -> Result<BTreeMap<UsageKey, Aggregate>, StoreError> {
        decode_deltas(&self.deltas).map_err(|error| {
            let at = format!("the batch at {}/{}", self.generation, self.from);
            StoreError::corrupt("read a batch's deltas", format!("{at}: {error}"))
        })
    }
}

const BATCHES: &str =
    "SELECT generation, from_offset, to_offset, read_count, accepted_count, duplicate_count, rejected_count,
        forwarded_count, control_count, rejected_by, exceptions, deltas, content_sum, broker_time_max
    FROM batch WHERE partition = $1 AND (generation, from_offset) > ($2, $3)
    ORDER BY generation, from_offset LIMIT $4";

/// The next `count` links of a partition's chain after the one at `after`, through all
/// generations; empty at the end. Begin with generation `i32::MIN`.
pub(crate) async fn batches_after(
    conn: &mut PgConnection,
    partition: Partition,
    after: (Generation, i64),
    count: i64,
) -> Result<Vec<BatchRow>, StoreError> {
    let query = sqlx::query(BATCHES).bind(partition).bind(after.0).bind(after.1).bind(count);
    query.fetch_all(conn).await.map_err(failed)?.iter().map(batch_row).collect()
}

fn batch_row(row: &PgRow) -> Result<BatchRow, StoreError> {
    let count = |name| {
        let value: i64 = get(row, name)?;
        u64::try_from(value).map_err(|error| StoreError::corrupt(ATTEMPT, format!("{name}: {error}")))
    };
    let sum: Vec<u8> = get(row, "content_sum")?;
    let sum = <[u8; 16]>::try_from(sum)
        .map_err(|_| StoreError::corrupt(ATTEMPT, "a content sum is not 16 bytes"))?;
    Ok(BatchRow {
        generation: get(row, "generation")?,
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
        broker_time_max: Timestamp::from(get::<chrono::DateTime<chrono::Utc>>(row, "broker_time_max")?),
    })
}

/// A usage row as stored.
#[derive(Clone, Debug)]
pub struct UsageRow {
    /// Which life of the topic.
    pub generation: Generation,
    /// What it is kept by.
    pub key: UsageKey,
    /// Its quantity.
    pub quantity: Quantity,
    /// How many events.
    pub event_count: i64,
}

const USAGE: &str =
    "SELECT tenant, meter, hour, dimensions, generation, quantity::text AS quantity, event_count
    FROM usage WHERE partition = $1";

fn usage_row(row: &PgRow) -> Result<UsageRow, StoreError> {
    let quantity: String = get(row, "quantity")?;
    Ok(UsageRow {
        generation: get(row, "generation")?,
        key: usage_key(row)?,
        quantity: Quantity::parse_total(&quantity).map_err(|error| StoreError::corrupt(ATTEMPT, error))?,
        event_count: get(row, "event_count")?,
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
