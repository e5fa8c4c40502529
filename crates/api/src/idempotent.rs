//! Idempotency-Key on POST: the first answer under a key is given again for 24 hours. A key
//! belongs to an API key and a route. Answers of the 5xx kind are not kept. A secret is never
//! kept: a handler that shows one says what may be kept instead. What was begun under a key is
//! carried out and kept although its client has gone.

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, Limited};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use tracing::Instrument;
use weir_backends::tenants::idempotency::{self, Begun, Claim, KeptAnswer};

use crate::credentials::Caller;
use crate::extract::JSON_BYTES_MAX;
use crate::observed::panicked;
use crate::problem::{Kind, Problem};
use crate::state::ApiState;

/// The header.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Tells an answer that was given before.
pub const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// The longest key.
const KEY_BYTES_MAX: usize = 255;

/// What may be kept of an answer that shows a secret: put into the response's extensions.
#[derive(Clone, Debug)]
pub struct KeepInstead(pub Value);

/// The middleware. Everything but a POST with the header passes through.
pub async fn idempotent(
    State(state): State<ApiState>,
    caller: Caller,
    request: Request,
    next: Next,
) -> Response {
    let Some(key) = request.headers().get(IDEMPOTENCY_KEY).filter(|_| request.method() == Method::POST)
    else {
        return next.run(request).await;
    };
    let key = key.to_str().unwrap_or("").to_owned();
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        let detail = format!("Idempotency-Key must have 1 to {KEY_BYTES_MAX} visible ASCII characters");
        return Problem::new(Kind::Malformed, detail).into_response();
    }
    match carry_out(&state, &caller, key, request, next).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    }
}

/// The key of a request that came through the middleware.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Option<&str> {
    headers.get(IDEMPOTENCY_KEY).and_then(|value| value.to_str().ok())
}

async fn carry_out(
    state: &ApiState,
    caller: &Caller,
    key: String,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let body = Limited::new(body, JSON_BYTES_MAX)
        .collect()
        .await
        .map_err(|_| Problem::new(Kind::TooLarge, format!("the body has more than {JSON_BYTES_MAX} bytes")))?
        .to_bytes();
    let claim = Claim {
        credential: caller.key.clone(),
        route: format!("POST {}", parts.uri.path()),
        key,
        fingerprint: Sha256::digest(&body).into(),
        made_at: state.now(),
    };
    match idempotency::begin(&state.pool, &claim).await? {
        Begun::New => {
            // A task of its own: the client may go, and asks again for what became of it.
            let (state, request) = (state.clone(), Request::from_parts(parts, Body::from(body)));
            let carried_out = async move { keep(&state, &claim, next.run(request).await).await };
            match tokio::spawn(carried_out.in_current_span()).await {
                Ok(response) => response,
                Err(failed) => {
                    Ok(panicked(failed.try_into_panic().unwrap_or_else(|_| Box::new("cancelled"))))
                }
            }
        }
        Begun::Kept(answer) => Ok(again(&answer)),
        Begun::InFlight => {
            Err(Problem::new(Kind::IdempotencyInFlight, "send it again when the first request has ended"))
        }
        Begun::Reused => {
            Err(Problem::new(Kind::IdempotencyReused, "use a new Idempotency-Key for a different request"))
        }
    }
}

async fn keep(state: &ApiState, claim: &Claim, response: Response) -> Result<Response, Problem> {
    if response.status().is_server_error() {
        idempotency::abandon(&state.pool, claim).await?;
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    let body: Bytes = body
        .collect()
        .await
        .map_err(|error| Problem::new(Kind::Internal, format!("the answer could not be made: {error}")))?
        .to_bytes();
    let kept_body = match parts.extensions.get::<KeepInstead>() {
        Some(KeepInstead(value)) => value.to_string().into_bytes(),
        None => body.to_vec(),
    };
    let mut headers = Map::new();
    for name in [header::CONTENT_TYPE, header::ETAG, header::LOCATION] {
        if let Some(value) = parts.headers.get(&name).and_then(|value| value.to_str().ok()) {
            headers.insert(name.to_string(), value.into());
        }
    }
    let answer =
        KeptAnswer { status: parts.status.as_u16(), headers: Value::Object(headers), body: kept_body };
    if let Err(error) = idempotency::finish(&state.pool, claim, &answer).await {
        tracing::warn!(%error, "an idempotent answer could not be kept; its key stays in flight for a minute");
    }
    Ok(Response::from_parts(parts, Body::from(body)))
}

fn again(answer: &KeptAnswer) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let mut response = (status, answer.body.clone()).into_response();
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_TYPE);
    for (name, value) in answer.headers.as_object().into_iter().flatten() {
        let (name, value) = (name.parse::<HeaderName>(), HeaderValue::from_str(value.as_str().unwrap_or("")));
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.insert(name, value);
        }
    }
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
    response
}
