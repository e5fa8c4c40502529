//! Adjustments of a tenant's usage: history older than the window, and events that are taken
//! out. They are counted through the journal, within seconds; what one has become can be read.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{OriginalUri, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::time::Instant;
use utoipa::ToSchema;
use weir_backends::postgres;
use weir_backends::tenants::adjustments::{self, StoredAdjustment, UsageChange};
use weir_backends::tenants::voids::{self, Places, Wanted};
use weir_core::{HashKey, Position, TenantId, Timestamp};
use weir_metering::adjustment::{Adjustment, Change, Entry, void_id};
use weir_metering::meter::MeterKey;

use crate::catalogue_feed::Snapshot;
use crate::credentials::{Caller, Scope};
use crate::extract::{JsonBody, PageQuery, PathOf, QueryOf, quantity, tenant_id};
use crate::idempotent::idempotency_key;
use crate::problem::{Problem, ProblemBody};
use crate::state::ApiState;

/// Usage to be added, or taken away where it is below zero.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AdjustmentInput {
    /// Unique within the tenant, for ever: the same request again with the same API key changes
    /// nothing, another one with the id is refused. It follows from the Idempotency-Key where it
    /// is left out; one of the two is needed.
    #[schema(example = "import-2026-01-bandwidth")]
    id: Option<String>,
    /// Which meter; it must count or add up.
    meter: String,
    /// When the usage happened, RFC 3339: as long ago as you like, not in the future.
    #[schema(example = "2026-01-15T08:30:00Z")]
    at: String,
    /// How much: a number or a decimal text.
    #[schema(value_type = String, example = "-12.5")]
    quantity: Value,
    /// From how many events; of a meter that counts, the quantity, of others 0 unless given.
    event_count: Option<i64>,
    /// Dimension values; those of the meter that are left out are empty.
    #[serde(default)]
    dimensions: BTreeMap<String, String>,
    /// Why, in words.
    why: String,
}

/// An event to be taken out.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VoidInput {
    /// CloudEvents `source`.
    source: String,
    /// CloudEvents `id`.
    id: String,
    /// Where it stands; needed only for an id that was counted more than once.
    position: Option<PositionBody>,
    /// Why, in words.
    why: String,
}

/// A place in the journal.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PositionBody {
    /// Which life of the topic.
    generation: i32,
    /// Which partition.
    partition: i32,
    /// Its offset.
    offset: i64,
}

/// An event that is taken out.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct VoidBody {
    /// CloudEvents `source`.
    source: String,
    /// CloudEvents `id`.
    id: String,
    /// Where it stands.
    position: PositionBody,
}

/// What an adjustment adds to the usage of one meter in one hour.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct UsageChangeBody {
    /// Which meter.
    meter: String,
    /// Start of the hour.
    hour: String,
    /// The dimension values.
    #[schema(value_type = Object)]
    dimensions: Option<Box<RawValue>>,
    /// How much; an exact decimal.
    #[schema(example = "-12.5")]
    quantity: String,
    /// From how many events.
    event_count: i64,
}

/// An adjustment, as far as it has come.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AdjustmentBody {
    /// Its id.
    id: String,
    /// Whose usage.
    tenant: String,
    /// `asked` or `counted`.
    status: String,
    /// Who decided it: the id of an API key, or a name.
    who: String,
    /// Why.
    why: String,
    /// When it was asked for.
    asked_at: Option<String>,
    /// When it was counted, by the broker's time of its record.
    counted_at: Option<String>,
    /// Where its record stands in the journal.
    position: Option<PositionBody>,
    /// The event that it takes out; null where it takes out none.
    void: Option<VoidBody>,
    /// What it has added to usage, once it is counted; in the answer to the request, what it will
    /// add.
    usage: Vec<UsageChangeBody>,
}

/// A page of adjustments.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AdjustmentPage {
    /// By rising id.
    items: Vec<AdjustmentBody>,
    /// Of the next page; null on the last one.
    next_cursor: Option<String>,
}

impl From<Position> for PositionBody {
    fn from(Position { generation, partition, offset }: Position) -> Self {
        Self { generation, partition, offset }
    }
}

