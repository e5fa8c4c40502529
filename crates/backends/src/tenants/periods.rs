//! Billing periods as rows: computed once from the tenant's calendar, thirteen months
//! ahead, and never computed again: not even when the zone's rules change, so the next one
//! begins where the last stored one ends. Period 0 begins on the anchor.

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::PgConnection;
use weir_core::calendar::CalendarError;
use weir_core::time::DAY_MS;
use weir_core::{BillingCalendar, Span, Timestamp};

use super::TenantError;
use crate::StoreError;
use crate::postgres::Pool;

/// How far ahead periods are written: 13 months of at most 31 days.
pub const AHEAD_MS: i64 = 13 * 31 * DAY_MS;
/// Tenants whose periods end within this are given more: ten months.
const RUNNING_OUT_MS: i64 = 300 * DAY_MS;

const INSERT: &str = "INSERT INTO billing_period (tenant, number, starts_at, ends_at)
    SELECT $1, number, starts_at, ends_at
    FROM unnest($2::integer[], $3::timestamptz[], $4::timestamptz[]) AS p (number, starts_at, ends_at)
    ON CONFLICT (tenant, number) DO NOTHING";
const LAST: &str = "SELECT number, ends_at FROM billing_period
    WHERE tenant = $1 ORDER BY number DESC LIMIT 1";
const RUNNING_OUT: &str = "SELECT t.id, t.zone, t.anchor
    FROM tenant t LEFT JOIN billing_period p ON p.tenant = t.id
    WHERE t.status IN ('active', 'trial', 'suspended')
    GROUP BY t.id HAVING coalesce(max(p.ends_at), '-infinity') < $1
    ORDER BY t.id LIMIT 1000";

/// Writes the periods of one tenant until thirteen months from `now`; those that are there stay.
pub(super) async fn write(
    conn: &mut PgConnection,
    tenant: &str,
    calendar: &BillingCalendar,
    now: Timestamp,
) -> Result<u64, TenantError> {
    let failed = |error| StoreError::postgres("read a tenant's last billing period", &error);
    let last: Option<(i32, DateTime<Utc>)> =
        sqlx::query_as(LAST).bind(tenant).fetch_optional(&mut *conn).await.map_err(failed)?;
    let last = last.map(|(number, end)| (number, Timestamp::from(end)));
    let until = now.plus_millis(AHEAD_MS);
    let spans =
        following(calendar, last, until).map_err(|e| TenantError::invalid("/anchor", e.to_string()))?;
    let first = last.map_or(0, |(number, _)| number + 1);
    let numbers: Vec<i32> = (first..).take(spans.len()).collect();
    let starts: Vec<_> = spans.iter().map(|span| span.start.to_chrono()).collect();
    let ends: Vec<_> = spans.iter().map(|span| span.end.to_chrono()).collect();
    let done = sqlx::query(INSERT)
        .bind(tenant)
        .bind(numbers)
        .bind(starts)
        .bind(ends)
        .execute(conn)
        .await
        .map_err(|error| StoreError::postgres("write billing periods", &error))?;
    Ok(done.rows_affected())
}

/// The periods after the last one that is stored, which begin before `until`; period 0 where
/// none is stored.
fn following(
    calendar: &BillingCalendar,
    last: Option<(i32, Timestamp)>,
    until: Timestamp,
) -> Result<Vec<Span>, CalendarError> {
    let Some((number, mut end)) = last else {
        let spans = calendar.periods_until(until)?;
        return if spans.is_empty() { Ok(vec![calendar.period(0)?]) } else { Ok(spans) };
    };
    let mut spans = Vec::new();
    let next = u32::try_from(number).map_or(0, |number| number.saturating_add(1));
    for number in next.. {
        if end >= until {
            break;
        }
        let span = Span { start: end, end: calendar.period(number)?.end };
        end = span.end;
        spans.push(span);
    }
    Ok(spans)
}

/// Gives more periods to tenants that run out of them within ten months. Meant to be
/// called every day or so; returns how many periods were written.
pub async fn extend_periods(pool: &Pool, now: Timestamp) -> Result<u64, TenantError> {
    const ATTEMPT: &str = "extend billing periods";
    let failed = |error| StoreError::postgres(ATTEMPT, &error);
    let mut written = 0;
    let bound = now.plus_millis(RUNNING_OUT_MS).to_chrono();
    let short: Vec<(String, String, NaiveDate)> =
        sqlx::query_as(RUNNING_OUT).bind(bound).fetch_all(pool).await.map_err(failed)?;
    if short.is_empty() {
        return Ok(0);
    }
    let mut tx = pool.begin().await.map_err(failed)?;
    for (tenant, zone, anchor) in short {
        let calendar = BillingCalendar::new(&zone, anchor)
            .map_err(|error| StoreError::corrupt(ATTEMPT, format!("tenant {tenant}: {error}")))?;
        written += write(&mut tx, &tenant, &calendar, now).await?;
    }
    if written > 0 {
        crate::catalog::bump(&mut tx).await?;
    }
    tx.commit().await.map_err(failed)?;
    Ok(written)
}
