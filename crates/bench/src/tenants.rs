//! A great many tenants at once, straight into the ledger. It is the only place that writes
//! Weir's tables from outside: through the API a million tenants take a quarter of an hour.

use anyhow::{Context, Result};
use sqlx::PgPool;

/// Tenants `load-0000000` and on, in UTC, billed from the first of a month.
const TENANTS: &str = "INSERT INTO tenant (id, name, domain, admin_email, status, zone, hour_alignment,
        anchor, currency, created_at, updated_at)
    SELECT 'load-' || lpad(n::text, 7, '0'), 'Load ' || n, 'load-' || n || '.example.com',
        'admin@load-' || n || '.example.com', 'active', 'UTC', 0,
        (date_trunc('month', now() AT TIME ZONE 'UTC') - make_interval(months => $2))::date, 'USD', now(), now()
    FROM generate_series(0, $1 - 1) AS n";
const SUBSCRIPTIONS: &str = "INSERT INTO subscription (id, tenant, plan, legal_entity, starts_at, created_at)
    SELECT 'sub_' || id, id, 'load', 'load', anchor::timestamp AT TIME ZONE 'UTC', now() FROM tenant";
/// Twelve months ahead: with less than ten, Weir would write more while it is measured.
const PERIODS: &str = "INSERT INTO billing_period (tenant, number, starts_at, ends_at)
    SELECT id, n, (anchor + make_interval(months => n)) AT TIME ZONE 'UTC',
        (anchor + make_interval(months => n + 1)) AT TIME ZONE 'UTC'
    FROM tenant CROSS JOIN generate_series(0, 11) AS n";
const BUMP: &str = "UPDATE catalog_head SET version = given_once(version)";
/// What a server that has run for a while would have done.
const SETTLE: &[&str] = &["VACUUM ANALYZE tenant", "VACUUM ANALYZE billing_period", "CHECKPOINT"];

/// Makes them; their first billing period began `months_ago`.
pub(crate) async fn create(ledger: &PgPool, tenants: u32, months_ago: i32) -> Result<()> {
    let count = i64::from(tenants);
    let mut tx = ledger.begin().await.context("begin")?;
    sqlx::query(TENANTS).bind(count).bind(months_ago).execute(&mut *tx).await.context("write tenants")?;
    for statement in [SUBSCRIPTIONS, PERIODS, BUMP] {
        sqlx::query(statement).execute(&mut *tx).await.context("write tenants")?;
    }
    tx.commit().await.context("write tenants")?;
    for statement in SETTLE {
        sqlx::query(*statement).execute(ledger).await.context("settle the ledger")?;
    }
    Ok(())
}