impl From<PositionBody> for Position {
    fn from(PositionBody { generation, partition, offset }: PositionBody) -> Self {
        Self { generation, partition, offset }
    }
}

impl From<UsageChange> for UsageChangeBody {
    fn from(change: UsageChange) -> Self {
        Self {
            meter: change.meter,
            hour: Timestamp::from(change.hour).to_string(),
            dimensions: RawValue::from_string(change.dimensions).ok(),
            quantity: change.quantity,
            event_count: change.event_count,
        }
    }
}

impl AdjustmentBody {
    fn of(tenant: &TenantId, stored: StoredAdjustment) -> Self {
        let status = if stored.counted.is_some() { "counted" } else { "asked" };
        Self {
            id: stored.id,
            tenant: tenant.to_string(),
            status: status.to_owned(),
            who: stored.who,
            why: stored.why,
            asked_at: stored.asked_at.map(|at| at.to_string()),
            counted_at: stored.counted.map(|(_, at)| at.to_string()),
            position: stored.counted.map(|(position, _)| position.into()),
            void: stored.void.map(|(position, source, id)| VoidBody {
                source,
                id,
                position: position.into(),
            }),
            usage: stored.usage.into_iter().map(UsageChangeBody::from).collect(),
        }
    }
}

/// List a tenant's adjustments.
#[utoipa::path(
    get, path = "/api/v1/platform/tenants/{id}/adjustments", tag = "adjustments", operation_id = "listAdjustments",
    params(("id" = String, Path, description = "Tenant id"), PageQuery),
    responses((status = 200, body = AdjustmentPage), (status = 404, body = ProblemBody, content_type = "application/problem+json"))
)]
pub async fn list(
    State(state): State<ApiState>,
    caller: Caller,
    PathOf(id): PathOf<String>,
    OriginalUri(uri): OriginalUri,
    QueryOf(query): QueryOf<PageQuery>,
) -> Result<Response, Problem> {
    caller.require(Scope::UsageRead)?;
    caller.require_tenant(&id)?;
    let tenant = tenant_id(&id)?;
    weir_backends::tenants::get(&state.pool, &id).await?;
    let page = query.read()?;
    let found = adjustments::list(&state.pool, &tenant, page.after.as_deref(), page.fetch()).await?;
    Ok(page.answer(&uri, found, |one| one.id.clone(), |one| AdjustmentBody::of(&tenant, one)))
}

/// Add usage that no event brought, or take usage away.
#[utoipa::path(
    post, path = "/api/v1/platform/tenants/{id}/adjustments", tag = "adjustments", operation_id = "createAdjustment",
    request_body = AdjustmentInput,
    params(
        ("id" = String, Path, description = "Tenant id"),
        ("Idempotency-Key" = Option<String>, Header, description = "Needed when the body has no id: the id follows from it, also after the 24 hours for which the first answer is given again"),
    ),
    responses(
        (status = 202, body = AdjustmentBody, description = "It will be counted within seconds; the same again when it was asked for before"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, body = ProblemBody, content_type = "application/problem+json", description = "Another adjustment has the id, or the tenant is deleted"),
        (status = 422, body = ProblemBody, content_type = "application/problem+json", description = "The input breaks a rule, or there is neither an id nor an Idempotency-Key"),
    )
)]
pub async fn create(
    State(state): State<ApiState>,
    caller: Caller,
    PathOf(id): PathOf<String>,
    headers: HeaderMap,
    JsonBody(input): JsonBody<AdjustmentInput>,
) -> Result<Response, Problem> {
    caller.require(Scope::AdjustmentsWrite)?;
    caller.require_platform()?;
    let tenant = tenant_id(&id)?;
    let meter = MeterKey::new(&input.meter).map_err(|error| Problem::invalid("/meter", error.to_string()))?;
    let at = Timestamp::parse(&input.at).map_err(|error| Problem::invalid("/at", error.to_string()))?;
    let quantity = quantity(&input.quantity)
        .map_err(|error| Problem::invalid("/quantity", format!("the quantity {error}")))?;
    let (key, snapshot) = (postgres::identity_key(&state.pool).await?, known(&state, &tenant).await?);
    let id = match (input.id, idempotency_key(&headers)) {
        (Some(id), _) => id,
        (None, Some(under)) => adjustments::id_of_request(&key, &caller.key, &tenant, under),
        (None, None) => {
            let detail = "give an id of your own, or send an Idempotency-Key: without either, a request that is sent again would count twice";
            return Err(Problem::invalid("/id", detail));
        }
    };
    let unless_given = || Entry::events_unless_given(&snapshot.catalogue, &meter, quantity);
    let event_count = input.event_count.unwrap_or_else(unless_given);
    let dimensions = input.dimensions.into_iter().collect();
    let adjustment = Adjustment {
        id,
        tenant,
        who: caller.key,
        why: input.why,
        change: Change::Entry(Entry { meter, dimensions, at, quantity, event_count }),
    };
    ask(&state, &snapshot, &adjustment, &key).await
}

