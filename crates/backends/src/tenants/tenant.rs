//! A tenant as it is stored: reading one, and reading them page by page.
//! Its revision rises with every change and is what an ETag is made of.

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::postgres::PgExecutor;
use weir_core::{TenantId, Timestamp};

use super::TenantError;
use crate::StoreError;
use crate::postgres::Pool;

/// Where a tenant stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// A customer.
    Active,
    /// A customer that tries.
    Trial,
    /// Its events are refused until it is reactivated.
    Suspended,
    /// Leaving: nothing is taken any more, but not everything is billed and paid.
    Offboarding,
    /// Gone. What was counted is kept.
    Deleted,
}

impl Status {
    /// The word for it in the ledger and in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Trial => "trial",
            Self::Suspended => "suspended",
            Self::Offboarding => "offboarding",
            Self::Deleted => "deleted",
        }
    }

    fn read(word: &str) -> Result<Self, StoreError> {
        [Self::Active, Self::Trial, Self::Suspended, Self::Offboarding, Self::Deleted]
            .into_iter()
            .find(|status| status.word() == word)
            .ok_or_else(|| StoreError::corrupt("read a tenant", format!("its status is {word:?}")))
    }
}

/// A tenant with its running (or last) subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// The id: the CloudEvents subject and the Kafka key.
    pub id: TenantId,
    /// For people and invoices.
    pub name: String,
    /// Its domain, in lower case; no two living tenants share one.
    pub domain: String,
    /// Its plan's key.
    pub plan: String,
    /// Who is written to.
    pub admin_email: String,
    /// Where it stands.
    pub status: Status,
    /// Why, for people.
    pub status_reason: Option<String>,
    /// IANA billing time zone.
    pub zone: String,
    /// First day of billing period 0, in the zone.
    pub anchor: NaiveDate,
    /// ISO 4217.
    pub currency: String,
    /// Who bills it: the key of a legal entity.
    pub legal_entity: String,
    /// Its subscription's id.
    pub subscription: String,
    /// Rises with every change.
    pub revision: i64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

#[derive(sqlx::FromRow)]
struct TenantRow {
    id: String,
    name: String,
    domain: String,
    plan: String,
    admin_email: String,
    status: String,
    status_reason: Option<String>,
    zone: String,
    anchor: NaiveDate,
    currency: String,
    legal_entity: String,
    subscription: String,
    revision: i64,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl TenantRow {
    fn into_tenant(self) -> Result<Tenant, StoreError> {
        let id = TenantId::new(&self.id).map_err(|error| StoreError::corrupt("read a tenant", error))?;
        Ok(Tenant {
            id,
            name: self.name,
            domain: self.domain,
            plan: self.plan,
            admin_email: self.admin_email,
            status: Status::read(&self.status)?,
            status_reason: self.status_reason,
            zone: self.zone,
            anchor: self.anchor,
            currency: self.currency,
            legal_entity: self.legal_entity,
            subscription: self.subscription,
            revision: self.revision,
            created_at: Timestamp::from(self.created_at),
            updated_at: Timestamp::from(self.updated_at),
        })
    }
}

/// The newest subscription is the one that counts: a change of plan begins a new one.
const GET: &str = "SELECT t.id, t.name, t.domain, s.plan, t.admin_email, t.status, t.status_reason,
        t.zone, t.anchor, t.currency, s.legal_entity, s.id AS subscription, t.revision,
        t.created_at, t.updated_at
    FROM tenant t
    JOIN LATERAL (SELECT id, plan, legal_entity FROM subscription WHERE tenant = t.id
        ORDER BY starts_at DESC, id DESC LIMIT 1) s ON true
    WHERE t.id = $1";
const LIST: &str = "SELECT t.id, t.name, t.domain, s.plan, t.admin_email, t.status, t.status_reason,
        t.zone, t.anchor, t.currency, s.legal_entity, s.id AS subscription, t.revision,
        t.created_at, t.updated_at
    FROM tenant t
    JOIN LATERAL (SELECT id, plan, legal_entity FROM subscription WHERE tenant = t.id
        ORDER BY starts_at DESC, id DESC LIMIT 1) s ON true
    WHERE ($1::text IS NULL OR t.id > $1) AND ($2::text IS NULL OR t.id = $2)
    ORDER BY t.id LIMIT $3";
const REFUSED: &str = "SELECT id, status FROM tenant WHERE status NOT IN ('active', 'trial')";

/// The tenant with that id, whatever its status.
pub async fn get(pool: &Pool, id: &str) -> Result<Tenant, TenantError> {
    read(pool, id).await?.ok_or_else(|| TenantError::not_found("tenant", id))
}

pub(super) async fn read(executor: impl PgExecutor<'_>, id: &str) -> Result<Option<Tenant>, StoreError> {
    let row: Option<TenantRow> = sqlx::query_as(GET)
        .bind(id)
        .fetch_optional(executor)
        .await
        .map_err(|error| StoreError::postgres("read a tenant", &error))?;
    row.map(TenantRow::into_tenant).transpose()
}

/// Up to `limit` tenants by rising id, those after `after`; `only` narrows to one.
pub async fn list(
    pool: &Pool,
    after: Option<&str>,
    only: Option<&TenantId>,
    limit: i64,
) -> Result<Vec<Tenant>, StoreError> {
    let rows: Vec<TenantRow> = sqlx::query_as(LIST)
        .bind(after)
        .bind(only.map(TenantId::as_str))
        .bind(limit)
        .fetch_all(pool)
        .await
        .map_err(|error| StoreError::postgres("list tenants", &error))?;
    rows.into_iter().map(TenantRow::into_tenant).collect()
}

/// Every tenant of which events are not taken over HTTP, with its status.
pub async fn refused_tenants(pool: &Pool) -> Result<Vec<(String, Status)>, StoreError> {
    let rows: Vec<(String, String)> = sqlx::query_as(REFUSED)
        .fetch_all(pool)
        .await
        .map_err(|error| StoreError::postgres("read the suspended tenants", &error))?;
    rows.into_iter().map(|(id, status)| Ok((id, Status::read(&status)?))).collect()
}
