//! The answer to a request of events: 204, 202 with what was refused, or a problem when
//! nothing was taken.

use axum::Json;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use crate::problem::{Kind, Problem, ProblemBody};

/// An event that was refused.
#[derive(Clone, Debug)]
pub struct Rejection {
    /// Which event of the request, from 0.
    pub index: usize,
    /// Its id, where it could be read.
    pub id: Option<String>,
    /// Why.
    pub problem: Problem,
}

/// One refused event.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RejectionBody {
    /// Which event of the request, from 0.
    index: usize,
    /// Its id, where it could be read.
    id: Option<String>,
    /// Why.
    problem: ProblemBody,
}

/// What became of the events.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct IngestBody {
    /// How many were taken.
    accepted: usize,
    /// Which were refused, and why.
    rejected: Vec<RejectionBody>,
}

/// Makes the answer.
///
/// # Errors
/// A problem when every event was refused: 403 of one kind when all were for that reason,
/// 422 otherwise; `rejected` lists them either way.
pub fn answer(accepted: usize, rejected: Vec<Rejection>, headers: &HeaderMap) -> Result<Response, Problem> {
    let common = common_kind(&rejected);
    let first = rejected.first().map(|rejection| rejection.problem.body().detail);
    let rejected: Vec<_> = rejected
        .into_iter()
        .map(|r| RejectionBody { index: r.index, id: r.id, problem: r.problem.body() })
        .collect();
    match (accepted, first) {
        (accepted, None) if wants_body(headers) => {
            Ok((StatusCode::OK, Json(IngestBody { accepted, rejected })).into_response())
        }
        (_, None) => Ok(StatusCode::NO_CONTENT.into_response()),
        (0, Some(first)) => {
            let kind = match common {
                Some(kind) if rejected.len() == 1 || kind.status() == StatusCode::FORBIDDEN => kind,
                _ => Kind::EventsRefused,
            };
            let detail = if rejected.len() == 1 {
                first
            } else {
                format!("none of the {} events was taken; the first: {first}", rejected.len())
            };
            let problem = Problem::new(kind, detail);
            Err(problem.with_member("accepted", json!(0)).with_member("rejected", json!(rejected)))
        }
        (accepted, Some(_)) => {
            Ok((StatusCode::ACCEPTED, Json(IngestBody { accepted, rejected })).into_response())
        }
    }
}

/// The kind that all rejections share.
fn common_kind(rejected: &[Rejection]) -> Option<Kind> {
    let first = rejected.first()?.problem.kind();
    rejected.iter().all(|rejection| rejection.problem.kind() == first).then_some(first)
}

/// Whether `Prefer: return=representation` was sent.
fn wants_body(headers: &HeaderMap) -> bool {
    let values = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|preference| {
        preference.trim().split(';').next().unwrap_or("").trim().eq_ignore_ascii_case("return=representation")
    })
}