/// Take an event that was counted out of usage. Its id stays taken: the same event sent again is
/// still a duplicate.
#[utoipa::path(
    post, path = "/api/v1/platform/tenants/{id}/events/void", tag = "adjustments", operation_id = "voidEvent",
    request_body = VoidInput, params(("id" = String, Path, description = "Tenant id")),
    responses(
        (status = 202, body = AdjustmentBody, description = "It will be taken out within seconds"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "No such event was counted"),
        (status = 409, body = ProblemBody, content_type = "application/problem+json", description = "It was taken out already, or which one is meant is not clear"),
        (status = 422, body = ProblemBody, content_type = "application/problem+json", description = "A meter that took it keeps the largest, smallest, latest or different value"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "It may not be counted or in ClickHouse yet: try again, also under the same Idempotency-Key"),
    )
)]
pub async fn void(
    State(state): State<ApiState>,
    caller: Caller,
    PathOf(id): PathOf<String>,
    JsonBody(input): JsonBody<VoidInput>,
) -> Result<Response, Problem> {
    caller.require(Scope::AdjustmentsWrite)?;
    caller.require_platform()?;
    let tenant = tenant_id(&id)?;
    let (key, snapshot) = (postgres::identity_key(&state.pool).await?, known(&state, &tenant).await?);
    let position = input.position.map(Position::from);
    let wanted = Wanted { tenant: &tenant, source: &input.source, id: &input.id, position };
    let places = Places { pool: &state.pool, projection: &state.projection, ends: &state.journal.ends };
    let found = voids::find(&places, &key, &wanted).await?;
    let adjustment = Adjustment {
        id: void_id(found.position),
        tenant: tenant.clone(),
        who: caller.key,
        why: input.why,
        change: Change::Void { position: found.position, event: found.event },
    };
    ask(&state, &snapshot, &adjustment, &key).await
}

/// The catalogue, read after the tenant was seen: it may have been made just now.
async fn known(state: &ApiState, tenant: &TenantId) -> Result<Arc<Snapshot>, Problem> {
    weir_backends::tenants::get(&state.pool, tenant.as_str()).await?;
    state.catalogue.refresh_since(Instant::now()).await?;
    Ok(state.catalogue.current())
}

/// Looks whether the meters can do it, asks for it, and tells what has become of it.
async fn ask(
    state: &ApiState,
    snapshot: &Snapshot,
    adjustment: &Adjustment,
    key: &HashKey,
) -> Result<Response, Problem> {
    let (tenant, now) = (&adjustment.tenant, state.now());
    let usage = adjustments::preview(&snapshot.catalogue, adjustment, now)?;
    adjustments::ask(&state.pool, adjustment, key, now).await?;
    let stored = adjustments::get(&state.pool, tenant, &adjustment.id).await?;
    let mut stored = stored.ok_or_else(|| Problem::not_found("adjustment", &adjustment.id))?;
    if stored.counted.is_none() {
        stored.usage = usage;
    }
    Ok((StatusCode::ACCEPTED, Json(AdjustmentBody::of(tenant, stored))).into_response())
}
