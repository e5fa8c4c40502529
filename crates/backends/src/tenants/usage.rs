//! What a tenant used, from the folded usage rows: by meter, by hour, by dimension values.
//! It merges rows as the meter's aggregation says, exactly; what was committed in the last
//! seconds and is not folded yet is not in it.

use chrono::{DateTime, Utc};
use weir_core::{Quantity, Span, TenantId, Timestamp};

use crate::StoreError;
use crate::postgres::Pool;

/// The most rows that one answer holds.
pub const ROWS_MAX: i64 = 10_000;

/// What to ask for.
#[derive(Clone, Debug)]
pub struct UsageQuery {
    /// Whose.
    pub tenant: TenantId,
    /// Hours that begin inside.
    pub span: Span,
    /// One meter, or all.
    pub meter: Option<String>,
    /// Whether hours are kept apart.
    pub by_hour: bool,
    /// Whether dimension values are kept apart.
    pub by_dimensions: bool,
}

/// One line of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageLine {
    /// Which meter.
    pub meter: String,
    /// The meter's unit; empty where the meter is no longer published.
    pub unit: String,
    /// Start of the hour, when hours are kept apart.
    pub hour: Option<Timestamp>,
    /// Canonical JSON, when dimension values are kept apart.
    pub dimensions: Option<String>,
    /// How much.
    pub quantity: Quantity,
    /// From how many events.
    pub event_count: i64,
}

#[derive(sqlx::FromRow)]
struct UsageRow {
    meter: String,
    unit: String,
    hour: Option<DateTime<Utc>>,
    dimensions: Option<String>,
    quantity: String,
    event_count: i64,
}

/// A meter's aggregation is that of its first version: it never changes. A value of a `unique`
/// meter counts once in each line, as on an invoice, whatever dimension values it came with.
const USAGE: &str = "WITH meter AS (
        SELECT DISTINCT ON (key) key, definition->>'aggregation' AS aggregation, definition->>'unit' AS unit
        FROM meter_version ORDER BY key, version),
    total AS (
        SELECT u.meter, CASE WHEN $5 THEN u.hour END AS hour, CASE WHEN $6 THEN u.dimensions END AS dimensions,
            sum(u.quantity) AS summed, max(u.quantity) AS highest, min(u.quantity) AS lowest,
            (array_agg(u.quantity ORDER BY u.latest_at DESC NULLS LAST, u.generation DESC,
                u.latest_offset DESC))[1] AS latest,
            sum(u.event_count)::bigint AS event_count
        FROM usage u
        WHERE u.tenant = $1 AND u.hour >= $2 AND u.hour < $3 AND ($4::text IS NULL OR u.meter = $4)
        GROUP BY 1, 2, 3),
    different AS (
        SELECT u.meter, CASE WHEN $5 THEN u.hour END AS hour, CASE WHEN $6 THEN u.dimensions END AS dimensions,
            count(DISTINCT u.value_hash) AS counted
        FROM usage_unique u
        WHERE u.tenant = $1 AND u.hour >= $2 AND u.hour < $3 AND ($4::text IS NULL OR u.meter = $4)
        GROUP BY 1, 2, 3)
    SELECT t.meter, coalesce(m.unit, '') AS unit, t.hour, t.dimensions,
        (CASE m.aggregation WHEN 'max' THEN t.highest WHEN 'min' THEN t.lowest WHEN 'latest' THEN t.latest
            WHEN 'unique' THEN coalesce(d.counted, 0)::numeric ELSE t.summed END)::text AS quantity,
        t.event_count
    FROM total t
    LEFT JOIN meter m ON m.key = t.meter
    LEFT JOIN different d ON d.meter = t.meter AND d.hour IS NOT DISTINCT FROM t.hour
        AND d.dimensions IS NOT DISTINCT FROM t.dimensions
    ORDER BY t.meter, t.hour, t.dimensions LIMIT $7";

/// The usage in a span, by rising meter, hour and dimensions; at most [`ROWS_MAX`] lines.
pub async fn read(pool: &Pool, query: &UsageQuery) -> Result<Vec<UsageLine>, StoreError> {
    const ATTEMPT: &str = "read a tenant's usage";
    let rows: Vec<UsageRow> = sqlx::query_as(USAGE)
        .bind(query.tenant.as_str())
        .bind(query.span.start.to_chrono())
        .bind(query.span.end.to_chrono())
        .bind(&query.meter)
        .bind(query.by_hour)
        .bind(query.by_dimensions)
        .bind(ROWS_MAX)
        .fetch_all(pool)
        .await
        .map_err(|error| StoreError::postgres(ATTEMPT, &error))?;
    let line = |row: UsageRow| {
        let quantity = Quantity::parse_total(&row.quantity)
            .map_err(|error| StoreError::corrupt(ATTEMPT, format!("{}: {error}", row.quantity)))?;
        Ok(UsageLine {
            meter: row.meter,
            unit: row.unit,
            hour: row.hour.map(Timestamp::from),
            dimensions: row.dimensions,
            quantity,
            event_count: row.event_count,
        })
    };
    rows.into_iter().map(line).collect()
}

const METER_EXISTS: &str = "SELECT EXISTS (SELECT FROM meter_version WHERE key = $1)";

/// Whether a meter of that key was ever published, whatever the text.
pub async fn meter_exists(pool: &Pool, key: &str) -> Result<bool, StoreError> {
    if key.contains('\0') {
        return Ok(false);
    }
    sqlx::query_scalar(METER_EXISTS)
        .bind(key)
        .fetch_one(pool)
        .await
        .map_err(|error| StoreError::postgres("look for a meter", &error))
}

const CURRENT_PERIOD: &str = "SELECT starts_at, ends_at FROM billing_period
    WHERE tenant = $1 AND starts_at <= $2 AND ends_at > $2";

/// The billing period that holds `at`, as stored.
pub async fn period_at(pool: &Pool, tenant: &TenantId, at: Timestamp) -> Result<Option<Span>, StoreError> {
    let found: Option<(DateTime<Utc>, DateTime<Utc>)> = sqlx::query_as(CURRENT_PERIOD)
        .bind(tenant.as_str())
        .bind(at.to_chrono())
        .fetch_optional(pool)
        .await
        .map_err(|error| StoreError::postgres("read a billing period", &error))?;
    Ok(found.map(|(start, end)| Span { start: start.into(), end: end.into() }))
}
