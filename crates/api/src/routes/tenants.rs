//! Tenants: list, create, read, update, suspend, reactivate, offboard.

use axum::Json;
use axum::extract::{OriginalUri, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use weir_backends::tenants::{self, NewTenant, Tenant, TenantUpdate};
use weir_core::TenantId;

use crate::credentials::{Caller, Scope};
use crate::extract::{IfMatch, JsonBody, OptionalJsonBody, PageQuery, PathOf, QueryOf, etag, if_match};
use crate::problem::{Problem, ProblemBody};
use crate::state::ApiState;

/// The longest reason of a suspension, in characters.
const REASON_CHARS_MAX: usize = 500;

/// A tenant to be made.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct CreateTenantBody {
    /// For people and invoices.
    #[schema(example = "Acme GmbH")]
    name: String,
    /// Its domain.
    #[schema(example = "acme.example.com")]
    domain: String,
    /// The key of a published plan.
    #[schema(example = "starter")]
    plan: String,
    /// Who is written to.
    #[schema(example = "billing@acme.example.com")]
    admin_email: String,
    /// The id; a new one unless given.
    #[schema(example = "acme")]
    id: Option<String>,
    /// IANA billing time zone; UTC unless given. Never changes.
    #[schema(example = "Europe/Berlin")]
    timezone: Option<String>,
    /// ISO 4217; the plan's unless given. Never changes.
    #[schema(example = "EUR")]
    currency: Option<String>,
    /// First day of billing period 0 in the zone, YYYY-MM-DD; today unless given.
    #[schema(example = "2026-11-01")]
    anchor: Option<String>,
    /// The key of the legal entity that bills; the first unless given.
    legal_entity: Option<String>,
}

/// What a tenant should be from now on.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct UpdateTenantBody {
    /// For people and invoices.
    name: String,
    /// Its domain.
    domain: String,
    /// The key of a published plan in the tenant's currency; another one holds from the
    /// next billing period.
    plan: String,
    /// Who is written to.
    admin_email: String,
}

/// Why a tenant is suspended.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SuspendBody {
    /// For people.
    reason: Option<String>,
}

/// A tenant.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TenantBody {
    /// The id: the CloudEvents subject of its events.
    id: String,
    /// For people and invoices.
    name: String,
    /// Its domain.
    domain: String,
    /// Its plan.
    plan: String,
    /// Who is written to.
    admin_email: String,
    /// `active`, `trial`, `suspended`, `offboarding` or `deleted`.
    status: String,
    /// Why, for people.
    status_reason: Option<String>,
    /// IANA billing time zone.
    timezone: String,
    /// ISO 4217.
    currency: String,
    /// First day of billing period 0.
    anchor: String,
    /// Who bills it.
    legal_entity: String,
    /// Its subscription.
    subscription: String,
    /// Rises with every change.
    revision: i64,
    /// When it was made.
    created_at: String,
    /// When it was last changed.
    updated_at: String,
}

impl From<Tenant> for TenantBody {
    fn from(tenant: Tenant) -> Self {
        Self {
            id: tenant.id.to_string(),
            name: tenant.name,
            domain: tenant.domain,
            plan: tenant.plan,
            admin_email: tenant.admin_email,
            status: tenant.status.word().to_owned(),
            status_reason: tenant.status_reason,
            timezone: tenant.zone,
            currency: tenant.currency,
            anchor: tenant.anchor.to_string(),
            legal_entity: tenant.legal_entity,
            subscription: tenant.subscription,
            revision: tenant.revision,
            created_at: tenant.created_at.to_string(),
            updated_at: tenant.updated_at.to_string(),
        }
    }
}

/// A page of tenants.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct TenantPage {
    /// By rising id.
    items: Vec<TenantBody>,
    /// Of the next page; null on the last one.
    next_cursor: Option<String>,
}

/// How far an offboarding has come.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct OffboardingBody {
    /// The tenant.
    tenant: TenantBody,
    /// What is left before it is deleted; empty when it is.
    remaining: Vec<String>,
}

