//! Usage of tenants in periods, and the cuts below which it counts, in one statement and
//! therefore one snapshot.
//!
//! A period's quantity is what the meter would say if it had no dimensions: sums and counts
//! are added over hours and dimensions, `max` and `min` take the largest and smallest of
//! them, `latest` the value with the latest (event time, offset), `unique` counts each
//! different value once.

use sqlx::{FromRow, PgConnection};
use weir_billing::{MeterName, UsageOfPeriod};
use weir_core::{Partition, Position, Quantity, Span, TenantId};
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

/// A period of a subscription, and where the tenant's usage is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscribedPeriod {
    /// The subscription's id.
    pub subscription: String,
    /// Whose.
    pub tenant: TenantId,
    /// The tenant's partition.
    pub partition: Partition,
    /// Which period.
    pub period: Span,
}

#[derive(FromRow)]
struct Row {
    place: i32,
    partition: i32,
    generation: i32,
    folded_to: i64,
    meter: Option<String>,
    sum: Option<String>,
    max: Option<String>,
    min: Option<String>,
    latest: Option<String>,
    unique_count: Option<i64>,
    event_count: Option<i64>,
}

/// The latest value is looked up apart, and only where there is one: as an aggregate, all rows of all
/// meters would be sorted for it, which takes longer than everything else.
const USAGE: &str = "SELECT a.place, p.partition, p.generation, p.folded_to,
        u.meter, u.sum, u.max, u.min, l.latest, coalesce(q.unique_count, 0) AS unique_count, u.event_count
    FROM unnest($1::integer[], $2::integer[], $3::text[], $4::timestamptz[], $5::timestamptz[])
        AS a (place, partition, tenant, starts_at, ends_at)
    JOIN journal_partition p ON p.partition = a.partition
    LEFT JOIN LATERAL (
        SELECT meter, sum(quantity)::text AS sum, max(quantity)::text AS max, min(quantity)::text AS min,
            max(latest_at) AS latest_at, sum(event_count)::bigint AS event_count
        FROM usage WHERE tenant = a.tenant AND hour >= a.starts_at AND hour < a.ends_at
        GROUP BY meter) AS u ON true
    LEFT JOIN LATERAL (
        SELECT quantity::text AS latest FROM usage
        WHERE u.latest_at IS NOT NULL AND tenant = a.tenant AND meter = u.meter
            AND hour >= a.starts_at AND hour < a.ends_at AND latest_at = u.latest_at
        ORDER BY latest_offset DESC, quantity DESC LIMIT 1) AS l ON true
    LEFT JOIN LATERAL (
        SELECT count(DISTINCT value_hash) AS unique_count
        FROM usage_unique WHERE tenant = a.tenant AND meter = u.meter AND hour >= a.starts_at AND hour < a.ends_at)
        AS q ON true
    ORDER BY a.place, u.meter";

/// Reads the usage of periods, in their order, all in one snapshot; `None` where the tenant's
/// partition was never counted.
pub async fn usage_of_periods(
    pool: &Pool,
    periods: &[SubscribedPeriod],
) -> Result<Vec<Option<PeriodUsage>>, StoreError> {
    let mut conn = pool.acquire().await.map_err(failed(ATTEMPT))?;
    usage_of(&mut conn, periods).await
}

/// The same inside a transaction: under READ COMMITTED the statement has its own snapshot.
pub(super) async fn usage_of(
    conn: &mut PgConnection,
    periods: &[SubscribedPeriod],
) -> Result<Vec<Option<PeriodUsage>>, StoreError> {
    let places: Vec<i32> = (0..).take(periods.len()).collect();
    let rows: Vec<Row> = sqlx::query_as(USAGE)
        .bind(places)
        .bind(periods.iter().map(|one| one.partition).collect::<Vec<_>>())
        .bind(periods.iter().map(|one| one.tenant.as_str()).collect::<Vec<_>>())
        .bind(periods.iter().map(|one| one.period.start.to_chrono()).collect::<Vec<_>>())
        .bind(periods.iter().map(|one| one.period.end.to_chrono()).collect::<Vec<_>>())
        .fetch_all(conn)
        .await
        .map_err(failed(ATTEMPT))?;
    let mut found: Vec<Option<PeriodUsage>> = vec![None; periods.len()];
    for row in rows {
        let place = usize::try_from(row.place).ok().and_then(|place| found.get_mut(place));
        let place = place.ok_or_else(|| StoreError::corrupt(ATTEMPT, "a row of no period"))?;
        let usage = place.get_or_insert_with(|| row.reached());
        usage.meters.extend(row.totals()?);
    }
    Ok(found)
}

impl Row {
    /// How far usage is folded, and nothing used yet.
    fn reached(&self) -> PeriodUsage {
        let (generation, partition, offset) = (self.generation, self.partition, self.folded_to);
        PeriodUsage { cut: Position { generation, partition, offset }, meters: Vec::new() }
    }

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
