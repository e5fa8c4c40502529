//! All routes together, and what stands around them: request ids, logs, metrics, panics,
//! limits on bodies and rates, unknown routes and wrong methods as problems.

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::Uri;
use axum::middleware::{from_fn, from_fn_with_state};
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::{Config as DocsConfig, SwaggerUi};

use crate::extract::JSON_BYTES_MAX;
use crate::idempotent::idempotent;
use crate::lingering::lingering;
use crate::observed::{observed, panicked};
use crate::openapi::Document;
use crate::problem::{Kind, Problem};
use crate::rate_limit::rate_limited;
use crate::state::ApiState;
use crate::{events, routes as handlers};

/// The routes that the document describes.
pub(crate) fn documented() -> OpenApiRouter<ApiState> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(events::ingest))
        .routes(routes!(handlers::quota::answer))
        .routes(routes!(handlers::problems::describe))
        .merge(managed())
}

/// Everything but events, quota answers and what needs no key.
fn managed() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(handlers::tenants::list, handlers::tenants::create))
        .routes(routes!(handlers::tenants::get, handlers::tenants::update, handlers::tenants::delete))
        .routes(routes!(handlers::tenants::suspend))
        .routes(routes!(handlers::tenants::reactivate))
        .routes(routes!(handlers::usage::read))
        .routes(routes!(handlers::limits::get, handlers::limits::put))
        .routes(routes!(handlers::adjustments::list, handlers::adjustments::create))
        .routes(routes!(handlers::adjustments::void))
        .routes(routes!(handlers::catalog::meters))
        .routes(routes!(handlers::catalog::plans))
        .routes(routes!(handlers::invoices::list))
        .routes(routes!(handlers::invoices::get))
        .routes(routes!(handlers::invoices::put_payment))
        .routes(routes!(handlers::alerts::list))
        .routes(routes!(handlers::webhooks::list, handlers::webhooks::create))
        .routes(routes!(handlers::webhooks::delete))
        .routes(routes!(handlers::keys::list, handlers::keys::create))
        .routes(routes!(handlers::keys::revoke))
}

/// The API.
pub fn router(state: ApiState) -> Router {
    let mut keyed = OpenApiRouter::new()
        .routes(routes!(events::ingest))
        .routes(routes!(handlers::quota::answer))
        .merge(managed().layer(from_fn_with_state(state.clone(), idempotent)));
    if state.settings.key_requests_per_minute_max > 0 {
        keyed = keyed.layer(from_fn_with_state(state.clone(), rate_limited));
    }
    let (routes, document) = OpenApiRouter::with_openapi(Document::openapi())
        .merge(keyed)
        .routes(routes!(handlers::problems::describe))
        .split_for_parts();
    let docs: Router<ApiState> =
        SwaggerUi::new("/docs").url("/api/v1/openapi.json", document).config(docs_config()).into();
    routes
        .merge(docs)
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(JSON_BYTES_MAX))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(state.clone(), observed))
        .layer(from_fn(lingering))
        .with_state(state)
}

/// The page loads nothing from outside: by default it would send the document's address to a
/// validator on the internet.
fn docs_config() -> DocsConfig<'static> {
    DocsConfig::default().validator_url("none")
}

async fn unknown_route(uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(128).collect();
    Problem::new(Kind::UnknownRoute, format!("there is no route {path:?}; /docs lists all"))
}

async fn wrong_method() -> Problem {
    Problem::new(Kind::MethodNotAllowed, "the Allow header lists the methods of this route")
}
