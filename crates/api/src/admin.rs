//! Health and metrics, on a listener of their own: `/healthz` says that the process lives,
//! `/readyz` runs every check and says what each found, `/metrics` is for Prometheus.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use prometheus::{Registry, TextEncoder};
use serde_json::{Map, Value, json};

use crate::problem::{Kind, Problem};

/// How long a check may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(3);

/// What a check found: words for people, or what is wrong.
pub type CheckOutcome = Result<String, String>;
type Run = dyn Fn() -> Pin<Box<dyn Future<Output = CheckOutcome> + Send>> + Send + Sync;

/// One thing that must be well for this process to do its work.
#[derive(Clone)]
pub struct Check {
    name: String,
    run: Arc<Run>,
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Check {
    /// A check under a name such as `postgres`.
    pub fn new<F, Fut>(name: &str, run: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = CheckOutcome> + Send + 'static,
    {
        Self { name: name.to_owned(), run: Arc::new(move || Box::pin(run())) }
    }

    async fn found(self) -> (String, CheckOutcome) {
        let found = tokio::time::timeout(CHECK_TIMEOUT, (self.run)()).await;
        let outcome = found.unwrap_or_else(|_| Err("no answer within three seconds".to_owned()));
        (self.name, outcome)
    }
}

#[derive(Clone)]
struct AdminState {
    checks: Arc<Vec<Check>>,
    registry: Registry,
}

/// The routes of the admin listener.
pub fn admin_router(checks: Vec<Check>, registry: Registry) -> Router {
    Router::new()
        .route("/healthz", get(|| async { Json(json!({ "status": "ok" })) }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .fallback(|| async { Problem::new(Kind::UnknownRoute, "there are /healthz, /readyz and /metrics") })
        .with_state(AdminState { checks: Arc::new(checks), registry })
}

async fn ready(State(state): State<AdminState>) -> Response {
    let running: Vec<_> = state.checks.iter().cloned().map(|check| tokio::spawn(check.found())).collect();
    let mut checks = Map::new();
    let mut all_well = true;
    for task in running {
        let Ok((name, outcome)) = task.await else {
            all_well = false;
            continue;
        };
        let (status, detail) = match outcome {
            Ok(detail) => ("ok", detail),
            Err(detail) => {
                all_well = false;
                ("failing", detail)
            }
        };
        checks.insert(name, json!({ "status": status, "detail": detail }));
    }
    let (code, word) =
        if all_well { (StatusCode::OK, "ready") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready") };
    (code, Json(json!({ "status": word, "checks": Value::Object(checks) }))).into_response()
}

async fn metrics(State(state): State<AdminState>) -> Response {
    match TextEncoder::new().encode_to_string(&state.registry.gather()) {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            Problem::new(Kind::Internal, format!("metrics could not be written: {error}")).into_response()
        }
    }
}
