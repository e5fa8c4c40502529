//! API keys: `weir_<env>_<id>_<secret>`. The ledger holds the SHA-256 of the whole key; the
//! key itself is shown once. A key belongs to a tenant, or to the platform.

use chrono::{DateTime, Utc};
use rand::TryRngCore;
use serde_json::json;
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use weir_core::{TenantId, Timestamp};

use super::{TenantError, audit};
use crate::StoreError;
use crate::postgres::Pool;

/// What keys begin with, so that scanners of leaked secrets can know them.
pub const PREFIX: &str = "weir";
/// Random bytes in a secret.
const SECRET_BYTES: usize = 32;
/// Random bytes in an id.
const ID_BYTES: usize = 8;
/// The most source prefixes of one key.
const SOURCE_PREFIXES_MAX: usize = 64;

/// Everything that a key can be allowed to do.
pub const SCOPES: [&str; 9] = [
    "events:write",
    "usage:read",
    "tenants:read",
    "tenants:write",
    "invoices:read",
    "invoices:write",
    "keys:write",
    "webhooks:write",
    "adjustments:write",
];

/// What is needed to make a key.
#[derive(Clone, Debug, Default)]
pub struct NewApiKey {
    /// For people.
    pub name: String,
    /// Whose; `None`: the platform's, which may act for every tenant.
    pub tenant: Option<TenantId>,
    /// What it may do, of [`SCOPES`].
    pub scopes: Vec<String>,
    /// What the `source` of its events must begin with; empty: anything.
    pub source_prefixes: Vec<String>,
    /// The environment that stands in the key: `live`, `test`; lower-case letters and digits.
    pub env: String,
}

/// A key as it is stored, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// The public part.
    pub id: String,
    /// For people.
    pub name: String,
    /// Whose; `None`: the platform's.
    pub tenant: Option<TenantId>,
    /// What it may do.
    pub scopes: Vec<String>,
    /// What the `source` of its events must begin with; empty: anything.
    pub source_prefixes: Vec<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// A key as it is needed to verify one that was presented.
#[derive(Clone, Debug)]
pub struct StoredKey {
    /// The key.
    pub key: ApiKey,
    secret_hash: [u8; 32],
}

impl StoredKey {
    /// Whether `presented` is this key; takes as long for a wrong one as for the right one.
    pub fn matches(&self, presented: &str) -> bool {
        let hash: [u8; 32] = Sha256::digest(presented).into();
        let difference = hash.iter().zip(self.secret_hash).fold(0, |sum, (a, b)| sum | (a ^ b));
        std::hint::black_box(difference) == 0
    }

    /// Whether it may be used at `now`: neither revoked nor expired.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.key.revoked_at.is_none() && self.key.expires_at.is_none_or(|expires| now < expires)
    }
}

/// The id inside a presented key; `None` for a text that is no key.
pub fn id_of(presented: &str) -> Option<&str> {
    let mut parts = presented.split('_');
    let (prefix, env, id, secret) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex =
        |text: &str, bytes: usize| text.len() == 2 * bytes && text.bytes().all(|b| b.is_ascii_hexdigit());
    let fits = prefix == PREFIX
        && is_env(env)
        && hex(id, ID_BYTES)
        && hex(secret, SECRET_BYTES)
        && parts.next().is_none();
    fits.then_some(id)
}

