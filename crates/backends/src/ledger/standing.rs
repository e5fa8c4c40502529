//! What the ledger knows of a partition when it is taken: limits in force, usage by
//! billing period, series. Usage is read only as it stands when everything below the taken
//! offset is folded, in one snapshot with how far that is: a ledger that is restored meanwhile
//! may have usage of less, and fold the rest a moment later.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::FromRow;
use weir_core::{Hash128, Partition, Quantity, Span, TenantId, Timestamp};
use weir_metering::aggregate::Aggregate;
use weir_metering::catalogue::Catalogue;
use weir_metering::meter::{Aggregation, MeterKey};
use weir_metering::quota::{Limit, LimitSet};
use weir_metering::shard::PeriodTotal;

use crate::StoreError;
use crate::postgres::{Pool, SNAPSHOT};

const ATTEMPT: &str = "read where a partition stands";

/// A series: tenant, meter, dimensions.
pub type SeriesKey = (TenantId, MeterKey, String);

#[derive(FromRow)]
struct TotalRow {
    tenant: String,
    meter: String,
    starts_at: DateTime<Utc>,
    ends_at: DateTime<Utc>,
    sum: String,
    max: String,
    min: String,
    latest: String,
    latest_at: Option<DateTime<Utc>>,
    latest_offset: Option<i64>,
    event_count: i64,
}

#[derive(FromRow)]
struct ValueRow {
    tenant: String,
    meter: String,
    starts_at: DateTime<Utc>,
    value_hash: Vec<u8>,
}

/// A period that ends after an instant began less than 32 days before it (a constraint of the
/// table says so), so older months of usage are not looked at.
const TOTALS: &str = "SELECT u.tenant, u.meter, p.starts_at, p.ends_at,
        sum(u.quantity)::text AS sum, max(u.quantity)::text AS max, min(u.quantity)::text AS min,
        (array_agg(u.quantity::text ORDER BY u.latest_at DESC NULLS LAST, u.latest_offset DESC))[1] AS latest,
        max(u.latest_at) AS latest_at,
        (array_agg(u.latest_offset ORDER BY u.latest_at DESC NULLS LAST, u.latest_offset DESC))[1]
            AS latest_offset,
        sum(u.event_count)::bigint AS event_count
    FROM usage AS u JOIN billing_period AS p
        ON p.tenant = u.tenant AND u.hour >= p.starts_at AND u.hour < p.ends_at
    WHERE u.partition = $1 AND p.ends_at > $2 AND u.hour >= $2 - interval '32 days'
    GROUP BY u.tenant, u.meter, p.starts_at, p.ends_at";
const VALUES: &str = "SELECT DISTINCT u.tenant, u.meter, p.starts_at, u.value_hash
    FROM usage_unique AS u JOIN billing_period AS p
        ON p.tenant = u.tenant AND u.hour >= p.starts_at AND u.hour < p.ends_at
    WHERE u.partition = $1 AND p.ends_at > $2 AND u.hour >= $2 - interval '32 days'";
const FOLDED: &str = "SELECT folded_to FROM journal_partition WHERE partition = $1";
const SERIES: &str = "SELECT tenant, meter, dimensions FROM series WHERE partition = $1";
const ADJUSTMENTS: &str = "SELECT tenant, id FROM adjustment WHERE partition = $1";
const LIMITS: &str = "SELECT tenant, revision, limits FROM limit_in_force WHERE partition = $1";

fn corrupt(error: impl std::fmt::Display) -> StoreError {
    StoreError::corrupt(ATTEMPT, error)
}

/// What it takes to read usage of a partition: how far it must be folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoldedTo {
    /// Which partition.
    pub partition: Partition,
    /// Everything below is in usage, and nothing else.
    pub offset: i64,
}

impl FoldedTo {
    /// The answer where usage stands elsewhere: it is asked for again.
    pub fn elsewhere(self, found: Option<i64>) -> StoreError {
        let Self { partition, offset } = self;
        let reason = format!("usage of partition {partition} is folded to {found:?}, not to {offset}");
        StoreError::Transient { attempt: ATTEMPT, reason }
    }

    /// A snapshot in which it is so.
    async fn snapshot(self, pool: &Pool) -> Result<sqlx::Transaction<'_, sqlx::Postgres>, StoreError> {
        let failed = |error: sqlx::Error| StoreError::postgres(ATTEMPT, &error);
        let mut snapshot = pool.begin_with(SNAPSHOT).await.map_err(failed)?;
        let folded = sqlx::query_scalar(FOLDED)
            .bind(self.partition)
            .fetch_optional(&mut *snapshot)
            .await
            .map_err(failed)?;
        if folded == Some(self.offset) { Ok(snapshot) } else { Err(self.elsewhere(folded)) }
    }
}

