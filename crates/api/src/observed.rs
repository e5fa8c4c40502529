//! Every request seen from outside: its id, its log line, its metrics, and what is made of a
//! panic. Routes are told apart by their template, so that no id becomes a label.

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::time::Instant;
use tracing::Instrument;

use crate::problem::{Kind, Problem};
use crate::state::ApiState;

/// Names a request in and out.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest request id that is taken from outside.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// The middleware.
pub async fn observed(State(state): State<ApiState>, mut request: Request, next: Next) -> Response {
    let id = request_id(&request);
    request.headers_mut().insert(REQUEST_ID, id.clone());
    let method = method_label(request.method());
    let matched = request.extensions().get::<MatchedPath>();
    let route = matched.map_or_else(|| "unmatched".to_owned(), |path| path.as_str().to_owned());
    let span = tracing::info_span!("request", id = id.to_str().unwrap_or(""), %method, %route);
    let began = Instant::now();
    let mut response = next.run(request).instrument(span.clone()).await;
    response.headers_mut().insert(REQUEST_ID, id);
    span.in_scope(|| finished(&state, &route, method, response.status().as_u16(), began));
    response
}

/// Methods are free text in HTTP; those that are no standard ones become one label.
fn method_label(method: &Method) -> &'static str {
    [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::HEAD, Method::OPTIONS, Method::PATCH]
        .iter()
        .zip(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"])
        .find_map(|(known, label)| (known == method).then_some(label))
        .unwrap_or("other")
}

/// The log line and the metrics of a request that ended.
fn finished(state: &ApiState, route: &str, method: &str, status: u16, began: Instant) {
    let seconds = began.elapsed().as_secs_f64();
    state.metrics.requests.with_label_values(&[route, method, &status.to_string()]).inc();
    state.metrics.request_seconds.with_label_values(&[route, method]).observe(seconds);
    tracing::debug!(status, seconds, "answered");
}

fn request_id(request: &Request) -> HeaderValue {
    let given = request.headers().get(REQUEST_ID).filter(|value| {
        let bytes = value.as_bytes();
        (1..=REQUEST_ID_BYTES_MAX).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
    });
    given.cloned().unwrap_or_else(|| {
        let fresh = format!("req_{}", uuid::Uuid::now_v7().simple());
        HeaderValue::from_str(&fresh).unwrap_or(HeaderValue::from_static("req"))
    })
}

/// What a panic becomes: a problem, and a log line that wakes someone.
pub fn panicked(panic: Box<dyn std::any::Any + Send + 'static>) -> Response {
    let words = panic.downcast_ref::<String>().map(String::as_str);
    let words = words.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no words");
    tracing::error!(panic = words, "a request made Weir panic");
    Problem::new(Kind::Internal, "the request could not be carried out; the log says why").into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_methods_share_a_label() {
        for (method, label) in [("GET", "GET"), ("PATCH", "PATCH"), ("get", "other"), ("A1", "other")] {
            assert_eq!(method_label(&method.parse().unwrap()), label, "{method}");
        }
    }
}
