//! The monthly partitions of the usage tables, made before the first row of a month.

use std::collections::BTreeSet;

use chrono::{Datelike, Months, NaiveDate};
use sqlx::AssertSqlSafe;
use weir_core::Timestamp;

use crate::StoreError;
use crate::postgres::Pool;

const ATTEMPT: &str = "make a month's table of usage";
const EXISTS: &str = "SELECT to_regclass($1) IS NOT NULL";
/// Any number that nothing else locks: one process makes tables at a time.
const LOCK: &str = "SELECT pg_advisory_xact_lock(1466262898, -1)";

/// The first day of the month of an instant.
fn month_of(at: Timestamp) -> Option<NaiveDate> {
    at.to_chrono().date_naive().with_day(1)
}

/// Makes the tables that hours of usage need.
pub(super) async fn ensure(pool: &Pool, hours: impl Iterator<Item = Timestamp>) -> Result<(), StoreError> {
    let months: BTreeSet<NaiveDate> = hours.filter_map(month_of).collect();
    for month in months {
        for table in ["usage", "usage_unique"] {
            ensure_table(pool, table, month).await?;
        }
    }
    Ok(())
}

async fn ensure_table(pool: &Pool, table: &str, month: NaiveDate) -> Result<(), StoreError> {
    let failed = |error: sqlx::Error| StoreError::postgres(ATTEMPT, &error);
    let name = format!("{table}_{}", month.format("%Y_%m"));
    let exists: bool = sqlx::query_scalar(EXISTS).bind(&name).fetch_one(pool).await.map_err(failed)?;
    let Some(next) = month.checked_add_months(Months::new(1)).filter(|_| !exists) else { return Ok(()) };
    let mut transaction = pool.begin().await.map_err(failed)?;
    sqlx::query(LOCK).execute(&mut *transaction).await.map_err(failed)?;
    // The name and the bounds are made of digits and known words.
    let statement = format!(
        "CREATE TABLE IF NOT EXISTS {name} PARTITION OF {table}
         FOR VALUES FROM ('{month} 00:00:00+00') TO ('{next} 00:00:00+00')"
    );
    match sqlx::query(AssertSqlSafe(statement)).execute(&mut *transaction).await {
        Ok(_) => transaction.commit().await.map_err(failed),
        // Rows of that month stand in the default table already; there they stay.
        Err(error) if error.as_database_error().is_some_and(|e| e.code().as_deref() == Some("23514")) => {
            tracing::warn!(table = name, "usage of this month stays in the default table");
            Ok(())
        }
        Err(error) => Err(failed(error)),
    }
}
