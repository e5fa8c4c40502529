//! Alerts that were raised, newest first, read from the outbox: each has exactly one row for
//! the alerts topic. Invoices are told to that topic too, and are no alerts: whoever may read
//! usage need not see them.

use chrono::{DateTime, Utc};
use serde_json::Value;
use weir_core::{TenantId, Timestamp};

use crate::StoreError;
use crate::postgres::Pool;

/// One alert.
#[derive(Clone, Debug, PartialEq)]
pub struct RaisedAlert {
    /// Its message id.
    pub id: String,
    /// Whose.
    pub tenant: Option<String>,
    /// When it was committed.
    pub created_at: Timestamp,
    /// The body as it is told.
    pub body: Value,
}

const LIST: &str = "SELECT id, tenant, created_at, body FROM outbox
    WHERE kind = 'alert_topic' AND body->>'type' SIMILAR TO '(quota|usage).%' AND ($1::text IS NULL OR tenant = $1)
        AND ($2::text IS NULL OR (created_at, id) < (SELECT created_at, id FROM outbox WHERE id = $2))
    ORDER BY created_at DESC, id DESC LIMIT $3";

/// Up to `limit` alerts, newest first, those before the alert `before`; `only`: of that tenant.
pub async fn list(
    pool: &Pool,
    only: Option<&TenantId>,
    before: Option<&str>,
    limit: i64,
) -> Result<Vec<RaisedAlert>, StoreError> {
    let rows: Vec<(String, Option<String>, DateTime<Utc>, Value)> = sqlx::query_as(LIST)
        .bind(only.map(TenantId::as_str))
        .bind(before)
        .bind(limit)
        .fetch_all(pool)
        .await
        .map_err(|error| StoreError::postgres("list alerts", &error))?;
    let alert = |(id, tenant, created_at, body): (String, Option<String>, DateTime<Utc>, Value)| {
        RaisedAlert { id, tenant, created_at: created_at.into(), body }
    };
    Ok(rows.into_iter().map(alert).collect())
}
