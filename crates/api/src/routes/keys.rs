//! API keys: made (shown once), listed without their secret, revoked. A key can hand on only
//! what it may do itself, and a tenant's key makes keys of its tenant only.

use axum::Json;
use axum::extract::{OriginalUri, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use weir_backends::tenants::api_keys::{self, ApiKey, NewApiKey};
use weir_core::TenantId;

use crate::credentials::{Caller, Scope};
use crate::extract::{JsonBody, PageQuery, PathOf, QueryOf};
use crate::idempotent::KeepInstead;
use crate::problem::{Kind, Problem, ProblemBody};
use crate::state::ApiState;

/// A key to be made.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateKeyBody {
    /// For people.
    #[schema(example = "gateway eu")]
    name: String,
    /// Whose; the platform's unless given (with a tenant's key: that tenant's).
    tenant: Option<String>,
    /// What it may do: `events:write`, `usage:read`, `tenants:read`, `tenants:write`,
    /// `invoices:read`, `invoices:write`, `keys:write`, `webhooks:write`,
    /// `adjustments:write`.
    scopes: Vec<String>,
    /// What the `source` of its events must begin with; anything unless given.
    #[serde(default)]
    source_prefixes: Vec<String>,
}

/// A key without its secret.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct KeyBody {
    /// The public part.
    id: String,
    /// For people.
    name: String,
    /// Whose; null: the platform's.
    tenant: Option<String>,
    /// What it may do.
    scopes: Vec<String>,
    /// What the `source` of its events must begin with; empty: anything.
    source_prefixes: Vec<String>,
    /// When it was made.
    created_at: String,
    /// When it ends by itself.
    expires_at: Option<String>,
    /// When it was revoked.
    revoked_at: Option<String>,
    /// The whole key: only in the answer that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

/// A page of keys.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct KeyPage {
    /// By rising id.
    items: Vec<KeyBody>,
    /// Of the next page; null on the last one.
    next_cursor: Option<String>,
}

impl From<ApiKey> for KeyBody {
    fn from(key: ApiKey) -> Self {
        Self {
            id: key.id,
            name: key.name,
            tenant: key.tenant.map(String::from),
            scopes: key.scopes,
            source_prefixes: key.source_prefixes,
            created_at: key.created_at.to_string(),
            expires_at: key.expires_at.map(|at| at.to_string()),
            revoked_at: key.revoked_at.map(|at| at.to_string()),
            key: None,
        }
    }
}

/// List keys.
#[utoipa::path(
    get, path = "/api/v1/keys", tag = "keys", operation_id = "listKeys", params(PageQuery),
    responses((status = 200, body = KeyPage))
)]
pub async fn list(
    State(state): State<ApiState>,
    caller: Caller,
    OriginalUri(uri): OriginalUri,
    QueryOf(query): QueryOf<PageQuery>,
) -> Result<Response, Problem> {
    caller.require(Scope::KeysWrite)?;
    let page = query.read()?;
    let found =
        api_keys::list(&state.pool, caller.tenant.as_ref(), page.after.as_deref(), page.fetch()).await?;
    Ok(page.answer(&uri, found, |key| key.id.clone(), KeyBody::from))
}

/// Make a key. The answer is the only place where it is shown.
#[utoipa::path(
    post, path = "/api/v1/keys", tag = "keys", operation_id = "createKey", request_body = CreateKeyBody,
    responses((status = 201, body = KeyBody), (status = 422, body = ProblemBody, content_type = "application/problem+json"))
)]
pub async fn create(
    State(state): State<ApiState>,
    caller: Caller,
    JsonBody(body): JsonBody<CreateKeyBody>,
) -> Result<Response, Problem> {
    caller.require(Scope::KeysWrite)?;
    let tenant = caller.narrow(body.tenant.as_deref())?;
    may_hand_on(&caller, &body.scopes, &body.source_prefixes)?;
    let new = NewApiKey {
        name: body.name,
        tenant,
        scopes: body.scopes,
        source_prefixes: body.source_prefixes,
        env: state.settings.key_env.clone(),
    };
    let (key, full) = api_keys::create(&state.pool, new, &caller.key).await?;
    state.keys.forget(&key.id);
    let kept = KeyBody::from(key);
    let shown = KeyBody { key: Some(full), ..kept.clone() };
    let mut response = (StatusCode::CREATED, Json(shown)).into_response();
    response.extensions_mut().insert(KeepInstead(json!(kept)));
    Ok(response)
}

/// Scopes that exist and that the caller lacks are refused; unknown ones are named later.
fn may_hand_on(caller: &Caller, scopes: &[String], prefixes: &[String]) -> Result<(), Problem> {
    let known = |scope: &&String| api_keys::SCOPES.contains(&scope.as_str());
    if let Some(scope) = scopes.iter().filter(known).find(|scope| !caller.scopes.contains(scope)) {
        return Err(Problem::new(
            Kind::InsufficientScope,
            format!("this API key lacks the scope {scope} itself, so it cannot hand it on"),
        ));
    }
    let own = &caller.source_prefixes;
    let narrower = |prefix: &String| own.iter().any(|own| prefix.starts_with(own.as_str()));
    if !own.is_empty() && (prefixes.is_empty() || !prefixes.iter().all(narrower)) {
        let detail = "this API key may use certain sources only, so it cannot hand on more; give source_prefixes within its own";
        return Err(Problem::new(Kind::SourceNotAllowed, detail));
    }
    Ok(())
}

/// Revoke a key. It stops working at once here, and within seconds elsewhere.
#[utoipa::path(
    delete, path = "/api/v1/keys/{id}", tag = "keys", operation_id = "revokeKey",
    params(("id" = String, Path, description = "Key id")),
    responses((status = 204), (status = 404, body = ProblemBody, content_type = "application/problem+json"))
)]
pub async fn revoke(
    State(state): State<ApiState>,
    caller: Caller,
    PathOf(id): PathOf<String>,
) -> Result<StatusCode, Problem> {
    caller.require(Scope::KeysWrite)?;
    if id.contains('\0') {
        return Err(Problem::not_found("key", &id));
    }
    let only: Option<&TenantId> = caller.tenant.as_ref();
    api_keys::revoke(&state.pool, &id, only, state.now(), &caller.key).await?;
    state.keys.forget(&id);
    Ok(StatusCode::NO_CONTENT)
}
