//! The monthly partitions of the usage tables. They are made ahead, beside the tables first, and
//! attached when nobody is in the way: folding never waits for one. Usage of a month that has no
//! table stands in the default table, and stays there.

use chrono::{Datelike, Months, NaiveDate};
use sqlx::{AssertSqlSafe, PgConnection};
use weir_core::Timestamp;

use crate::StoreError;
use crate::postgres::Pool;

const ATTEMPT: &str = "make a month's table of usage";
/// Months that are made ahead, the present one left out.
const AHEAD: u32 = 3;
/// Months before the present one into which an event may still fall.
const BEHIND: u32 = 2;
const ATTACHED: &str = "SELECT EXISTS (SELECT 1 FROM pg_inherits
    WHERE inhrelid = to_regclass($1) AND inhparent = to_regclass($2))";
/// Any number that nothing else locks: one process makes tables at a time.
const LOCK: &str = "SELECT pg_advisory_xact_lock(1466262898, -1)";
/// Whoever waits for a table's lock keeps all that come after it waiting, so nobody waits for
/// long behind a snapshot that is open for hours.
const PATIENCE: &str = "SET LOCAL lock_timeout = '2s'";

/// The tables, and how those of a month are stored: a usage row is updated by every fold of its
/// hour, so pages keep room for one more version of each.
const TABLES: [(&str, &str); 2] = [("usage", " WITH (fillfactor = 50)"), ("usage_unique", "")];

/// Makes the tables of the months around `now` that are missing. Meant to be called every hour
/// or so. A month whose table cannot be attached now is tried again the next time.
///
/// # Errors
/// When a table could not be made: usage is kept all the same.
pub async fn make_ahead(pool: &Pool, now: Timestamp) -> Result<(), StoreError> {
    let this = now.to_chrono().date_naive().with_day(1);
    let first = this.and_then(|this| this.checked_sub_months(Months::new(BEHIND)));
    let Some(first) = first else { return Ok(()) };
    for ahead in 0..=BEHIND + AHEAD {
        let Some(month) = first.checked_add_months(Months::new(ahead)) else { continue };
        for table in TABLES {
            ensure_table(pool, table, month).await?;
        }
    }
    Ok(())
}

async fn ensure_table(
    pool: &Pool,
    (table, stored): (&str, &str),
    month: NaiveDate,
) -> Result<(), StoreError> {
    let failed = |error: sqlx::Error| StoreError::postgres(ATTEMPT, &error);
    let name = format!("{table}_{}", month.format("%Y_%m"));
    let attached = sqlx::query_scalar(ATTACHED).bind(&name).bind(table).fetch_one(pool);
    if attached.await.map_err(failed)? {
        return Ok(());
    }
    let mut transaction = pool.begin().await.map_err(failed)?;
    match attach(&mut transaction, (table, stored), &name, month).await {
        Ok(()) => transaction.commit().await.map_err(failed),
        // Rows of that month stand in the default table already; there they stay.
        Err(error) if error.as_database_error().is_some_and(|e| e.code().as_deref() == Some("23514")) => {
            tracing::debug!(table = name, "usage of this month stays in the default table");
            Ok(())
        }
        Err(error) => Err(failed(error)),
    }
}

/// The name and the bounds are made of digits and known words.
async fn attach(
    connection: &mut PgConnection,
    (table, stored): (&str, &str),
    name: &str,
    month: NaiveDate,
) -> Result<(), sqlx::Error> {
    let Some(next) = month.checked_add_months(Months::new(1)) else { return Ok(()) };
    let bounds = format!("'{month} 00:00:00+00'");
    let end = format!("'{next} 00:00:00+00'");
    for statement in [LOCK.to_owned(), PATIENCE.to_owned()] {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut *connection).await?;
    }
    // With the CHECK in place, attaching reads nothing of the new table.
    let statements = [
        format!(
            "CREATE TABLE IF NOT EXISTS {name} (LIKE {table} INCLUDING ALL,
            CONSTRAINT {name}_month CHECK (hour >= {bounds} AND hour < {end})){stored}"
        ),
        format!("ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ({bounds}) TO ({end})"),
    ];
    for statement in statements {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut *connection).await?;
    }
    Ok(())
}
