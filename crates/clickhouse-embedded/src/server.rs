//! The HTTP face: routes, answers, error statuses. What a statement means is decided elsewhere.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request as HttpRequest, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;

use crate::engine::{Engine, QUERY_BYTES_MAX};
use crate::form;
use crate::library::{EngineError, Summary};
use crate::request::{ReadonlyUser, Request};
use crate::run::{Answer, run};
use crate::spool::Spool;

/// What every request needs.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) engine: Arc<Engine>,
    pub(crate) readonly_users: Arc<[ReadonlyUser]>,
}

/// The routes of ClickHouse's HTTP interface that clients use.
pub(crate) fn router(server: Server) -> Router {
    Router::new()
        .route("/", get(query).post(query))
        .route("/ping", get(ok))
        .route("/replicas_status", get(ok))
        .with_state(server)
}

async fn ok() -> &'static str {
    "Ok.\n"
}

async fn query(State(server): State<Server>, request: HttpRequest) -> Response {
    // A native server answers a bare GET so; health checks rely on it.
    if request.method() != Method::POST && request.uri().query().is_none() {
        return ok().await.into_response();
    }
    match answer(server, request).await {
        Ok(response) => response,
        Err(error) => refuse(&error),
    }
}

async fn answer(server: Server, request: HttpRequest) -> Result<Response, EngineError> {
    let (parts, body) = request.into_parts();
    let mut fields = form::url_fields(&parts.uri)?;
    let mut body = Spool::read(body).await.map_err(|error| EngineError(error.to_string()))?;
    if let Some(boundary) = form::boundary(&parts.headers) {
        let bytes = body.take(QUERY_BYTES_MAX).map_err(|error| EngineError(error.to_string()))?;
        fields.extend(form::form_fields(&bytes, &boundary)?);
    }
    let request = Request::read(&parts.method, &parts.headers, fields, &server.readonly_users)?;
    let query_id = request.query_id.clone();
    let permit = server.engine.permit().await?;
    let answer = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        run(&server.engine, &request, body)
    })
    .await
    .map_err(|error| EngineError(format!("Code: 1001. DB::Exception: {error}")))??;
    Ok(respond(answer, query_id.as_deref()))
}

fn respond(answer: Answer, query_id: Option<&str>) -> Response {
    let summary = summary_json(answer.result.summary());
    let mut headers = HeaderMap::new();
    let pairs = [
        ("X-ClickHouse-Summary", Some(summary.as_str())),
        ("X-ClickHouse-Format", Some(answer.format.as_str())),
        ("X-ClickHouse-Query-Id", query_id),
        ("X-ClickHouse-Server-Display-Name", Some("clickhouse-embedded")),
        ("Content-Type", Some(content_type(&answer.format))),
    ];
    for (name, value) in pairs {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
            headers.insert(name, value);
        }
    }
    let body = Body::from(Bytes::from_owner(answer.result));
    (StatusCode::OK, headers, body).into_response()
}

fn summary_json(summary: Summary) -> String {
    let Summary { read_rows, read_bytes, written_rows, written_bytes, result_rows, elapsed_seconds } =
        summary;
    let elapsed = std::time::Duration::try_from_secs_f64(elapsed_seconds).unwrap_or_default();
    format!(
        r#"{{"read_rows":"{read_rows}","read_bytes":"{read_bytes}","written_rows":"{written_rows}","written_bytes":"{written_bytes}","total_rows_to_read":"0","result_rows":"{result_rows}","result_bytes":"0","elapsed_ns":"{}"}}"#,
        elapsed.as_nanos()
    )
}

fn content_type(format: &str) -> &'static str {
    if format.starts_with("JSON") && format.contains("EachRow") {
        "application/x-ndjson; charset=UTF-8"
    } else if format.starts_with("JSON") {
        "application/json; charset=UTF-8"
    } else if format.starts_with("TabSeparated") || format.starts_with("TSV") {
        "text/tab-separated-values; charset=UTF-8"
    } else if format.starts_with("CSV") {
        "text/csv; charset=UTF-8; header=absent"
    } else if format.starts_with("Pretty") || format == "Vertical" || format == "Markdown" {
        "text/plain; charset=UTF-8"
    } else {
        "application/octet-stream"
    }
}

fn refuse(error: &EngineError) -> Response {
    let code = code(&error.0);
    let mut headers = HeaderMap::new();
    headers.insert("X-ClickHouse-Exception-Code", HeaderValue::from(code.unwrap_or(1000)));
    headers.insert("Content-Type", HeaderValue::from_static("text/plain; charset=UTF-8"));
    tracing::debug!(code, error = %error, "statement refused");
    (status(code), headers, format!("{error}\n")).into_response()
}

/// The number in `Code: N. …`.
fn code(text: &str) -> Option<u16> {
    let (_, rest) = text.split_once("Code: ")?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..digits].parse().ok()
}

/// A native server's status for an exception code.
fn status(code: Option<u16>) -> StatusCode {
    match code {
        Some(516) => StatusCode::FORBIDDEN,
        Some(497 | 164 | 192 | 193 | 194 | 291) => StatusCode::FORBIDDEN,
        // Parse errors, unknown identifiers, settings and formats, types that do not fit.
        Some(
            6 | 26 | 27 | 33 | 36 | 38 | 41 | 42 | 43 | 46 | 47 | 50 | 53 | 62 | 63 | 72 | 73 | 115 | 117
            | 457,
        ) => StatusCode::BAD_REQUEST,
        Some(16 | 60 | 81) => StatusCode::NOT_FOUND,
        Some(48) => StatusCode::NOT_IMPLEMENTED,
        Some(202 | 210) => StatusCode::SERVICE_UNAVAILABLE,
        Some(159) => StatusCode::REQUEST_TIMEOUT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
