//! The limits that someone asked for. They come into force through the journal: the change
//! and the control record that carries it are written in one transaction (invariant 16), and
//! the outbox delivers the record to the tenant's partition.
//!
//! Only a higher revision comes into force, so revisions rise with the clock: after a ledger
//! was restored, the journal may still hold records with revisions that it does not know.

use serde_json::json;
use weir_core::{TenantId, Timestamp};
use weir_metering::quota::{Limit, LimitSet};

use super::{TenantError, audit};
use crate::StoreError;
use crate::outbox::{self, OutboxKind, OutboxMessage};
use crate::postgres::Pool;

const GET: &str = "SELECT coalesce(l.revision, 0), l.limits::text FROM tenant t
    LEFT JOIN tenant_limits l ON l.tenant = t.id WHERE t.id = $1";
const LOCK: &str = "SELECT status FROM tenant WHERE id = $1 FOR UPDATE";
const REVISION: &str = "SELECT revision FROM tenant_limits WHERE tenant = $1";
const UPSERT: &str = "INSERT INTO tenant_limits (tenant, revision, limits, updated_at)
    VALUES ($1, $2, $3::jsonb, $4)
    ON CONFLICT (tenant) DO UPDATE SET revision = excluded.revision, limits = excluded.limits,
        updated_at = excluded.updated_at";

/// The limits that are asked for; revision 0 and none where nobody asked for any.
pub async fn get(pool: &Pool, tenant: &TenantId) -> Result<LimitSet, TenantError> {
    let found: Option<(i64, Option<String>)> = sqlx::query_as(GET)
        .bind(tenant.as_str())
        .fetch_optional(pool)
        .await
        .map_err(|error| StoreError::postgres("read a tenant's limits", &error))?;
    let (revision, text) = found.ok_or_else(|| TenantError::not_found("tenant", tenant.as_str()))?;
    let limits: Vec<Limit> = serde_json::from_str(text.as_deref().unwrap_or("[]"))
        .map_err(|error| StoreError::corrupt("read a tenant's limits", error))?;
    Ok(LimitSet { tenant: tenant.clone(), revision, limits })
}

/// Asks for limits, instead of all that were asked for before. Returns them with their new
/// revision. `expected` is the revision that the caller has seen; `None`: whatever it is.
///
/// # Errors
/// [`TenantError::Revision`] when someone else was faster; [`TenantError::Invalid`] for
/// limits that cannot come into force.
pub async fn put(
    pool: &Pool,
    tenant: &TenantId,
    limits: Vec<Limit>,
    expected: Option<i64>,
    now: Timestamp,
    actor: &str,
) -> Result<LimitSet, TenantError> {
    const ATTEMPT: &str = "change a tenant's limits";
    let failed = |error: sqlx::Error| StoreError::postgres(ATTEMPT, &error);
    let mut tx = pool.begin().await.map_err(failed)?;
    let status: Option<String> =
        sqlx::query_scalar(LOCK).bind(tenant.as_str()).fetch_optional(&mut *tx).await.map_err(failed)?;
    if status.ok_or_else(|| TenantError::not_found("tenant", tenant.as_str()))? == "deleted" {
        return Err(TenantError::State("the tenant is deleted and can no longer be changed".into()));
    }
    let current: Option<i64> =
        sqlx::query_scalar(REVISION).bind(tenant.as_str()).fetch_optional(&mut *tx).await.map_err(failed)?;
    let current = current.unwrap_or(0);
    if let Some(expected) = expected.filter(|expected| *expected != current) {
        return Err(TenantError::Revision { expected, current });
    }
    let revision = now.millis().max(current + 1);
    let set = LimitSet { tenant: tenant.clone(), revision, limits };
    set.validate().map_err(|error| TenantError::invalid("/limits", error.to_string()))?;
    sqlx::query(UPSERT)
        .bind(tenant.as_str())
        .bind(set.revision)
        .bind(json!(set.limits).to_string())
        .bind(now.to_chrono())
        .execute(&mut *tx)
        .await
        .map_err(failed)?;
    let message = OutboxMessage {
        id: format!("limits/{tenant}/{}", set.revision),
        kind: OutboxKind::Control,
        tenant: Some(tenant.to_string()),
        endpoint_id: None,
        topic_key: Some(tenant.to_string()),
        body: json!(set),
    };
    outbox::enqueue(&mut tx, &[message]).await?;
    let detail = json!({ "revision": set.revision, "limits": set.limits });
    audit::record(&mut tx, now, actor, "limits.changed", Some(tenant.as_str()), detail).await?;
    tx.commit().await.map_err(failed)?;
    Ok(set)
}
