//! Meters and plans as they are published: every version, by key.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use weir_backends::catalog;

use crate::credentials::{Caller, Scope};
use crate::problem::{Kind, Problem};
use crate::state::ApiState;

/// Published versions, as the catalogue file names their members.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct VersionsBody {
    /// By rising key and version.
    #[schema(value_type = Vec<Object>)]
    items: Vec<Value>,
}

fn shown<T: Serialize>(items: &[T]) -> Result<Json<VersionsBody>, Problem> {
    match json!(items) {
        Value::Array(items) => Ok(Json(VersionsBody { items })),
        _ => Err(Problem::new(Kind::Internal, "the catalogue could not be written as JSON")),
    }
}

/// All versions of all meters.
#[utoipa::path(
    get, path = "/api/v1/meters", tag = "catalogue", operation_id = "listMeters",
    responses((status = 200, body = VersionsBody))
)]
pub async fn meters(State(state): State<ApiState>, caller: Caller) -> Result<Json<VersionsBody>, Problem> {
    caller.require(Scope::TenantsRead)?;
    shown(&catalog::published(&state.pool).await?.meters)
}

/// All versions of all plans.
#[utoipa::path(
    get, path = "/api/v1/plans", tag = "catalogue", operation_id = "listPlans",
    responses((status = 200, body = VersionsBody))
)]
pub async fn plans(State(state): State<ApiState>, caller: Caller) -> Result<Json<VersionsBody>, Problem> {
    caller.require(Scope::TenantsRead)?;
    shown(&catalog::published(&state.pool).await?.plans)
}
