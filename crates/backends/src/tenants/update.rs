//! Changing what people gave: name, domain, plan, mail address. A change of plan holds from
//! the next billing period: the running subscription ends there and another one begins, so
//! that no period is ever billed by two plans. Zone, anchor and currency never change.

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::PgConnection;
use weir_core::Timestamp;

use super::create::{INSERT_SUBSCRIPTION, plan_currency, taken};
use super::input::Problems;
use super::tenant::{self, Status, Tenant};
use super::{TenantError, audit};
use crate::StoreError;
use crate::postgres::Pool;

/// What a tenant should be from now on: all of it.
#[derive(Clone, Debug)]
pub struct TenantUpdate {
    /// For people and invoices.
    pub name: String,
    /// Its domain.
    pub domain: String,
    /// The plan's key.
    pub plan: String,
    /// Who is written to.
    pub admin_email: String,
}

const LOCK: &str = "SELECT revision FROM tenant WHERE id = $1 FOR UPDATE";
const UPDATE: &str = "UPDATE tenant SET name = $2, domain = $3, admin_email = $4,
    revision = revision + 1, updated_at = $5 WHERE id = $1";
const RUNNING: &str = "SELECT id, starts_at FROM subscription WHERE tenant = $1 AND ends_at IS NULL";
const NEXT_BOUND: &str = "SELECT min(bound) FROM (
        SELECT starts_at AS bound FROM billing_period WHERE tenant = $1 AND starts_at > $2
        UNION ALL SELECT ends_at FROM billing_period WHERE tenant = $1 AND ends_at > $2) b";
const SET_PLAN: &str = "UPDATE subscription SET plan = $2 WHERE id = $1";
const END: &str = "UPDATE subscription SET ends_at = $2 WHERE id = $1";

/// Changes a tenant whose revision is still `expected` (`None`: whatever it is) and returns it
/// as stored.
///
/// # Errors
/// [`TenantError::Revision`] when someone else was faster; [`TenantError::Invalid`] with
/// every member that breaks a rule.
pub async fn update(
    pool: &Pool,
    id: &str,
    expected: Option<i64>,
    change: TenantUpdate,
    now: Timestamp,
    actor: &str,
) -> Result<Tenant, TenantError> {
    const ATTEMPT: &str = "update a tenant";
    let failed = |error: sqlx::Error| StoreError::postgres(ATTEMPT, &error);
    let mut tx = pool.begin().await.map_err(failed)?;
    let revision: Option<i64> =
        sqlx::query_scalar(LOCK).bind(id).fetch_optional(&mut *tx).await.map_err(failed)?;
    let current = revision.ok_or_else(|| TenantError::not_found("tenant", id))?;
    let before = tenant::read(&mut *tx, id).await?.ok_or_else(|| TenantError::not_found("tenant", id))?;
    if let Some(expected) = expected.filter(|expected| *expected != current) {
        return Err(TenantError::Revision { expected, current });
    }
    if matches!(before.status, Status::Offboarding | Status::Deleted) {
        let status = before.status.word();
        return Err(TenantError::State(format!("the tenant is {status} and can no longer be changed")));
    }
    check(&mut tx, &change, &before).await?;
    let domain = change.domain.to_ascii_lowercase();
    sqlx::query(UPDATE)
        .bind(id)
        .bind(&change.name)
        .bind(&domain)
        .bind(&change.admin_email)
        .bind(now.to_chrono())
        .execute(&mut *tx)
        .await
        .map_err(|error| taken(&error, id, &domain))?;
    if change.plan != before.plan {
        change_plan(&mut tx, &before, &change.plan, now).await?;
    }
    let detail = json!({
        "name": change.name, "domain": domain, "plan": change.plan, "admin_email": change.admin_email,
        "plan_before": before.plan,
    });
    audit::record(&mut tx, now, actor, "tenant.updated", Some(id), detail).await?;
    let stored = tenant::read(&mut *tx, id).await?;
    tx.commit().await.map_err(failed)?;
    stored.ok_or_else(|| TenantError::not_found("tenant", id))
}

async fn check(conn: &mut PgConnection, change: &TenantUpdate, before: &Tenant) -> Result<(), TenantError> {
    let mut problems = Problems::default();
    problems.check_name("/name", &change.name);
    problems.check_domain("/domain", &change.domain);
    problems.check_email("/adminEmail", &change.admin_email);
    match plan_currency(conn, &change.plan).await? {
        None => problems.add("/plan", "is not the key of a published plan"),
        Some(currency) if currency != before.currency => problems.add(
            "/plan",
            format!("is priced in {currency}, but the tenant is billed in {}", before.currency),
        ),
        Some(_) => {}
    }
    let problems = problems.into_inner();
    if problems.is_empty() { Ok(()) } else { Err(TenantError::Invalid(problems)) }
}

async fn change_plan(
    conn: &mut PgConnection,
    before: &Tenant,
    plan: &str,
    now: Timestamp,
) -> Result<(), TenantError> {
    let failed = |error: sqlx::Error| StoreError::postgres("change a tenant's plan", &error);
    let tenant = before.id.as_str();
    let running: Option<(String, DateTime<Utc>)> =
        sqlx::query_as(RUNNING).bind(tenant).fetch_optional(&mut *conn).await.map_err(failed)?;
    let (subscription, starts_at) =
        running.ok_or_else(|| TenantError::State("the tenant has no running subscription".into()))?;
    if Timestamp::from(starts_at) > now {
        sqlx::query(SET_PLAN).bind(subscription).bind(plan).execute(conn).await.map_err(failed)?;
        return Ok(());
    }
    let bound: Option<DateTime<Utc>> = sqlx::query_scalar(NEXT_BOUND)
        .bind(tenant)
        .bind(now.to_chrono())
        .fetch_one(&mut *conn)
        .await
        .map_err(failed)?;
    let bound = bound.unwrap_or_else(|| now.to_chrono());
    sqlx::query(END).bind(subscription).bind(bound).execute(&mut *conn).await.map_err(failed)?;
    sqlx::query(INSERT_SUBSCRIPTION)
        .bind(format!("sub_{}", uuid::Uuid::now_v7().simple()))
        .bind(tenant)
        .bind(plan)
        .bind(&before.legal_entity)
        .bind(bound)
        .bind(now.to_chrono())
        .execute(conn)
        .await
        .map_err(failed)?;
    Ok(())
}
