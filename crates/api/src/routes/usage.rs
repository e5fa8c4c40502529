//! What a tenant used, from the ledger's folded usage.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};
use weir_backends::tenants::usage::{self, ROWS_MAX, UsageLine, UsageQuery};
use weir_core::time::DAY_MS;
use weir_core::{Span, TenantId, Timestamp};

use crate::credentials::{Caller, Scope};
use crate::extract::{PathOf, QueryOf, tenant_id};
use crate::problem::{Kind, Problem, ProblemBody};
use crate::state::ApiState;

/// The longest span of one answer: a year and a month.
const SPAN_DAYS_MAX: i64 = 400;
/// The longest span of one answer by hour.
const SPAN_BY_HOUR_DAYS_MAX: i64 = 31;

/// What to ask for.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct UsageParameters {
    /// RFC 3339; the start of the current billing period unless given.
    from: Option<String>,
    /// RFC 3339, not included; the end of the current billing period unless given. At most 400
    /// days after `from`, or 31 when grouped by hour.
    to: Option<String>,
    /// One meter; all unless given.
    meter: Option<String>,
    /// `meter`, `hour`, `dimensions`, or several of them, comma separated; `meter` unless given.
    group_by: Option<String>,
}

/// One line.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct UsageLineBody {
    /// Which meter.
    meter: String,
    /// Its unit.
    unit: String,
    /// Start of the hour, when grouped by hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    hour: Option<String>,
    /// The dimension values, when grouped by dimensions.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    dimensions: Option<Box<RawValue>>,
    /// How much; an exact decimal.
    #[schema(example = "1024.5")]
    quantity: String,
    /// From how many events.
    event_count: i64,
}

/// Usage in a span.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct UsageBody {
    /// Whose.
    tenant: String,
    /// The span's start.
    from: String,
    /// The span's end, not included.
    to: String,
    /// By rising meter, hour, dimensions.
    usage: Vec<UsageLineBody>,
}

/// What a tenant used.
#[utoipa::path(
    get, path = "/api/v1/platform/tenants/{id}/usage", tag = "tenants", operation_id = "getTenantUsage",
    params(("id" = String, Path, description = "Tenant id"), UsageParameters),
    responses((status = 200, body = UsageBody), (status = 404, body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "There is no such meter.", body = ProblemBody, content_type = "application/problem+json"))
)]
pub async fn read(
    State(state): State<ApiState>,
    caller: Caller,
    PathOf(id): PathOf<String>,
    QueryOf(parameters): QueryOf<UsageParameters>,
) -> Result<Json<UsageBody>, Problem> {
    caller.require(Scope::UsageRead)?;
    caller.require_tenant(&id)?;
    let tenant = tenant_id(&id)?;
    weir_backends::tenants::get(&state.pool, &id).await?;
    if let Some(meter) = &parameters.meter
        && !usage::meter_exists(&state.pool, meter).await?
    {
        let meter: String = meter.chars().take(64).collect();
        let detail = format!("meter: there is no meter {meter:?}; GET /api/v1/meters lists them");
        return Err(Problem::new(Kind::Invalid, detail));
    }
    let groups = groups(parameters.group_by.as_deref().unwrap_or("meter"))?;
    let span = span(&state, &tenant, &parameters).await?;
    check_span(span, groups.hour)?;
    let query = UsageQuery {
        tenant,
        span,
        meter: parameters.meter,
        by_hour: groups.hour,
        by_dimensions: groups.dimensions,
    };
    let lines = usage::read(&state.pool, &query).await?;
    if i64::try_from(lines.len()).unwrap_or(i64::MAX) >= ROWS_MAX {
        let detail = format!("the answer has {ROWS_MAX} lines or more; ask for a shorter span or one meter");
        return Err(Problem::new(Kind::Malformed, detail));
    }
    Ok(Json(UsageBody {
        tenant: id,
        from: span.start.to_string(),
        to: span.end.to_string(),
        usage: lines.into_iter().map(body).collect(),
    }))
}

fn body(line: UsageLine) -> UsageLineBody {
    UsageLineBody {
        meter: line.meter,
        unit: line.unit,
        hour: line.hour.map(|hour| hour.to_string()),
        dimensions: line.dimensions.and_then(|text| RawValue::from_string(text).ok()),
        quantity: line.quantity.to_string(),
        event_count: line.event_count,
    }
}

struct Groups {
    hour: bool,
    dimensions: bool,
}

fn groups(text: &str) -> Result<Groups, Problem> {
    let mut groups = Groups { hour: false, dimensions: false };
    for name in text.split(',').map(str::trim) {
        match name {
            "meter" => {}
            "hour" => groups.hour = true,
            "dimension" | "dimensions" => groups.dimensions = true,
            other => {
                let other: String = other.chars().take(32).collect();
                let detail = format!("group_by={other:?}: group by meter, hour or dimensions");
                return Err(Problem::new(Kind::Malformed, detail));
            }
        }
    }
    Ok(groups)
}

fn check_span(span: Span, by_hour: bool) -> Result<(), Problem> {
    let (days, named) =
        if by_hour { (SPAN_BY_HOUR_DAYS_MAX, "days by hour") } else { (SPAN_DAYS_MAX, "days") };
    if span.end > span.start.plus_millis(days * DAY_MS) {
        let Span { start, end } = span;
        let detail = format!("from {start} to {end} is longer than {days} {named}; ask for a part at a time");
        return Err(Problem::new(Kind::Malformed, detail));
    }
    Ok(())
}

async fn span(state: &ApiState, tenant: &TenantId, parameters: &UsageParameters) -> Result<Span, Problem> {
    let read = |name: &str, text: &Option<String>| {
        let read = text.as_deref().map(Timestamp::parse).transpose();
        read.map_err(|error| Problem::new(Kind::Malformed, format!("{name}: {error}")))
    };
    let (from, to) = (read("from", &parameters.from)?, read("to", &parameters.to)?);
    let (start, end) = match (from, to) {
        (Some(from), Some(to)) => (from, to),
        (from, to) => {
            let now = state.now();
            let period = usage::period_at(&state.pool, tenant, now).await?;
            let period = period.unwrap_or(Span { start: now, end: now.plus_millis(1) });
            (from.unwrap_or(period.start), to.unwrap_or(period.end))
        }
    };
    if start >= end {
        return Err(Problem::new(Kind::Malformed, format!("from ({start}) must lie before to ({end})")));
    }
    Ok(Span { start, end })
}
