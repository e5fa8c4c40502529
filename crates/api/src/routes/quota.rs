//! Quota answers, from memory alone (invariant 12): no request touches Postgres or Kafka.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use weir_core::{Quantity, Timestamp};
use weir_metering::meter::MeterKey;
use weir_metering::quota;

use crate::credentials::{Caller, Scope};
use crate::extract::PathOf;
use crate::problem::{Kind, Problem, ProblemBody};
use crate::state::ApiState;

/// Whether a tenant may use more. Decimals are texts; null without a limit.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct QuotaBody {
    /// Whether it may.
    allowed: bool,
    /// Usage in the billing period. Levels are kept in memory for limited meters only: without a
    /// limit it is null, and `GET /api/v1/usage` has it.
    #[schema(example = "812.5")]
    used: Option<String>,
    /// The limit.
    #[schema(example = "1000")]
    limit: Option<String>,
    /// What is left of it.
    #[schema(example = "187.5")]
    remaining: Option<String>,
    /// When the billing period ends.
    resets_at: Option<String>,
    /// How far the answer has seen the journal, in its time.
    as_of: Option<String>,
    /// `soft` or `hard`.
    enforcement: Option<String>,
    /// Whether that is longer ago than is tolerated.
    stale: bool,
    /// Why it may not, when the limit is not the reason: `suspended`.
    reason: Option<String>,
}

impl QuotaBody {
    fn unlimited() -> Self {
        Self {
            allowed: true,
            used: None,
            limit: None,
            remaining: None,
            resets_at: None,
            as_of: None,
            enforcement: None,
            stale: false,
            reason: None,
        }
    }

    fn of(level: &quota::QuotaLevel, now: Timestamp, max_staleness_ms: i64) -> Self {
        let Some(limit) = &level.limit else { return Self::unlimited() };
        let answer = quota::answer(level, now, max_staleness_ms);
        let enforcement = match limit.enforcement {
            quota::Enforcement::Soft => "soft",
            quota::Enforcement::Hard => "hard",
        };
        Self {
            allowed: answer.allowed,
            used: Some(answer.used.to_string()),
            limit: answer.limit.map(|q: Quantity| q.to_string()),
            remaining: answer.remaining.map(|q: Quantity| q.to_string()),
            resets_at: answer.resets_at.map(|at| at.to_string()),
            as_of: Some(answer.as_of.to_string()),
            enforcement: Some(enforcement.to_owned()),
            stale: answer.stale,
            reason: None,
        }
    }
}

/// Whether a tenant may use more of a meter in its billing period.
#[utoipa::path(
    get, path = "/api/v1/quota/{tenant}/{meter}", tag = "quota", operation_id = "getQuota",
    params(("tenant" = String, Path, description = "Tenant id"), ("meter" = String, Path, description = "Meter key")),
    responses(
        (status = 200, body = QuotaBody),
        (status = 403, body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The levels have not been read yet"),
    )
)]
pub async fn answer(
    State(state): State<ApiState>,
    caller: Caller,
    PathOf((tenant, meter)): PathOf<(String, String)>,
) -> Result<Json<QuotaBody>, Problem> {
    caller.require(Scope::UsageRead)?;
    caller.require_tenant(&tenant)?;
    let now = state.now();
    let snapshot = state.catalogue.current();
    if snapshot.catalogue.tenant(&tenant).is_none() {
        return Err(Problem::not_found("tenant", &tenant));
    }
    let known = MeterKey::new(&meter).is_ok_and(|key| snapshot.catalogue.meters().any(|m| m.key == key));
    if !known {
        return Err(Problem::not_found("meter", &meter));
    }
    let mut body = match state.quota.level(&tenant, &meter) {
        Some(level) => QuotaBody::of(&level, now, state.settings.max_staleness_ms),
        None if state.quota.is_caught_up() => QuotaBody::unlimited(),
        None => {
            return Err(Problem::new(
                Kind::Unavailable,
                "the quota levels have not been read to their end yet",
            ));
        }
    };
    if let Some(status) = snapshot.refused.get(&tenant) {
        body.allowed = false;
        body.reason = Some(status.word().to_owned());
    }
    state.metrics.quota_answers.with_label_values(&[if body.allowed { "true" } else { "false" }]).inc();
    Ok(Json(body))
}
