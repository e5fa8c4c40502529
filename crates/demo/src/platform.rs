//! What the story asks of Weir's API, call by call: tenants, limits, webhooks, usage, quota.

use anyhow::{Context, Result};
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

use crate::api::Api;
use crate::ledger::nanos;
use crate::tenants::Profile;

/// Creates a tenant of the story.
pub async fn create_tenant(api: &Api, profile: &Profile, now: DateTime<Utc>) -> Result<Value> {
    let body = json!({
        "id": profile.id,
        "name": profile.name,
        "domain": format!("{}.example.com", profile.id),
        "plan": profile.plan,
        "adminEmail": format!("admin@{}.example.com", profile.id),
        "timezone": profile.zone,
        "anchor": profile.anchor(now)?.to_string(),
        "currency": profile.currency,
    });
    let created = api.post("/api/v1/platform/tenants", &body).await;
    created.with_context(|| format!("create the tenant {}", profile.id))
}

/// Sets a hard limit with alerts at 80 and 100 per cent.
pub(crate) async fn limit(api: &Api, tenant: &str, meter: &str, limit: &str) -> Result<()> {
    let path = format!("/api/v1/platform/tenants/{tenant}/limits");
    let one = json!({"meter": meter, "limit": limit, "enforcement": "hard", "thresholds_percent": [80, 100]});
    let set = api.replace(&path, &json!({ "limits": [one] })).await;
    set.map(|_| ()).with_context(|| format!("limit {meter} of {tenant}"))
}

/// Registers a webhook for all tenants; returns its id and its secret.
pub async fn register_webhook(api: &Api, url: &str, event_types: &[&str]) -> Result<(String, String)> {
    let body = json!({"url": url, "event_types": event_types});
    let made = api.post("/api/v1/webhooks", &body).await.context("register a webhook")?;
    let word = |name: &str| {
        made[name].as_str().map(str::to_owned).with_context(|| format!("the new webhook has no {name}"))
    };
    Ok((word("id")?, word("secret")?))
}

/// The answer to "may this tenant go on?".
pub async fn quota(api: &Api, tenant: &str, meter: &str) -> Result<Value> {
    api.get(&format!("/api/v1/quota/{tenant}/{meter}")).await
}

/// A tenant's usage of a meter.
#[derive(Clone, Debug)]
pub(crate) struct UsageRow {
    /// Which meter.
    pub(crate) meter: String,
    /// Its unit.
    pub(crate) unit: String,
    /// How much, in 10^-9.
    pub(crate) nanos: i128,
    /// From how many events.
    pub(crate) events: i64,
}

/// Usage of a tenant by meter between two instants.
pub(crate) async fn usage(
    api: &Api,
    tenant: &str,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<Vec<UsageRow>> {
    let text = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Millis, true);
    let path = format!("/api/v1/platform/tenants/{tenant}/usage?from={}&to={}", text(from), text(to));
    let answer = api.get(&path).await?;
    let rows = answer["usage"].as_array().with_context(|| format!("{path} was answered with {answer}"))?;
    rows.iter().map(|row| usage_row(row).with_context(|| format!("a line of usage is {row}"))).collect()
}

fn usage_row(row: &Value) -> Result<UsageRow> {
    let word =
        |name: &str| row[name].as_str().map(str::to_owned).with_context(|| format!("it has no {name}"));
    Ok(UsageRow {
        meter: word("meter")?,
        unit: word("unit")?,
        nanos: nanos(&word("quantity")?)?,
        events: row["event_count"].as_i64().context("it has no event_count")?,
    })
}
