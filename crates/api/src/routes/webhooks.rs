//! Webhook endpoints: made (the secret is shown once), listed, deleted.

use axum::Json;
use axum::extract::{OriginalUri, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use uuid::Uuid;
use weir_backends::tenants::webhooks::{self, WebhookEndpoint};
use weir_wire::alert::EVENT_TYPES;

use super::webhook_url;
use crate::credentials::{Caller, Scope};
use crate::extract::{JsonBody, PageQuery, PathOf, QueryOf};
use crate::idempotent::KeepInstead;
use crate::problem::{Kind, Problem, ProblemBody};
use crate::state::ApiState;

/// An endpoint to be made.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateWebhookBody {
    /// Where to.
    #[schema(example = "https://hooks.example.com/weir")]
    url: String,
    /// Whose; the platform's unless given, which gets every tenant's events (with a
    /// tenant's key: that tenant's).
    tenant: Option<String>,
    /// Which events: `quota.threshold.reached`, `quota.threshold.resolved`, `usage.conflict`,
    /// `usage.series.bounded`, `invoice.finalized`; all unless given.
    #[serde(default)]
    event_types: Vec<String>,
}

/// An endpoint.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct WebhookBody {
    /// Its id.
    id: String,
    /// Whose; null: the platform's.
    tenant: Option<String>,
    /// Where to.
    url: String,
    /// Which events; empty: all.
    event_types: Vec<String>,
    /// When it stopped being used.
    disabled_at: Option<String>,
    /// Why.
    disabled_why: Option<String>,
    /// When it was made.
    created_at: String,
    /// What messages are signed with (Standard Webhooks): only in the answer that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

/// A page of endpoints.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct WebhookPage {
    /// By rising id.
    items: Vec<WebhookBody>,
    /// Of the next page; null on the last one.
    next_cursor: Option<String>,
}

impl From<WebhookEndpoint> for WebhookBody {
    fn from(endpoint: WebhookEndpoint) -> Self {
        Self {
            id: endpoint.id.to_string(),
            tenant: endpoint.tenant,
            url: endpoint.url,
            event_types: endpoint.event_types,
            disabled_at: endpoint.disabled_at.map(|at| at.to_string()),
            disabled_why: endpoint.disabled_why,
            created_at: endpoint.created_at.to_string(),
            secret: None,
        }
    }
}

/// List webhook endpoints.
#[utoipa::path(
    get, path = "/api/v1/webhooks", tag = "webhooks", operation_id = "listWebhooks", params(PageQuery),
    responses((status = 200, body = WebhookPage))
)]
pub async fn list(
    State(state): State<ApiState>,
    caller: Caller,
    OriginalUri(uri): OriginalUri,
    QueryOf(query): QueryOf<PageQuery>,
) -> Result<Response, Problem> {
    caller.require(Scope::WebhooksWrite)?;
    let page = query.read()?;
    let after = page.after.as_deref().map(Uuid::parse_str).transpose();
    let after = after.map_err(|_| Problem::new(Kind::Malformed, "cursor is not one that this route gave"))?;
    let found = webhooks::list(&state.pool, caller.tenant.as_ref(), after, page.fetch()).await?;
    Ok(page.answer(&uri, found, |endpoint| endpoint.id.to_string(), WebhookBody::from))
}

/// Make a webhook endpoint. The answer is the only place where its secret is shown.
#[utoipa::path(
    post, path = "/api/v1/webhooks", tag = "webhooks", operation_id = "createWebhook",
    request_body = CreateWebhookBody,
    responses((status = 201, body = WebhookBody), (status = 422, body = ProblemBody, content_type = "application/problem+json"))
)]
pub async fn create(
    State(state): State<ApiState>,
    caller: Caller,
    JsonBody(body): JsonBody<CreateWebhookBody>,
) -> Result<Response, Problem> {
    caller.require(Scope::WebhooksWrite)?;
    let tenant = caller.narrow(body.tenant.as_deref())?;
    if let Some(tenant) = &tenant {
        weir_backends::tenants::get(&state.pool, tenant.as_str()).await?;
    }
    webhook_url::check(&body.url, state.settings.allow_private_webhooks)
        .map_err(|detail| Problem::invalid("/url", detail))?;
    check_event_types(&body.event_types)?;
    let now = state.now();
    let made = webhooks::create(&state.pool, tenant.as_ref(), &body.url, &body.event_types, now, &caller.key)
        .await?;
    let kept = WebhookBody::from(made.0);
    let shown = WebhookBody { secret: Some(made.1), ..kept.clone() };
    let mut response = (StatusCode::CREATED, Json(shown)).into_response();
    response.extensions_mut().insert(KeepInstead(json!(kept)));
    Ok(response)
}

/// Nobody should wait for events that do not exist.
fn check_event_types(asked: &[String]) -> Result<(), Problem> {
    if asked.len() > EVENT_TYPES.len() {
        let detail = format!("must hold at most {} types; leave it out for all", EVENT_TYPES.len());
        return Err(Problem::invalid("/event_types", detail));
    }
    match asked.iter().position(|asked| !EVENT_TYPES.contains(&asked.as_str())) {
        Some(index) => {
            let detail = format!("is none of the event types {}", EVENT_TYPES.join(", "));
            Err(Problem::invalid(format!("/event_types/{index}"), detail))
        }
        None => Ok(()),
    }
}

/// Delete a webhook endpoint.
#[utoipa::path(
    delete, path = "/api/v1/webhooks/{id}", tag = "webhooks", operation_id = "deleteWebhook",
    params(("id" = String, Path, description = "Endpoint id")),
    responses((status = 204), (status = 404, body = ProblemBody, content_type = "application/problem+json"))
)]
pub async fn delete(
    State(state): State<ApiState>,
    caller: Caller,
    PathOf(id): PathOf<String>,
) -> Result<StatusCode, Problem> {
    caller.require(Scope::WebhooksWrite)?;
    let id = Uuid::parse_str(&id).map_err(|_| Problem::not_found("webhook", &id))?;
    webhooks::delete(&state.pool, id, caller.tenant.as_ref(), state.now(), &caller.key).await?;
    Ok(StatusCode::NO_CONTENT)
}
