//! The audit trail: who changed what, and when, written in the transaction of the change.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;
use weir_core::Timestamp;

use crate::StoreError;
use crate::postgres::Pool;

/// One change.
#[derive(Clone, Debug)]
pub struct AuditEntry {
    /// When.
    pub at: Timestamp,
    /// Who: the id of an API key, or `cli`.
    pub actor: String,
    /// What: `tenant.suspended`.
    pub action: String,
    /// Of which tenant.
    pub tenant: Option<String>,
    /// The rest.
    pub detail: Value,
}

const INSERT: &str = "INSERT INTO audit_entry (id, at, actor, action, tenant, detail)
    VALUES ($1, $2, $3, $4, $5, $6)";
const OF_TENANT: &str = "SELECT at, actor, action, tenant, detail FROM audit_entry
    WHERE tenant = $1 ORDER BY at DESC, id DESC LIMIT $2";

/// Writes an entry in the caller's transaction.
pub async fn record(
    conn: &mut PgConnection,
    now: Timestamp,
    actor: &str,
    action: &str,
    tenant: Option<&str>,
    detail: Value,
) -> Result<(), StoreError> {
    sqlx::query(INSERT)
        .bind(uuid::Uuid::now_v7())
        .bind(now.to_chrono())
        .bind(actor)
        .bind(action)
        .bind(tenant)
        .bind(detail)
        .execute(conn)
        .await
        .map(|_| ())
        .map_err(|error| StoreError::postgres("write the audit trail", &error))
}

/// The newest entries of a tenant.
pub async fn of_tenant(pool: &Pool, tenant: &str, limit: i64) -> Result<Vec<AuditEntry>, StoreError> {
    type Row = (DateTime<Utc>, String, String, Option<String>, Value);
    let rows: Vec<Row> = sqlx::query_as(OF_TENANT)
        .bind(tenant)
        .bind(limit)
        .fetch_all(pool)
        .await
        .map_err(|error| StoreError::postgres("read the audit trail", &error))?;
    let entry = |(at, actor, action, tenant, detail)| AuditEntry {
        at: Timestamp::from(at),
        actor,
        action,
        tenant,
        detail,
    };
    Ok(rows.into_iter().map(entry).collect())
}
