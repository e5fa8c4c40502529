//! `weir tenant` and `weir key`: what an operator does before there is a key for the API.

use anyhow::Context;
use weir_backends::tenants::{self, api_keys};
use weir_core::TenantId;

use crate::cli::{Key, Tenant};
use crate::config::Config;
use crate::out;

use super::{ledger_pool, now};

/// Who did it, in the audit.
const ACTOR: &str = "cli";

/// `weir tenant create`.
pub(crate) async fn tenant(config: &Config, command: &Tenant) -> anyhow::Result<bool> {
    let Tenant::Create(new) = command;
    let pool = ledger_pool(config).await?;
    let id = new.id.as_deref().map(TenantId::new).transpose()?;
    let anchor =
        new.anchor.as_deref().map(str::parse).transpose().context("--anchor is a day such as 2026-11-01")?;
    let new = tenants::NewTenant {
        id,
        name: new.name.clone(),
        domain: new.domain.clone(),
        plan: new.plan.clone(),
        admin_email: new.admin_email.clone(),
        zone: Some(new.timezone.clone()),
        anchor,
        currency: new.currency.clone(),
        legal_entity: new.legal_entity.clone(),
        starts_at: None,
    };
    let created = tenants::create(&pool, new, now(), ACTOR).await?;
    out::line(created.id)?;
    Ok(true)
}

/// `weir key create`.
pub(crate) async fn key(config: &Config, command: &Key) -> anyhow::Result<bool> {
    let Key::Create(new) = command;
    let pool = ledger_pool(config).await?;
    let new = api_keys::NewApiKey {
        name: new.name.clone(),
        tenant: new.tenant.as_deref().map(TenantId::new).transpose()?,
        scopes: scopes(&new.scopes),
        source_prefixes: new.source_prefixes.clone(),
        env: config.env.clone(),
    };
    let (_, secret) = api_keys::create(&pool, new, ACTOR).await?;
    eprintln!("Keep this key: it is not stored and cannot be shown again.");
    out::line(secret)?;
    Ok(true)
}

/// `all` stands for every scope.
fn scopes(asked: &[String]) -> Vec<String> {
    if asked.iter().any(|scope| scope == "all") {
        api_keys::SCOPES.iter().map(|scope| (*scope).to_owned()).collect()
    } else {
        asked.to_vec()
    }
}
