//! A tenant leaves: its subscription ends, its keys are revoked, its events are refused. It
//! stays `offboarding` as long as a period is not billed or an invoice is open, and says what
//! is left; after that it is `deleted`. What was counted and billed is kept either way.

use serde_json::json;
use sqlx::PgConnection;
use weir_core::Timestamp;

use super::tenant::{self, Status, Tenant};
use super::{TenantError, audit};
use crate::StoreError;
use crate::postgres::Pool;

/// How far an offboarding has come.
#[derive(Clone, Debug)]
pub struct Offboarding {
    /// The tenant: `offboarding`, or `deleted` when nothing was left.
    pub tenant: Tenant,
    /// What is left before it can be deleted, in words.
    pub remaining: Vec<String>,
}

const LOCK: &str = "SELECT status FROM tenant WHERE id = $1 FOR UPDATE";
const END_SUBSCRIPTION: &str =
    "UPDATE subscription SET ends_at = greatest($2, starts_at) WHERE tenant = $1 AND ends_at IS NULL";
const REVOKE_KEYS: &str = "UPDATE api_key SET revoked_at = $2 WHERE tenant = $1 AND revoked_at IS NULL";
const DISABLE_WEBHOOKS: &str = "UPDATE webhook_endpoint SET disabled_at = $2,
    disabled_why = 'the tenant was offboarded' WHERE tenant = $1 AND disabled_at IS NULL";
/// A document over nothing is owed by nobody.
const OPEN_INVOICES: &str = "SELECT count(*) FROM invoice
    WHERE tenant = $1 AND status = 'finalized' AND total <> 0";
/// Periods that a subscription covered and that have no document.
const UNBILLED: &str = "SELECT count(*) FROM billing_period p
    JOIN subscription s ON s.tenant = p.tenant
        AND p.ends_at > s.starts_at AND p.starts_at < coalesce(s.ends_at, $2)
    WHERE p.tenant = $1 AND NOT EXISTS (SELECT 1 FROM invoice i
        WHERE i.subscription = s.id AND i.period_start = p.starts_at AND i.sequence = 0)";
const SET_STATUS: &str = "UPDATE tenant SET status = $2, status_reason = $3, revision = revision + 1,
    updated_at = $4, deleted_at = CASE WHEN $2 = 'deleted' THEN $4 END WHERE id = $1";

/// Begins an offboarding, or looks again whether one that began can be completed.
pub async fn offboard(
    pool: &Pool,
    id: &str,
    now: Timestamp,
    actor: &str,
) -> Result<Offboarding, TenantError> {
    const ATTEMPT: &str = "offboard a tenant";
    let failed = |error: sqlx::Error| StoreError::postgres(ATTEMPT, &error);
    let mut tx = pool.begin().await.map_err(failed)?;
    let found: Option<String> =
        sqlx::query_scalar(LOCK).bind(id).fetch_optional(&mut *tx).await.map_err(failed)?;
    let from = found.ok_or_else(|| TenantError::not_found("tenant", id))?;
    if from != Status::Deleted.word() {
        for statement in [END_SUBSCRIPTION, REVOKE_KEYS, DISABLE_WEBHOOKS] {
            sqlx::query(statement).bind(id).bind(now.to_chrono()).execute(&mut *tx).await.map_err(failed)?;
        }
    }
    let remaining = remaining(&mut tx, id, now).await?;
    let to = if remaining.is_empty() { Status::Deleted } else { Status::Offboarding };
    if from != to.word() && from != Status::Deleted.word() {
        let reason = (!remaining.is_empty()).then(|| remaining.join("; "));
        sqlx::query(SET_STATUS)
            .bind(id)
            .bind(to.word())
            .bind(reason)
            .bind(now.to_chrono())
            .execute(&mut *tx)
            .await
            .map_err(failed)?;
        crate::catalog::bump(&mut tx).await?;
        let action = if to == Status::Deleted { "tenant.deleted" } else { "tenant.offboarding" };
        let detail = json!({ "from": from, "remaining": remaining });
        audit::record(&mut tx, now, actor, action, Some(id), detail).await?;
    }
    let stored = tenant::read(&mut *tx, id).await?;
    tx.commit().await.map_err(failed)?;
    let tenant = stored.ok_or_else(|| TenantError::not_found("tenant", id))?;
    Ok(Offboarding { tenant, remaining })
}

async fn remaining(conn: &mut PgConnection, id: &str, now: Timestamp) -> Result<Vec<String>, StoreError> {
    let failed = |error: sqlx::Error| StoreError::postgres("look for open invoices", &error);
    let unbilled: i64 = sqlx::query_scalar(UNBILLED)
        .bind(id)
        .bind(now.to_chrono())
        .fetch_one(&mut *conn)
        .await
        .map_err(failed)?;
    let open: i64 = sqlx::query_scalar(OPEN_INVOICES).bind(id).fetch_one(conn).await.map_err(failed)?;
    let mut remaining = Vec::new();
    if unbilled > 0 {
        remaining.push(format!("{unbilled} billing period(s) not billed"));
    }
    if open > 0 {
        remaining.push(format!("{open} invoice(s) not paid"));
    }
    Ok(remaining)
}
