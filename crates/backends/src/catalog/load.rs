//! Reading the catalogue: once for counting (meters and tenants), once as it was published.
//! It changes nothing but the version, for whoever changes what the version stands for.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use weir_billing::{LegalEntity, PlanVersion};
use weir_core::{HourAlignment, Span, TenantId};
use weir_metering::catalogue::{Catalogue, TenantFacts};
use weir_metering::meter::Meter;
use weir_wire::catalog_file::Catalog;

use crate::StoreError;
use crate::ledger::width;
use crate::postgres::{Pool, SNAPSHOT};

const ATTEMPT: &str = "read the catalogue";

const VERSION: &str = "SELECT version FROM catalog_head";
const BUMP: &str = "UPDATE catalog_head SET version = given_once(version) RETURNING version";
const METERS: &str = "SELECT definition::text FROM meter_version ORDER BY key, version";
const PLANS: &str = "SELECT definition::text FROM plan_version ORDER BY key, version";
const LEGAL_ENTITIES: &str = "SELECT document::text FROM legal_entity ORDER BY key";
const TENANTS: &str = "SELECT id, hour_alignment FROM tenant WHERE status <> 'deleted'";
const PERIODS: &str = "SELECT billing_period.tenant, billing_period.starts_at, billing_period.ends_at
    FROM billing_period JOIN tenant ON tenant.id = billing_period.tenant
    WHERE tenant.status <> 'deleted' ORDER BY billing_period.tenant, billing_period.starts_at";

/// The version of meters and tenants that is in force.
pub async fn version(pool: &Pool) -> Result<i64, StoreError> {
    sqlx::query_scalar(VERSION)
        .fetch_one(pool)
        .await
        .map_err(|error| StoreError::postgres("read the catalogue's version", &error))
}

/// Raises the version to one that no earlier state of the ledger had, and returns it; called in the
/// transaction of whoever adds a tenant, a period or a meter, or widens the topic. It holds the row
/// until that transaction ends.
pub async fn bump(conn: &mut PgConnection) -> Result<i64, StoreError> {
    sqlx::query_scalar(BUMP)
        .fetch_one(conn)
        .await
        .map_err(|error| StoreError::postgres("raise the catalogue's version", &error))
}

/// What batches are judged by: all versions of all meters, every tenant that is not deleted with
/// all its stored billing periods, and where each is at home.
pub async fn load(pool: &Pool) -> Result<Catalogue, StoreError> {
    let failed = |error: sqlx::Error| StoreError::postgres(ATTEMPT, &error);
    let mut snapshot = pool.begin_with(SNAPSHOT).await.map_err(failed)?;
    let version: i64 = sqlx::query_scalar(VERSION).fetch_one(&mut *snapshot).await.map_err(failed)?;
    let meters: Vec<Meter> = documents(&mut snapshot, METERS).await?;
    let mut tenants = HashMap::new();
    let rows: Vec<(String, i16)> = sqlx::query_as(TENANTS).fetch_all(&mut *snapshot).await.map_err(failed)?;
    for (id, minutes) in rows {
        let alignment = u8::try_from(minutes)
            .ok()
            .and_then(HourAlignment::from_minutes)
            .ok_or_else(|| StoreError::corrupt(ATTEMPT, format!("{id} has the hour alignment {minutes}")))?;
        tenants.insert(tenant_id(&id)?, TenantFacts { alignment, periods: Vec::new() });
    }
    let rows: Vec<(String, DateTime<Utc>, DateTime<Utc>)> =
        sqlx::query_as(PERIODS).fetch_all(&mut *snapshot).await.map_err(failed)?;
    for (id, start, end) in rows {
        if let Some(facts) = tenants.get_mut(id.as_str()) {
            facts.periods.push(Span { start: start.into(), end: end.into() });
        }
    }
    let homes = width::homes_in(&mut snapshot).await?;
    snapshot.commit().await.map_err(failed)?;
    Ok(Catalogue::new(version, meters, tenants, homes))
}

/// Legal entities, meters and plans: all published versions of each, by key and version.
pub async fn published(pool: &Pool) -> Result<Catalog, StoreError> {
    let failed = |error: sqlx::Error| StoreError::postgres(ATTEMPT, &error);
    let mut snapshot = pool.begin_with(SNAPSHOT).await.map_err(failed)?;
    let catalog = published_in(&mut snapshot).await?;
    snapshot.commit().await.map_err(failed)?;
    Ok(catalog)
}

/// The same inside a transaction of the caller.
pub(super) async fn published_in(conn: &mut PgConnection) -> Result<Catalog, StoreError> {
    let legal_entities: Vec<LegalEntity> = documents(conn, LEGAL_ENTITIES).await?;
    let meters: Vec<Meter> = documents(conn, METERS).await?;
    let plans: Vec<PlanVersion> = documents(conn, PLANS).await?;
    Ok(Catalog { legal_entities, meters, plans })
}

async fn documents<T: serde::de::DeserializeOwned>(
    conn: &mut PgConnection,
    query: &'static str,
) -> Result<Vec<T>, StoreError> {
    let texts: Vec<String> = sqlx::query_scalar(query)
        .fetch_all(conn)
        .await
        .map_err(|error| StoreError::postgres(ATTEMPT, &error))?;
    let read = |text: &String| {
        serde_json::from_str(text)
            .map_err(|error| StoreError::corrupt(ATTEMPT, format!("{error} in the definition {text}")))
    };
    texts.iter().map(read).collect()
}

pub(crate) fn tenant_id(id: &str) -> Result<TenantId, StoreError> {
    TenantId::new(id).map_err(|error| StoreError::corrupt(ATTEMPT, format!("{id:?}: {error}")))
}
