//! What the hourly rollups in ClickHouse lack: the keys of batches that were folded since,
//! with their absolute totals.

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgConnection};
use weir_core::{Generation, Partition, Quantity, Timestamp};
use weir_metering::aggregate::UsageKey;

use super::usage::{Columns, DELTAS, Deltas, merge_batches};
use crate::StoreError;
use crate::postgres::{Pool, SNAPSHOT};

const ATTEMPT: &str = "read what the rollups lack";
/// Batches whose keys are read at once.
const BATCHES_MAX: i64 = 64;

/// One key's absolute total.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageTotal {
    /// Whose.
    pub tenant: String,
    /// Which meter.
    pub meter: String,
    /// Start of the hour.
    pub hour: Timestamp,
    /// Canonical JSON.
    pub dimensions: String,
    /// The usage.
    pub quantity: Quantity,
    /// How many events it is made of.
    pub event_count: i64,
}

/// Totals to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollup {
    /// Which partition.
    pub partition: Partition,
    /// Which life of the topic.
    pub generation: Generation,
    /// Rollups hold everything below once these are written.
    pub to: i64,
    /// How far usage was folded when the totals were read; the version.
    pub folded_to: i64,
    /// The totals.
    pub totals: Vec<UsageTotal>,
}

#[derive(FromRow)]
struct TotalRow {
    tenant: String,
    meter: String,
    hour: DateTime<Utc>,
    dimensions: String,
    quantity: String,
    event_count: i64,
}

const STANDING: &str = "SELECT generation, rolled_to, folded_to FROM journal_partition WHERE partition = $1";
const TOTALS: &str =
    "SELECT u.tenant, u.meter, u.hour, u.dimensions, u.quantity::text AS quantity, u.event_count
    FROM unnest($3::text[], $4::text[], $5::timestamptz[], $6::text[]) AS k (tenant, meter, hour, dimensions)
    JOIN usage AS u ON u.tenant = k.tenant AND u.meter = k.meter AND u.hour = k.hour
        AND u.dimensions = k.dimensions AND u.generation = $1 AND u.partition = $2";

/// What the ledger says of some keys of a partition now; keys without usage are left out.
pub async fn totals_of(pool: &Pool, partition: Partition, keys: &[UsageKey]) -> Result<Rollup, StoreError> {
    let failed = |error: sqlx::Error| StoreError::postgres(ATTEMPT, &error);
    let mut snapshot = pool.begin_with(SNAPSHOT).await.map_err(failed)?;
    let (generation, to, folded_to): (Generation, i64, i64) =
        sqlx::query_as(STANDING).bind(partition).fetch_one(&mut *snapshot).await.map_err(failed)?;
    let totals = read_totals(&mut snapshot, (generation, partition), keys.iter()).await?;
    snapshot.commit().await.map_err(failed)?;
    Ok(Rollup { partition, generation, to, folded_to, totals })
}

/// The next totals that the rollups of a partition lack; `None` when they lack none.
pub async fn pending(pool: &Pool, partition: Partition) -> Result<Option<Rollup>, StoreError> {
    let failed = |error: sqlx::Error| StoreError::postgres(ATTEMPT, &error);
    let mut snapshot = pool.begin_with(SNAPSHOT).await.map_err(failed)?;
    let standing: Option<(Generation, i64, i64)> =
        sqlx::query_as(STANDING).bind(partition).fetch_optional(&mut *snapshot).await.map_err(failed)?;
    let Some((generation, rolled_to, folded_to)) = standing.filter(|(_, rolled, folded)| rolled < folded)
    else {
        return Ok(None);
    };
    let rows: Vec<Deltas> = sqlx::query_as(DELTAS)
        .bind(partition)
        .bind(generation)
        .bind(rolled_to)
        .bind(folded_to)
        .bind(BATCHES_MAX)
        .fetch_all(&mut *snapshot)
        .await
        .map_err(failed)?;
    let (deltas, to) = merge_batches(partition, rolled_to, &rows)?;
    let totals = read_totals(&mut snapshot, (generation, partition), deltas.keys()).await?;
    snapshot.commit().await.map_err(failed)?;
    Ok(Some(Rollup { partition, generation, to, folded_to, totals }))
}

async fn read_totals(
    snapshot: &mut PgConnection,
    (generation, partition): (Generation, Partition),
    keys: impl Iterator<Item = &UsageKey>,
) -> Result<Vec<UsageTotal>, StoreError> {
    let mut columns = Columns::default();
    keys.for_each(|key| columns.push_key(key));
    let rows: Vec<TotalRow> = sqlx::query_as(TOTALS)
        .bind(generation)
        .bind(partition)
        .bind(columns.tenants)
        .bind(columns.meters)
        .bind(columns.hours)
        .bind(columns.dimensions)
        .fetch_all(snapshot)
        .await
        .map_err(|error| StoreError::postgres(ATTEMPT, &error))?;
    rows.into_iter().map(total).collect()
}

fn total(row: TotalRow) -> Result<UsageTotal, StoreError> {
    let quantity = Quantity::parse_total(&row.quantity)
        .map_err(|error| StoreError::corrupt(ATTEMPT, format!("{}: {error}", row.quantity)))?;
    Ok(UsageTotal {
        tenant: row.tenant,
        meter: row.meter,
        hour: row.hour.into(),
        dimensions: row.dimensions,
        quantity,
        event_count: row.event_count,
    })
}
