//! Alerts that were raised, newest first.

use axum::extract::{OriginalUri, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use weir_backends::tenants::alerts::{self, RaisedAlert};

use crate::credentials::{Caller, Scope};
use crate::extract::{PageQuery, QueryOf};
use crate::problem::Problem;
use crate::state::ApiState;

/// Which alerts.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AlertQuery {
    /// Of one tenant.
    tenant: Option<String>,
    /// How many items; 1 to 500, 50 unless given.
    limit: Option<u32>,
    /// Where to go on: `next_cursor` of the page before.
    cursor: Option<String>,
}

/// An alert.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AlertBody {
    /// The message id, the same as in webhooks.
    id: String,
    /// Whose.
    tenant: Option<String>,
    /// When it was committed.
    created_at: String,
    /// As it is told to webhooks: `type`, `timestamp`, `data`.
    #[schema(value_type = Object)]
    event: Value,
}

/// A page of alerts.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AlertPage {
    /// Newest first.
    items: Vec<AlertBody>,
    /// Of the next page; null on the last one.
    next_cursor: Option<String>,
}

impl From<RaisedAlert> for AlertBody {
    fn from(alert: RaisedAlert) -> Self {
        Self {
            id: alert.id,
            tenant: alert.tenant,
            created_at: alert.created_at.to_string(),
            event: alert.body,
        }
    }
}

/// List alerts, newest first.
#[utoipa::path(
    get, path = "/api/v1/alerts", tag = "alerts", operation_id = "listAlerts", params(AlertQuery),
    responses((status = 200, body = AlertPage))
)]
pub async fn list(
    State(state): State<ApiState>,
    caller: Caller,
    OriginalUri(uri): OriginalUri,
    QueryOf(query): QueryOf<AlertQuery>,
) -> Result<Response, Problem> {
    caller.require(Scope::UsageRead)?;
    let only = caller.narrow(query.tenant.as_deref())?;
    let page = PageQuery { limit: query.limit, cursor: query.cursor }.read()?;
    let found = alerts::list(&state.pool, only.as_ref(), page.after.as_deref(), page.fetch()).await?;
    Ok(page.answer(&uri, found, |alert| alert.id.clone(), AlertBody::from))
}