fn answer(status: StatusCode, tenant: Tenant) -> Response {
    let tag = etag(tenant.revision);
    (status, [(header::ETAG, tag)], Json(TenantBody::from(tenant))).into_response()
}

/// List tenants.
#[utoipa::path(
    get, path = "/api/v1/platform/tenants", tag = "tenants", operation_id = "listTenants", params(PageQuery),
    responses((status = 200, body = TenantPage), (status = 403, body = ProblemBody, content_type = "application/problem+json"))
)]
pub async fn list(
    State(state): State<ApiState>,
    caller: Caller,
    OriginalUri(uri): OriginalUri,
    QueryOf(query): QueryOf<PageQuery>,
) -> Result<Response, Problem> {
    caller.require(Scope::TenantsRead)?;
    let page = query.read()?;
    let found =
        tenants::list(&state.pool, page.after.as_deref(), caller.tenant.as_ref(), page.fetch()).await?;
    Ok(page.answer(&uri, found, |tenant| tenant.id.to_string(), TenantBody::from))
}

/// Create a tenant, its subscription and its billing periods.
#[utoipa::path(
    post, path = "/api/v1/platform/tenants", tag = "tenants", operation_id = "createTenant",
    request_body = CreateTenantBody,
    params(("Idempotency-Key" = Option<String>, Header, description = "The first answer under a key is given again for 24 hours")),
    responses(
        (status = 201, body = TenantBody, headers(("ETag" = String), ("Location" = String))),
        (status = 409, body = ProblemBody, content_type = "application/problem+json", description = "Another tenant has the id or the domain"),
        (status = 422, body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn create(
    State(state): State<ApiState>,
    caller: Caller,
    JsonBody(body): JsonBody<CreateTenantBody>,
) -> Result<Response, Problem> {
    caller.require(Scope::TenantsWrite)?;
    caller.require_platform()?;
    let id = body.id.as_deref().map(TenantId::new).transpose();
    let id = id.map_err(|error| Problem::invalid("/id", error.to_string()))?;
    let anchor = body.anchor.as_deref().map(str::parse::<NaiveDate>).transpose();
    let anchor = anchor.map_err(|_| Problem::invalid("/anchor", "is not a day such as 2026-11-01"))?;
    let new = NewTenant {
        id,
        name: body.name,
        domain: body.domain,
        plan: body.plan,
        admin_email: body.admin_email,
        zone: body.timezone,
        anchor,
        currency: body.currency,
        legal_entity: body.legal_entity,
        starts_at: None,
    };
    let tenant = tenants::create(&state.pool, new, state.now(), &caller.key).await?;
    state.catalogue.refresh().await?;
    let location = HeaderValue::from_str(&format!("/api/v1/platform/tenants/{}", tenant.id));
    let mut response = answer(StatusCode::CREATED, tenant);
    if let Ok(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// Read a tenant.
#[utoipa::path(
    get, path = "/api/v1/platform/tenants/{id}", tag = "tenants", operation_id = "getTenant",
    params(("id" = String, Path, description = "Tenant id")),
    responses((status = 200, body = TenantBody, headers(("ETag" = String))), (status = 404, body = ProblemBody, content_type = "application/problem+json"))
)]
pub async fn get(
    State(state): State<ApiState>,
    caller: Caller,
    PathOf(id): PathOf<String>,
) -> Result<Response, Problem> {
    caller.require(Scope::TenantsRead)?;
    caller.require_tenant(&id)?;
    Ok(answer(StatusCode::OK, tenants::get(&state.pool, &id).await?))
}

/// Change a tenant. Needs If-Match.
#[utoipa::path(
    put, path = "/api/v1/platform/tenants/{id}", tag = "tenants", operation_id = "updateTenant",
    request_body = UpdateTenantBody,
    params(("id" = String, Path, description = "Tenant id"), ("If-Match" = String, Header, description = "The ETag of the last GET, or *")),
    responses(
        (status = 200, body = TenantBody, headers(("ETag" = String))),
        (status = 412, body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, body = ProblemBody, content_type = "application/problem+json"),
        (status = 428, body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn update(
    State(state): State<ApiState>,
    caller: Caller,
    PathOf(id): PathOf<String>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<UpdateTenantBody>,
) -> Result<Response, Problem> {
    caller.require(Scope::TenantsWrite)?;
    caller.require_platform()?;
    let expected = match if_match(&headers)? {
        IfMatch::Revision(revision) => Some(revision),
        IfMatch::Any => None,
    };
    let change =
        TenantUpdate { name: body.name, domain: body.domain, plan: body.plan, admin_email: body.admin_email };
    let tenant = tenants::update(&state.pool, &id, expected, change, state.now(), &caller.key).await?;
    Ok(answer(StatusCode::OK, tenant))
}

/// Suspend a tenant: its events are refused until it is reactivated.
#[utoipa::path(
    post, path = "/api/v1/platform/tenants/{id}/suspend", tag = "tenants", operation_id = "suspendTenant",
    request_body(content = Option<SuspendBody>),
    params(("id" = String, Path, description = "Tenant id")),
    responses((status = 200, body = TenantBody), (status = 409, body = ProblemBody, content_type = "application/problem+json"))
)]
pub async fn suspend(
    State(state): State<ApiState>,
    caller: Caller,
    PathOf(id): PathOf<String>,
    OptionalJsonBody(body): OptionalJsonBody<SuspendBody>,
) -> Result<Response, Problem> {
    caller.require(Scope::TenantsWrite)?;
    caller.require_platform()?;
    if let Some(reason) = &body.reason
        && (reason.chars().count() > REASON_CHARS_MAX || reason.contains(char::is_control))
    {
        let detail = format!("must have at most {REASON_CHARS_MAX} characters, none a control character");
        return Err(Problem::invalid("/reason", detail));
    }
    let tenant = tenants::suspend(&state.pool, &id, body.reason.as_deref(), state.now(), &caller.key).await?;
    state.catalogue.refresh().await?;
    Ok(answer(StatusCode::OK, tenant))
}

/// Undo a suspension.
#[utoipa::path(
    post, path = "/api/v1/platform/tenants/{id}/reactivate", tag = "tenants", operation_id = "reactivateTenant",
    params(("id" = String, Path, description = "Tenant id")),
    responses((status = 200, body = TenantBody), (status = 409, body = ProblemBody, content_type = "application/problem+json"))
)]
pub async fn reactivate(
    State(state): State<ApiState>,
    caller: Caller,
    PathOf(id): PathOf<String>,
) -> Result<Response, Problem> {
    caller.require(Scope::TenantsWrite)?;
    caller.require_platform()?;
    let tenant = tenants::reactivate(&state.pool, &id, state.now(), &caller.key).await?;
    state.catalogue.refresh().await?;
    Ok(answer(StatusCode::OK, tenant))
}

