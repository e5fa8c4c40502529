//! Who is calling: the API key of a request. Keys that were looked up are kept in memory for
//! a few seconds, so that ingestion touches Postgres once every few seconds a key, and a
//! revoked key stops working within that time. While the ledger is away, keys that were
//! known go on working for a while.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::header;
use axum::http::request::Parts;
use tokio::time::Instant;
use weir_backends::StoreError;
use weir_backends::tenants::api_keys::{self, StoredKey};
use weir_core::TenantId;

use crate::problem::{Kind, Problem};
use crate::state::ApiState;

/// The most keys kept in memory; past it ids that are no keys are forgotten first.
const KEYS_MAX: usize = 50_000;
/// How long a look-up may take before what is known is used.
const LOOK_UP_TIMEOUT: Duration = Duration::from_millis(1_000);

/// What a key may be allowed to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Send events.
    EventsWrite,
    /// Read usage, quota answers and alerts.
    UsageRead,
    /// Read tenants, meters and plans.
    TenantsRead,
    /// Change tenants and limits.
    TenantsWrite,
    /// Read invoices.
    InvoicesRead,
    /// Record that invoices were paid.
    InvoicesWrite,
    /// Make, list and revoke keys.
    KeysWrite,
    /// Make, list and delete webhook endpoints.
    WebhooksWrite,
    /// Adjust usage, and take events out of it.
    AdjustmentsWrite,
}

impl Scope {
    /// As it stands in a key.
    pub fn word(self) -> &'static str {
        match self {
            Self::EventsWrite => "events:write",
            Self::UsageRead => "usage:read",
            Self::TenantsRead => "tenants:read",
            Self::TenantsWrite => "tenants:write",
            Self::InvoicesRead => "invoices:read",
            Self::InvoicesWrite => "invoices:write",
            Self::KeysWrite => "keys:write",
            Self::WebhooksWrite => "webhooks:write",
            Self::AdjustmentsWrite => "adjustments:write",
        }
    }
}

/// Who is calling.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The key's id.
    pub key: String,
    /// Whose key; `None`: the platform's.
    pub tenant: Option<TenantId>,
    /// What it may do.
    pub scopes: Vec<String>,
    /// What the source of its events must begin with; empty: anything.
    pub source_prefixes: Vec<String>,
}

impl Caller {
    /// Refuses a caller without the scope.
    pub fn require(&self, scope: Scope) -> Result<(), Problem> {
        if self.scopes.iter().any(|held| held == scope.word()) {
            return Ok(());
        }
        Err(Problem::new(
            Kind::InsufficientScope,
            format!("this needs an API key with the scope {}", scope.word()),
        ))
    }

    /// Refuses a tenant's key for anything of another tenant.
    pub fn require_tenant(&self, tenant: &str) -> Result<(), Problem> {
        match &self.tenant {
            Some(own) if own.as_str() != tenant => {
                Err(Problem::new(Kind::OtherTenant, format!("this API key belongs to the tenant {own}")))
            }
            _ => Ok(()),
        }
    }

    /// Refuses a tenant's key for what concerns the platform.
    pub fn require_platform(&self) -> Result<(), Problem> {
        match &self.tenant {
            Some(_) => {
                Err(Problem::new(Kind::OtherTenant, "this needs a key of the platform, not of a tenant"))
            }
            None => Ok(()),
        }
    }

    /// The tenant to narrow a list to: the key's own, or the one asked for.
    pub fn narrow(&self, asked: Option<&str>) -> Result<Option<TenantId>, Problem> {
        let asked = asked.map(TenantId::new).transpose();
        let asked = asked.map_err(|error| Problem::invalid("/tenant", error.to_string()))?;
        if let Some(tenant) = &asked {
            self.require_tenant(tenant.as_str())?;
        }
        Ok(asked.or_else(|| self.tenant.clone()))
    }
}

impl FromRequestParts<ApiState> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Problem> {
        if let Some(caller) = parts.extensions.get::<Self>() {
            return Ok(caller.clone());
        }
        let wrong = || Problem::new(Kind::Unauthorized, "the API key is not known, revoked or expired");
        let presented = bearer(parts).ok_or_else(|| {
            Problem::new(Kind::Unauthorized, "send an API key as `Authorization: Bearer weir_…`")
        })?;
        let id = api_keys::id_of(&presented).ok_or_else(wrong)?;
        let stored = state.keys.find(state, id).await?.ok_or_else(wrong)?;
        if !stored.matches(&presented) || !stored.is_live(state.now()) {
            return Err(wrong());
        }
        let key = stored.key;
        let caller = Self {
            key: key.id,
            tenant: key.tenant,
            scopes: key.scopes,
            source_prefixes: key.source_prefixes,
        };
        parts.extensions.insert(caller.clone());
        Ok(caller)
    }
}

fn bearer(parts: &Parts) -> Option<String> {
    let text = parts.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, key) = text.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim().to_owned())
}

/// Keys that were looked up.
#[derive(Debug)]
pub(crate) struct KeyCache {
    trusted_for: Duration,
    stale_max: Duration,
    held: Mutex<HashMap<String, Held>>,
}

#[derive(Clone, Debug)]
struct Held {
    key: Option<StoredKey>,
    /// When the ledger said so.
    read_at: Instant,
    /// When the ledger was last asked, with or without an answer.
    asked_at: Instant,
}

impl KeyCache {
    pub(crate) fn new(trusted_for: Duration, stale_max: Duration) -> Self {
        Self { trusted_for, stale_max, held: Mutex::new(HashMap::new()) }
    }

    async fn find(&self, state: &ApiState, id: &str) -> Result<Option<StoredKey>, Problem> {
        let known = self.lock().get(id).cloned();
        if let Some(held) = &known
            && held.asked_at.elapsed() < self.trusted_for
        {
            return Ok(held.key.clone());
        }
        let asked_at = Instant::now();
        let asked = tokio::time::timeout(LOOK_UP_TIMEOUT, api_keys::find(&state.pool, id)).await;
        let answer = asked.unwrap_or_else(|_| {
            let reason = "no answer within a second".to_owned();
            Err(StoreError::Transient { attempt: "read an API key", reason })
        });
        match (answer, known) {
            (Ok(key), _) => {
                self.keep(id, Held { key: key.clone(), read_at: asked_at, asked_at });
                Ok(key)
            }
            (Err(error), Some(held)) if error.is_transient() && held.read_at.elapsed() < self.stale_max => {
                let key = held.key.clone();
                self.keep(id, Held { asked_at, ..held });
                Ok(key)
            }
            (Err(error), _) => Err(error.into()),
        }
    }

    /// Forgets a key, so that this process sees its revocation at once.
    pub(crate) fn forget(&self, id: &str) {
        self.lock().remove(id);
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    fn keep(&self, id: &str, held: Held) {
        let mut all = self.lock();
        if all.len() >= KEYS_MAX && !all.contains_key(id) {
            // Made-up ids must not push out keys that are needed while the ledger is away.
            if held.key.is_none() {
                return;
            }
            all.retain(|_, held| held.key.is_some());
            if all.len() >= KEYS_MAX {
                all.clear();
            }
        }
        all.insert(id.to_owned(), held);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_ids_are_bounded_and_forgotten_first() {
        let cache = KeyCache::new(Duration::from_secs(1), Duration::from_secs(1));
        let now = Instant::now();
        let unknown = Held { key: None, read_at: now, asked_at: now };
        for id in 0..KEYS_MAX + 10 {
            cache.keep(&id.to_string(), unknown.clone());
        }
        assert_eq!(cache.lock().len(), KEYS_MAX);
    }
}