/// Usage by billing period, all periods that end after `ends_after`. How a meter counts is
/// the catalogue's to say; usage of a meter that it does not know is left out.
///
/// # Errors
/// The ledger's; transient where usage is not folded just so far.
pub async fn totals(
    pool: &Pool,
    stand: FoldedTo,
    ends_after: Timestamp,
    catalogue: &Catalogue,
) -> Result<Vec<PeriodTotal>, StoreError> {
    let failed = |error: sqlx::Error| StoreError::postgres(ATTEMPT, &error);
    let mut snapshot = stand.snapshot(pool).await?;
    let rows: Vec<TotalRow> = sqlx::query_as(TOTALS)
        .bind(stand.partition)
        .bind(ends_after.to_chrono())
        .fetch_all(&mut *snapshot)
        .await
        .map_err(failed)?;
    let values: Vec<ValueRow> = sqlx::query_as(VALUES)
        .bind(stand.partition)
        .bind(ends_after.to_chrono())
        .fetch_all(&mut *snapshot)
        .await
        .map_err(failed)?;
    snapshot.commit().await.map_err(failed)?;
    let mut hashes: BTreeMap<(String, String, DateTime<Utc>), BTreeSet<Hash128>> = BTreeMap::new();
    for row in values {
        let hash =
            <[u8; 16]>::try_from(row.value_hash).map_err(|_| corrupt("a value's hash is not 16 bytes"))?;
        hashes.entry((row.tenant, row.meter, row.starts_at)).or_default().insert(Hash128::from_bytes(hash));
    }
    let aggregations: BTreeMap<&MeterKey, Aggregation> =
        catalogue.meters().map(|meter| (&meter.key, meter.aggregation)).collect();
    let mut totals = Vec::with_capacity(rows.len());
    for row in rows {
        let meter = MeterKey::new(&row.meter).map_err(corrupt)?;
        let Some(aggregation) = aggregations.get(&meter) else { continue };
        let values = hashes.remove(&(row.tenant.clone(), row.meter.clone(), row.starts_at));
        totals.push(PeriodTotal {
            tenant: TenantId::new(&row.tenant).map_err(corrupt)?,
            meter,
            period: Span { start: row.starts_at.into(), end: row.ends_at.into() },
            aggregate: aggregate(*aggregation, &row, values.unwrap_or_default())?,
        });
    }
    Ok(totals)
}

fn aggregate(
    aggregation: Aggregation,
    row: &TotalRow,
    hashes: BTreeSet<Hash128>,
) -> Result<Aggregate, StoreError> {
    let quantity = |text: &str| Quantity::parse_total(text).map_err(corrupt);
    let count = row.event_count;
    Ok(match aggregation {
        Aggregation::Count => Aggregate::Count { count },
        Aggregation::Sum => Aggregate::Sum { quantity: quantity(&row.sum)?, count },
        Aggregation::Max => Aggregate::Max { quantity: quantity(&row.max)?, count },
        Aggregation::Min => Aggregate::Min { quantity: quantity(&row.min)?, count },
        Aggregation::Latest => Aggregate::Latest {
            time: row.latest_at.map(Timestamp::from).unwrap_or_default(),
            offset: row.latest_offset.unwrap_or_default(),
            quantity: quantity(&row.latest)?,
            count,
        },
        Aggregation::Unique => Aggregate::Unique { hashes, count },
    })
}

/// Every series that was ever counted in a partition.
///
/// # Errors
/// The ledger's; transient where usage is not folded just so far.
pub async fn series(pool: &Pool, stand: FoldedTo) -> Result<Vec<SeriesKey>, StoreError> {
    let failed = |error: sqlx::Error| StoreError::postgres(ATTEMPT, &error);
    let mut snapshot = stand.snapshot(pool).await?;
    let rows: Vec<(String, String, String)> =
        sqlx::query_as(SERIES).bind(stand.partition).fetch_all(&mut *snapshot).await.map_err(failed)?;
    snapshot.commit().await.map_err(failed)?;
    let series = |(tenant, meter, dimensions): (String, String, String)| {
        Ok((TenantId::new(&tenant).map_err(corrupt)?, MeterKey::new(&meter).map_err(corrupt)?, dimensions))
    };
    rows.into_iter().map(series).collect()
}

/// The adjustments that were ever counted in a partition: tenants and ids.
pub async fn adjustments(pool: &Pool, partition: Partition) -> Result<Vec<(TenantId, String)>, StoreError> {
    let rows: Vec<(String, String)> = sqlx::query_as(ADJUSTMENTS)
        .bind(partition)
        .fetch_all(pool)
        .await
        .map_err(|error| StoreError::postgres(ATTEMPT, &error))?;
    rows.into_iter().map(|(tenant, id)| Ok((TenantId::new(&tenant).map_err(corrupt)?, id))).collect()
}

/// The limits that are in force in a partition.
pub async fn limits(pool: &Pool, partition: Partition) -> Result<Vec<LimitSet>, StoreError> {
    let rows: Vec<(String, i64, Value)> = sqlx::query_as(LIMITS)
        .bind(partition)
        .fetch_all(pool)
        .await
        .map_err(|error| StoreError::postgres(ATTEMPT, &error))?;
    let set = |(tenant, revision, limits): (String, i64, Value)| {
        let limits: Vec<Limit> = serde_json::from_value(limits).map_err(corrupt)?;
        Ok(LimitSet { tenant: TenantId::new(&tenant).map_err(corrupt)?, revision, limits })
    };
    rows.into_iter().map(set).collect()
}