fn is_env(env: &str) -> bool {
    (1..=16).contains(&env.len()) && env.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

#[derive(sqlx::FromRow)]
struct KeyRow {
    id: String,
    secret_hash: Vec<u8>,
    name: String,
    tenant: Option<String>,
    scopes: Vec<String>,
    source_prefixes: Vec<String>,
    created_at: DateTime<Utc>,
    expires_at: Option<DateTime<Utc>>,
    revoked_at: Option<DateTime<Utc>>,
}

impl KeyRow {
    fn into_key(self) -> Result<StoredKey, StoreError> {
        const ATTEMPT: &str = "read an API key";
        let tenant = self.tenant.map(|id| TenantId::new(&id)).transpose();
        let secret_hash = <[u8; 32]>::try_from(self.secret_hash)
            .map_err(|_| StoreError::corrupt(ATTEMPT, "its hash is not 32 bytes"))?;
        let key = ApiKey {
            id: self.id,
            name: self.name,
            tenant: tenant.map_err(|error| StoreError::corrupt(ATTEMPT, error))?,
            scopes: self.scopes,
            source_prefixes: self.source_prefixes,
            created_at: self.created_at.into(),
            expires_at: self.expires_at.map(Timestamp::from),
            revoked_at: self.revoked_at.map(Timestamp::from),
        };
        Ok(StoredKey { key, secret_hash })
    }
}

const INSERT: &str =
    "INSERT INTO api_key (id, secret_hash, name, tenant, scopes, source_prefixes, created_at)
    VALUES ($1, $2, $3, $4, $5, $6, now())";
const FIND: &str = "SELECT id, secret_hash, name, tenant, scopes, source_prefixes, created_at, expires_at,
    revoked_at FROM api_key WHERE id = $1";
const LIST: &str = "SELECT id, secret_hash, name, tenant, scopes, source_prefixes, created_at, expires_at,
    revoked_at FROM api_key
    WHERE ($1::text IS NULL OR tenant = $1) AND ($2::text IS NULL OR id > $2) ORDER BY id LIMIT $3";
const REVOKE: &str = "UPDATE api_key SET revoked_at = coalesce(revoked_at, $3)
    WHERE id = $1 AND ($2::text IS NULL OR tenant = $2) RETURNING tenant";
/// Held until the key is there: offboarding, which revokes a tenant's keys, waits for it.
const STATUS: &str = "SELECT status FROM tenant WHERE id = $1 FOR SHARE";

/// Makes a key and returns it with its full text, which is not kept anywhere.
///
/// # Errors
/// [`TenantError::Invalid`] with every member that breaks a rule; [`TenantError::State`] for a
/// tenant that is leaving or gone.
pub async fn create(pool: &Pool, new: NewApiKey, actor: &str) -> Result<(ApiKey, String), TenantError> {
    const ATTEMPT: &str = "create an API key";
    let failed = |error: sqlx::Error| StoreError::postgres(ATTEMPT, &error);
    check(&new)?;
    let id = random_hex::<ID_BYTES>()?;
    let full = format!("{PREFIX}_{}_{id}_{}", new.env, random_hex::<SECRET_BYTES>()?);
    let mut tx = pool.begin().await.map_err(failed)?;
    if let Some(tenant) = &new.tenant {
        check_tenant(&mut tx, tenant).await?;
    }
    sqlx::query(INSERT)
        .bind(&id)
        .bind(&Sha256::digest(&full)[..])
        .bind(&new.name)
        .bind(new.tenant.as_ref().map(TenantId::as_str))
        .bind(&new.scopes)
        .bind(&new.source_prefixes)
        .execute(&mut *tx)
        .await
        .map_err(failed)?;
    let row: KeyRow = sqlx::query_as(FIND).bind(&id).fetch_one(&mut *tx).await.map_err(failed)?;
    let key = row.into_key()?.key;
    let detail = json!({ "key": id, "name": new.name, "scopes": new.scopes });
    let tenant = new.tenant.as_ref().map(TenantId::as_str);
    audit::record(&mut tx, key.created_at, actor, "key.created", tenant, detail).await?;
    tx.commit().await.map_err(failed)?;
    Ok((key, full))
}

async fn check_tenant(conn: &mut PgConnection, tenant: &TenantId) -> Result<(), TenantError> {
    let status: Option<String> = sqlx::query_scalar(STATUS)
        .bind(tenant.as_str())
        .fetch_optional(conn)
        .await
        .map_err(|error| StoreError::postgres("look at a key's tenant", &error))?;
    match status.as_deref() {
        None => Err(TenantError::invalid("/tenant", "there is no such tenant")),
        Some(gone @ ("offboarding" | "deleted")) => {
            Err(TenantError::State(format!("the tenant {tenant} is {gone}; it gets no more keys")))
        }
        Some(_) => Ok(()),
    }
}

fn check(new: &NewApiKey) -> Result<(), TenantError> {
    let mut problems = super::input::Problems::default();
    problems.check_name("/name", &new.name);
    if new.scopes.is_empty() {
        problems.add("/scopes", format!("is empty; give some of {}", SCOPES.join(", ")));
    }
    for (index, scope) in new.scopes.iter().enumerate().filter(|(_, s)| !SCOPES.contains(&s.as_str())) {
        let scope: String = scope.chars().take(32).collect();
        problems.add(
            &format!("/scopes/{index}"),
            format!("{scope:?} is no scope; the scopes are {}", SCOPES.join(", ")),
        );
    }
    if new.source_prefixes.len() > SOURCE_PREFIXES_MAX {
        problems.add("/source_prefixes", format!("has more than {SOURCE_PREFIXES_MAX} entries"));
    }
    for (index, prefix) in new.source_prefixes.iter().enumerate() {
        if prefix.is_empty() || prefix.len() > 256 || prefix.chars().any(char::is_control) {
            problems.add(
                &format!("/source_prefixes/{index}"),
                "must have 1 to 256 bytes, none a control character",
            );
        }
    }
    if !is_env(&new.env) {
        problems.add("/env", "must be 1 to 16 lower-case letters and digits, such as live or test");
    }
    let problems = problems.into_inner();
    if problems.is_empty() { Ok(()) } else { Err(TenantError::Invalid(problems)) }
}

fn random_hex<const BYTES: usize>() -> Result<String, StoreError> {
    let mut bytes = [0_u8; BYTES];
    rand::rngs::OsRng
        .try_fill_bytes(&mut bytes)
        .map_err(|error| StoreError::corrupt("draw random bytes", error))?;
    Ok(hex::encode(bytes))
}

/// The key with that id, revoked ones too.
pub async fn find(pool: &Pool, id: &str) -> Result<Option<StoredKey>, StoreError> {
    let row: Option<KeyRow> = sqlx::query_as(FIND)
        .bind(id)
        .fetch_optional(pool)
        .await
        .map_err(|error| StoreError::postgres("read an API key", &error))?;
    row.map(KeyRow::into_key).transpose()
}

/// Up to `limit` keys by rising id, those after `after`; `only`: of that tenant.
pub async fn list(
    pool: &Pool,
    only: Option<&TenantId>,
    after: Option<&str>,
    limit: i64,
) -> Result<Vec<ApiKey>, StoreError> {
    let rows: Vec<KeyRow> = sqlx::query_as(LIST)
        .bind(only.map(TenantId::as_str))
        .bind(after)
        .bind(limit)
        .fetch_all(pool)
        .await
        .map_err(|error| StoreError::postgres("list API keys", &error))?;
    rows.into_iter().map(|row| Ok(row.into_key()?.key)).collect()
}

/// Revokes a key (of that tenant, when `only` is given). Doing it again changes nothing.
pub async fn revoke(
    pool: &Pool,
    id: &str,
    only: Option<&TenantId>,
    now: Timestamp,
    actor: &str,
) -> Result<(), TenantError> {
    let failed = |error: sqlx::Error| StoreError::postgres("revoke an API key", &error);
    let mut tx = pool.begin().await.map_err(failed)?;
    let tenant: Option<Option<String>> = sqlx::query_scalar(REVOKE)
        .bind(id)
        .bind(only.map(TenantId::as_str))
        .bind(now.to_chrono())
        .fetch_optional(&mut *tx)
        .await
        .map_err(failed)?;
    let tenant = tenant.ok_or_else(|| TenantError::not_found("key", id))?;
    audit::record(&mut tx, now, actor, "key.revoked", tenant.as_deref(), json!({ "key": id })).await?;
    tx.commit().await.map_err(|error| failed(error).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_keys_have_an_id() {
        let id = "0123456789abcdef";
        let secret = "0".repeat(64);
        assert_eq!(id_of(&format!("weir_live_{id}_{secret}")), Some(id));
        for wrong in [
            String::new(),
            format!("weir_live_{id}"),
            format!("weir_live_{id}_{secret}_"),
            format!("other_live_{id}_{secret}"),
            format!("weir_LIVE_{id}_{secret}"),
            format!("weir_live_{id}x_{secret}"),
        ] {
            assert_eq!(id_of(&wrong), None, "{wrong}");
        }
    }
}
