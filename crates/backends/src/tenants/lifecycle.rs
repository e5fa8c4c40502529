//! Suspending and reactivating. Suspension changes what the API takes, never what is counted
//! (invariant 10). Doing it twice changes nothing the second time, but for another reason that is
//! given.

use serde_json::json;
use weir_core::Timestamp;

use super::tenant::{self, Status, Tenant};
use super::{TenantError, audit};
use crate::StoreError;
use crate::postgres::Pool;

const LOCK: &str = "SELECT status, status_reason FROM tenant WHERE id = $1 FOR UPDATE";
const SET_STATUS: &str = "UPDATE tenant SET status = $2, status_reason = $3, revision = revision + 1,
    updated_at = $4 WHERE id = $1";

/// Suspends a tenant: its events are refused from now on, by name.
///
/// # Errors
/// [`TenantError::State`] for one that is leaving or gone.
pub async fn suspend(
    pool: &Pool,
    id: &str,
    reason: Option<&str>,
    now: Timestamp,
    actor: &str,
) -> Result<Tenant, TenantError> {
    change(pool, id, Status::Suspended, reason, now, actor).await
}

/// Undoes a suspension.
///
/// # Errors
/// [`TenantError::State`] for a tenant that is leaving or gone.
pub async fn reactivate(pool: &Pool, id: &str, now: Timestamp, actor: &str) -> Result<Tenant, TenantError> {
    change(pool, id, Status::Active, None, now, actor).await
}

async fn change(
    pool: &Pool,
    id: &str,
    to: Status,
    reason: Option<&str>,
    now: Timestamp,
    actor: &str,
) -> Result<Tenant, TenantError> {
    const ATTEMPT: &str = "change a tenant's status";
    let failed = |error: sqlx::Error| StoreError::postgres(ATTEMPT, &error);
    let mut tx = pool.begin().await.map_err(failed)?;
    let found: Option<(String, Option<String>)> =
        sqlx::query_as(LOCK).bind(id).fetch_optional(&mut *tx).await.map_err(failed)?;
    let (from, earlier) = found.ok_or_else(|| TenantError::not_found("tenant", id))?;
    if from == Status::Offboarding.word() || from == Status::Deleted.word() {
        return Err(TenantError::State(format!("the tenant is {from}; that cannot be undone")));
    }
    let changes = match to {
        Status::Suspended => from != to.word() || (reason.is_some() && reason != earlier.as_deref()),
        _ => from == Status::Suspended.word(),
    };
    if changes {
        sqlx::query(SET_STATUS)
            .bind(id)
            .bind(to.word())
            .bind(reason)
            .bind(now.to_chrono())
            .execute(&mut *tx)
            .await
            .map_err(failed)?;
        let action = if to == Status::Suspended { "tenant.suspended" } else { "tenant.reactivated" };
        crate::catalog::bump(&mut tx).await?;
        audit::record(&mut tx, now, actor, action, Some(id), json!({ "from": from, "reason": reason }))
            .await?;
    }
    let stored = tenant::read(&mut *tx, id).await?;
    tx.commit().await.map_err(failed)?;
    stored.ok_or_else(|| TenantError::not_found("tenant", id))
}