/// Offboard a tenant: its subscription ends, its keys are revoked, its events are refused.
/// It is deleted once every period is billed and every invoice paid; asked again, it says
/// what is left. What was counted is kept.
#[utoipa::path(
    delete, path = "/api/v1/platform/tenants/{id}", tag = "tenants", operation_id = "deleteTenant",
    params(("id" = String, Path, description = "Tenant id")),
    responses(
        (status = 200, body = OffboardingBody, description = "It is deleted"),
        (status = 202, body = OffboardingBody, description = "It is leaving; the body says what is left"),
    )
)]
pub async fn delete(
    State(state): State<ApiState>,
    caller: Caller,
    PathOf(id): PathOf<String>,
) -> Result<Response, Problem> {
    caller.require(Scope::TenantsWrite)?;
    caller.require_platform()?;
    let done = tenants::offboard(&state.pool, &id, state.now(), &caller.key).await?;
    state.keys.clear();
    state.catalogue.refresh().await?;
    let status = if done.remaining.is_empty() { StatusCode::OK } else { StatusCode::ACCEPTED };
    let tag = etag(done.tenant.revision);
    let body = OffboardingBody { tenant: done.tenant.into(), remaining: done.remaining };
    Ok((status, [(header::ETAG, tag)], Json(body)).into_response())
}
