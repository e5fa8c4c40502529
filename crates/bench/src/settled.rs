//! Waiting until everything in the topic is counted, folded and projected, and whether the totals
//! are right then: a bench whose totals differ has measured nothing.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sqlx::PgPool;
use weir_load::Totals;

use crate::weir::Serving;

const POLL: Duration = Duration::from_millis(50);
/// Longer than any backlog should take.
const PATIENCE: Duration = Duration::from_secs(1_800);

const COUNTED: &str = "SELECT coalesce(sum(next_offset - first_offset), 0)::bigint FROM journal_partition";
const EVENTS: &str = "SELECT coalesce(sum(read_count - control_count), 0)::bigint FROM batch";
const SETTLED: &str =
    "SELECT coalesce(bool_and(projected_to = next_offset AND rolled_to = next_offset), false)
    FROM journal_partition";
const TOTALS: &str = "SELECT tenant || E'\t' || meter || E'\t' || sum(quantity) || E'\t' || sum(event_count)
    FROM usage GROUP BY tenant, meter";

/// Waits until so many records that are no limits and no ticks have been judged.
pub(crate) async fn judged(ledger: &PgPool, serving: &mut Serving, records: u64) -> Result<()> {
    let records = i64::try_from(records).context("a number of records")?;
    until(serving, || async { Ok(number(ledger, EVENTS).await? >= records) }).await
}

/// Waits until all that is counted is projected.
pub(crate) async fn projected(ledger: &PgPool, serving: &mut Serving) -> Result<()> {
    until(serving, || async {
        sqlx::query_scalar(SETTLED).fetch_one(ledger).await.context("ask whether all is settled")
    })
    .await
}

/// Whether the ledger's totals are the expected ones.
pub(crate) async fn compare(ledger: &PgPool, expected: &Totals) -> Result<()> {
    let found: Vec<String> =
        sqlx::query_scalar(TOTALS).fetch_all(ledger).await.context("read the ledger's totals")?;
    let differences = expected.compare(found.iter().map(String::as_str))?;
    ensure!(differences.is_empty(), "{} totals differ; the first: {:?}", differences.len(), differences[0]);
    Ok(())
}

/// Waits until something is so; an error when the serving process ends meanwhile.
pub(crate) async fn until<F: Future<Output = Result<bool>>>(
    serving: &mut Serving,
    mut done: impl FnMut() -> F,
) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !done().await? {
        serving.check()?;
        ensure!(Instant::now() < deadline, "not done after {} s", PATIENCE.as_secs());
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

/// How many records are counted, of whatever kind.
pub(crate) async fn records(ledger: &PgPool) -> Result<i64> {
    number(ledger, COUNTED).await
}

/// A whole number that the ledger is asked for.
pub(crate) async fn number(ledger: &PgPool, query: &'static str) -> Result<i64> {
    sqlx::query_scalar(query).fetch_one(ledger).await.context("ask the ledger")
}

/// Any number that the ledger is asked for.
pub(crate) async fn float(ledger: &PgPool, query: &'static str) -> Result<f64> {
    sqlx::query_scalar(query).fetch_one(ledger).await.context("ask the ledger")
}
