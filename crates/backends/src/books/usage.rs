//! Usage of one tenant in one period, and the cut below which it counts, in one statement
//! and therefore one snapshot.
//!
//! A period's quantity is what the meter would say if it had no dimensions: sums and counts
//! are added over hours and dimensions, `max` and `min` take the largest and smallest of
//! them, `latest` the value with the latest (event time, offset), `unique` counts each
//! different value once.

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgConnection};
use weir_billing::{MeterName, UsageOfPeriod};
use weir_core::{Partition, Position, Quantity, Span, TenantId, Timestamp};
use weir_metering::meter::{Aggregation, MeterKey};

use super::failed;
use crate::StoreError;
use crate::postgres::Pool;

const ATTEMPT: &str = "read the usage of a period";

/// Usage of a period below a cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeriodUsage {
    /// Everything below is in the totals.
    pub cut: Position,
    /// The running maximum of broker time below the cut.
    pub folded_broker_time: Timestamp,
    /// By rising meter.
    pub meters: Vec<MeterTotals>,
}

/// What the rows of one meter come to, in each way; the meter's aggregation picks one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeterTotals {
    /// Which meter.
    pub meter: MeterKey,
    /// Added up.
    pub sum: Quantity,
    /// The largest.
    pub max: Quantity,
    /// The smallest.
    pub min: Quantity,
    /// The one of the latest (event time, offset).
    pub latest: Quantity,
    /// How many different values.
    pub unique: Quantity,
    /// How many events.
    pub event_count: i64,
}

#[derive(FromRow)]
struct Row {
    generation: i32,
    folded_to: i64,
    folded_broker_time: Option<DateTime<Utc>>,
    meter: Option<String>,
    sum: Option<String>,
    max: Option<String>,
    min: Option<String>,
    latest: Option<String>,
    unique_count: Option<i64>,
    event_count: Option<i64>,
}

const USAGE: &str = "SELECT p.generation, p.folded_to,
        (SELECT b.broker_time_max FROM batch b
         WHERE b.partition = p.partition
           AND (b.generation < p.generation OR (b.generation = p.generation AND b.to_offset <= p.folded_to))
         ORDER BY b.generation DESC, b.from_offset DESC LIMIT 1) AS folded_broker_time,
        u.meter, u.sum, u.max, u.min, u.latest, coalesce(q.unique_count, 0) AS unique_count, u.event_count
    FROM journal_partition p
    LEFT JOIN (
        SELECT meter, sum(quantity)::text AS sum, max(quantity)::text AS max, min(quantity)::text AS min,
            ((array_agg(quantity ORDER BY latest_at DESC, latest_offset DESC, quantity DESC)
                FILTER (WHERE latest_at IS NOT NULL))[1])::text AS latest,
            sum(event_count)::bigint AS event_count
        FROM usage WHERE tenant = $2 AND hour >= $3 AND hour < $4 GROUP BY meter) AS u ON true
    LEFT JOIN (
        SELECT meter, count(DISTINCT value_hash) AS unique_count
        FROM usage_unique WHERE tenant = $2 AND hour >= $3 AND hour < $4 GROUP BY meter) AS q
        ON q.meter = u.meter
    WHERE p.partition = $1
    ORDER BY u.meter";

/// Reads a tenant's usage in a period; `None` when its partition was never counted.
pub async fn usage_of_period(
    pool: &Pool,
    tenant: &TenantId,
    partition: Partition,
    period: Span,
) -> Result<Option<PeriodUsage>, StoreError> {
    let mut conn = pool.acquire().await.map_err(failed(ATTEMPT))?;
    period_usage(&mut conn, tenant, partition, period).await
}

/// The same inside a transaction: under READ COMMITTED the statement has its own snapshot.
pub(super) async fn period_usage(
    conn: &mut PgConnection,
    tenant: &TenantId,
    partition: Partition,
    period: Span,
) -> Result<Option<PeriodUsage>, StoreError> {
    let rows: Vec<Row> = sqlx::query_as(USAGE)
        .bind(partition)
        .bind(tenant.as_str())
        .bind(period.start.to_chrono())
        .bind(period.end.to_chrono())
        .fetch_all(conn)
        .await
        .map_err(failed(ATTEMPT))?;
    let Some(first) = rows.first() else { return Ok(None) };
    let cut = Position { generation: first.generation, partition, offset: first.folded_to };
    let folded_broker_time = first.folded_broker_time.map_or(Timestamp::EPOCH, Timestamp::from);
    let meters = rows.into_iter().filter_map(|row| row.totals().transpose()).collect::<Result<_, _>>()?;
    Ok(Some(PeriodUsage { cut, folded_broker_time, meters }))
}

impl Row {
    fn totals(self) -> Result<Option<MeterTotals>, StoreError> {
        let Some(meter) = self.meter else { return Ok(None) };
        let meter = MeterKey::new(&meter).map_err(|error| StoreError::corrupt(ATTEMPT, error))?;
        Ok(Some(MeterTotals {
            sum: exact(self.sum.as_deref())?,
            max: exact(self.max.as_deref())?,
            min: exact(self.min.as_deref())?,
            latest: exact(self.latest.as_deref())?,
            unique: Quantity::from_units(self.unique_count.unwrap_or(0)),
            event_count: self.event_count.unwrap_or(0),
            meter,
        }))
    }
}

impl MeterTotals {
    /// The quantity under an aggregation.
    pub fn quantity(&self, aggregation: Aggregation) -> Quantity {
        match aggregation {
            Aggregation::Count | Aggregation::Sum => self.sum,
            Aggregation::Max => self.max,
            Aggregation::Min => self.min,
            Aggregation::Latest => self.latest,
            Aggregation::Unique => self.unique,
        }
    }

    /// As the money side takes it.
    pub fn of_period(&self, aggregation: Aggregation) -> Result<UsageOfPeriod, StoreError> {
        let meter =
            MeterName::new(self.meter.as_str()).map_err(|error| StoreError::corrupt(ATTEMPT, error))?;
        Ok(UsageOfPeriod { meter, quantity: self.quantity(aggregation), event_count: self.event_count })
    }
}

/// Reads a quantity from the text of a numeric, never through a float or a shorter decimal.
pub(super) fn exact(text: Option<&str>) -> Result<Quantity, StoreError> {
    text.map_or(Ok(Quantity::ZERO), |text| {
        Quantity::parse_total(text)
            .map_err(|error| StoreError::corrupt(ATTEMPT, format!("the quantity {text}: {error}")))
    })
}
