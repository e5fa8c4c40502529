//! A tenant's limits: read, and asked for. In short, `{"bandwidth": 1000}` is a hard limit on
//! the meter `bandwidth`; at length, `{"limits": [{…}]}` says everything.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use weir_backends::tenants::limits;
use weir_core::Quantity;
use weir_metering::meter::MeterKey;
use weir_metering::quota::{Enforcement, Limit, LimitSet, WhenStale};

use crate::credentials::{Caller, Scope};
use crate::extract::{IfMatch, JsonBody, PathOf, etag, if_match, quantity, tenant_id};
use crate::problem::{FieldError, Kind, Problem, ProblemBody};
use crate::state::ApiState;

/// Limits to be asked for: either form.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub struct LimitsInput {
    /// At length.
    limits: Option<Vec<LimitInput>>,
    /// In short: meter keys with a number or a decimal text; the limits are hard, with
    /// alerts at 80 and 100 percent.
    #[serde(flatten)]
    #[schema(value_type = BTreeMap<String, String>)]
    short: BTreeMap<String, Value>,
}

/// One limit, at length.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitInput {
    /// Which meter.
    meter: String,
    /// The limit for a billing period: a number or a decimal text.
    #[schema(value_type = String, example = "1000")]
    limit: Value,
    /// `soft` or `hard`; hard unless given.
    enforcement: Option<String>,
    /// Percentages at which an alert is raised, rising; 80 and 100 unless given.
    thresholds_percent: Option<Vec<u16>>,
    /// What to answer when the level is stale: `allow` (unless given) or `deny`.
    when_stale: Option<String>,
}

/// One limit.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct LimitBody {
    meter: String,
    limit: String,
    enforcement: String,
    thresholds_percent: Vec<u16>,
    when_stale: String,
}

/// A tenant's limits. They come into force within seconds, through the journal.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct LimitsBody {
    /// Whose.
    tenant: String,
    /// Rises with every change.
    revision: i64,
    /// One a meter at most.
    limits: Vec<LimitBody>,
}

impl From<LimitSet> for LimitsBody {
    fn from(set: LimitSet) -> Self {
        let limit = |limit: Limit| LimitBody {
            meter: limit.meter.to_string(),
            limit: limit.limit.to_string(),
            enforcement: match limit.enforcement {
                Enforcement::Soft => "soft".to_owned(),
                Enforcement::Hard => "hard".to_owned(),
            },
            thresholds_percent: limit.thresholds_percent,
            when_stale: match limit.when_stale {
                WhenStale::Allow => "allow".to_owned(),
                WhenStale::Deny => "deny".to_owned(),
            },
        };
        let limits = set.limits.into_iter().map(limit).collect();
        Self { tenant: set.tenant.to_string(), revision: set.revision, limits }
    }
}

fn answer(set: LimitSet) -> Response {
    ([(header::ETAG, etag(set.revision))], Json(LimitsBody::from(set))).into_response()
}

/// Read a tenant's limits.
#[utoipa::path(
    get, path = "/api/v1/platform/tenants/{id}/limits", tag = "tenants", operation_id = "getTenantLimits",
    params(("id" = String, Path, description = "Tenant id")),
    responses((status = 200, body = LimitsBody, headers(("ETag" = String))), (status = 404, body = ProblemBody, content_type = "application/problem+json"))
)]
pub async fn get(
    State(state): State<ApiState>,
    caller: Caller,
    PathOf(id): PathOf<String>,
) -> Result<Response, Problem> {
    caller.require(Scope::TenantsRead)?;
    caller.require_tenant(&id)?;
    let tenant = tenant_id(&id)?;
    Ok(answer(limits::get(&state.pool, &tenant).await?))
}

/// Ask for limits, instead of all that there are. Needs If-Match.
#[utoipa::path(
    put, path = "/api/v1/platform/tenants/{id}/limits", tag = "tenants", operation_id = "putTenantLimits",
    request_body = LimitsInput,
    params(("id" = String, Path, description = "Tenant id"), ("If-Match" = String, Header, description = "The ETag of the last GET, or *")),
    responses(
        (status = 200, body = LimitsBody, headers(("ETag" = String))),
        (status = 412, body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, body = ProblemBody, content_type = "application/problem+json"),
        (status = 428, body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn put(
    State(state): State<ApiState>,
    caller: Caller,
    PathOf(id): PathOf<String>,
    headers: HeaderMap,
    JsonBody(input): JsonBody<LimitsInput>,
) -> Result<Response, Problem> {
    caller.require(Scope::TenantsWrite)?;
    caller.require_platform()?;
    let tenant = tenant_id(&id)?;
    let expected = match if_match(&headers)? {
        IfMatch::Revision(revision) => Some(revision),
        IfMatch::Any => None,
    };
    let snapshot = state.catalogue.current();
    let meters: Vec<&str> = snapshot.catalogue.meters().map(|meter| meter.key.as_str()).collect();
    let limits = read(input, &meters)?;
    Ok(answer(limits::put(&state.pool, &tenant, limits, expected, state.now(), &caller.key).await?))
}

fn read(input: LimitsInput, meters: &[&str]) -> Result<Vec<Limit>, Problem> {
    let at_length = input.limits.unwrap_or_default().into_iter().enumerate();
    let at_length = at_length.map(|(index, limit)| (format!("/limits/{index}"), limit));
    let short = input.short.into_iter().map(|(meter, limit)| {
        let limit =
            LimitInput { meter, limit, enforcement: None, thresholds_percent: None, when_stale: None };
        (format!("/{}", limit.meter), limit)
    });
    let mut errors = Vec::new();
    let mut limits = Vec::new();
    for (pointer, input) in at_length.chain(short) {
        match read_one(input, meters) {
            Ok(limit) => limits.push(limit),
            Err(detail) => errors.push(FieldError { pointer, detail }),
        }
    }
    if errors.is_empty() {
        return Ok(limits);
    }
    let words: Vec<_> = errors.iter().map(|e| format!("{}: {}", e.pointer, e.detail)).collect();
    Err(Problem::new(Kind::Invalid, words.join("; ")).with_errors(errors))
}

fn read_one(input: LimitInput, meters: &[&str]) -> Result<Limit, String> {
    let meter = MeterKey::new(&input.meter).map_err(|error| error.to_string())?;
    if !meters.contains(&meter.as_str()) {
        let mut known = meters.to_vec();
        known.sort_unstable();
        known.dedup();
        return Err(format!("there is no meter {meter}; the meters are {}", known.join(", ")));
    }
    let limit = quantity(&input.limit).map_err(|error| format!("the limit {error}"))?;
    if limit <= Quantity::ZERO {
        return Err("the limit must be above zero".to_owned());
    }
    let enforcement = match input.enforcement.as_deref() {
        None | Some("hard") => Enforcement::Hard,
        Some("soft") => Enforcement::Soft,
        Some(_) => return Err("enforcement must be soft or hard".to_owned()),
    };
    let when_stale = match input.when_stale.as_deref() {
        None | Some("allow") => WhenStale::Allow,
        Some("deny") => WhenStale::Deny,
        Some(_) => return Err("when_stale must be allow or deny".to_owned()),
    };
    let thresholds_percent = input.thresholds_percent.unwrap_or_else(|| vec![80, 100]);
    Ok(Limit { meter, limit, enforcement, thresholds_percent, when_stale })
}
