//! Webhook endpoints: where alerts are sent. The secret is made here and shown once; it is
//! kept, since every message is signed with it. Whether an address is allowed is the API's
//! to say, and the sender's again when it connects.

use base64::Engine;
use chrono::{DateTime, Utc};
use rand::TryRngCore;
use serde_json::json;
use uuid::Uuid;
use weir_core::{TenantId, Timestamp};

use super::{TenantError, audit};
use crate::StoreError;
use crate::postgres::Pool;

/// Random bytes in a secret; Standard Webhooks wants 24 to 64.
const SECRET_BYTES: usize = 32;

/// An endpoint, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookEndpoint {
    /// Its id.
    pub id: Uuid,
    /// Whose; `None`: the platform's, which gets every tenant's events.
    pub tenant: Option<String>,
    /// Where to.
    pub url: String,
    /// Which events; empty: all.
    pub event_types: Vec<String>,
    /// When it stopped being used.
    pub disabled_at: Option<Timestamp>,
    /// Why.
    pub disabled_why: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
}

type Row = (Uuid, Option<String>, String, Vec<String>, Option<DateTime<Utc>>, Option<String>, DateTime<Utc>);

fn endpoint(row: Row) -> WebhookEndpoint {
    let (id, tenant, url, event_types, disabled_at, disabled_why, created_at) = row;
    let (disabled_at, created_at) = (disabled_at.map(Timestamp::from), created_at.into());
    WebhookEndpoint { id, tenant, url, event_types, disabled_at, disabled_why, created_at }
}

const INSERT: &str = "INSERT INTO webhook_endpoint (id, tenant, url, secret, event_types, created_at)
    VALUES ($1, $2, $3, $4, $5, $6)
    RETURNING id, tenant, url, event_types, disabled_at, disabled_why, created_at";
const LIST: &str = "SELECT id, tenant, url, event_types, disabled_at, disabled_why, created_at
    FROM webhook_endpoint
    WHERE ($1::text IS NULL OR tenant = $1) AND ($2::uuid IS NULL OR id > $2) ORDER BY id LIMIT $3";
const DELETE: &str = "DELETE FROM webhook_endpoint WHERE id = $1 AND ($2::text IS NULL OR tenant = $2)
    RETURNING tenant";

/// Makes an endpoint and returns it with its secret (`whsec_…`).
pub async fn create(
    pool: &Pool,
    tenant: Option<&TenantId>,
    url: &str,
    event_types: &[String],
    now: Timestamp,
    actor: &str,
) -> Result<(WebhookEndpoint, String), TenantError> {
    const ATTEMPT: &str = "create a webhook endpoint";
    let failed = |error: sqlx::Error| StoreError::postgres(ATTEMPT, &error);
    let mut bytes = [0_u8; SECRET_BYTES];
    rand::rngs::OsRng
        .try_fill_bytes(&mut bytes)
        .map_err(|error| StoreError::corrupt("draw random bytes", error))?;
    let secret = format!("whsec_{}", base64::engine::general_purpose::STANDARD.encode(bytes));
    let tenant = tenant.map(TenantId::as_str);
    let mut tx = pool.begin().await.map_err(failed)?;
    let row: Row = sqlx::query_as(INSERT)
        .bind(Uuid::now_v7())
        .bind(tenant)
        .bind(url)
        .bind(&secret)
        .bind(event_types)
        .bind(now.to_chrono())
        .fetch_one(&mut *tx)
        .await
        .map_err(failed)?;
    let made = endpoint(row);
    let detail = json!({ "webhook": made.id, "url": url, "event_types": event_types });
    audit::record(&mut tx, now, actor, "webhook.created", tenant, detail).await?;
    tx.commit().await.map_err(failed)?;
    Ok((made, secret))
}

/// Up to `limit` endpoints by rising id, those after `after`; `only`: of that tenant.
pub async fn list(
    pool: &Pool,
    only: Option<&TenantId>,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<WebhookEndpoint>, StoreError> {
    let rows: Vec<Row> = sqlx::query_as(LIST)
        .bind(only.map(TenantId::as_str))
        .bind(after)
        .bind(limit)
        .fetch_all(pool)
        .await
        .map_err(|error| StoreError::postgres("list webhook endpoints", &error))?;
    Ok(rows.into_iter().map(endpoint).collect())
}

/// Deletes an endpoint (of that tenant, when `only` is given).
pub async fn delete(
    pool: &Pool,
    id: Uuid,
    only: Option<&TenantId>,
    now: Timestamp,
    actor: &str,
) -> Result<(), TenantError> {
    let failed = |error: sqlx::Error| StoreError::postgres("delete a webhook endpoint", &error);
    let only = only.map(TenantId::as_str);
    let mut tx = pool.begin().await.map_err(failed)?;
    let tenant: Option<Option<String>> =
        sqlx::query_scalar(DELETE).bind(id).bind(only).fetch_optional(&mut *tx).await.map_err(failed)?;
    let tenant = tenant.ok_or_else(|| TenantError::not_found("webhook", &id.to_string()))?;
    audit::record(&mut tx, now, actor, "webhook.deleted", tenant.as_deref(), json!({ "webhook": id }))
        .await?;
    tx.commit().await.map_err(|error| failed(error).into())
}
