//! What handlers need of a request, with errors as problems that name the field: JSON bodies,
//! paths, query strings, pages, ETags.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use weir_core::{Quantity, TenantId};

use crate::problem::{FieldError, Kind, Problem};

/// The largest body of a request that is not about events, in bytes.
pub const JSON_BYTES_MAX: usize = 256 * 1024;
/// Lines of a page, unless asked for.
const PAGE_LIMIT: u32 = 50;
/// Lines of a page at most.
const PAGE_LIMIT_MAX: u32 = 500;

/// A JSON body.
#[derive(Clone, Copy, Debug)]
pub struct JsonBody<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let essence = content_type.unwrap_or("").split(';').next().unwrap_or("").trim().to_ascii_lowercase();
        if essence != "application/json" && !essence.ends_with("+json") {
            return Err(Problem::new(
                Kind::UnsupportedMediaType,
                "send the body as JSON, with `Content-Type: application/json`",
            ));
        }
        let bytes = whole_body(request, state).await?;
        read_json(&bytes).map(Self)
    }
}

/// A JSON body that may be left out.
#[derive(Clone, Copy, Debug)]
pub struct OptionalJsonBody<T>(pub T);

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for OptionalJsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let bytes = whole_body(request, state).await?;
        if bytes.is_empty() { Ok(Self(T::default())) } else { read_json(&bytes).map(Self) }
    }
}

async fn whole_body<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Problem> {
    Bytes::from_request(request, state).await.map_err(|rejection| {
        let kind =
            if rejection.status() == Kind::TooLarge.status() { Kind::TooLarge } else { Kind::Malformed };
        Problem::new(kind, rejection.body_text())
    })
}

/// What a path names. The ledger's texts hold no NUL, so a path that does names nothing.
#[derive(Clone, Copy, Debug)]
pub struct PathOf<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for PathOf<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        if parts.uri.path().contains("%00") {
            return Err(Problem::not_found("resource", parts.uri.path()));
        }
        let Path(named) = Path::<T>::from_request_parts(parts, state)
            .await
            .map_err(|rejection| Problem::new(Kind::Malformed, rejection.body_text()))?;
        Ok(Self(named))
    }
}

/// The tenant that a path or a body names; what is no tenant's id names none.
pub fn tenant_id(id: &str) -> Result<TenantId, Problem> {
    TenantId::new(id).map_err(|_| Problem::not_found("tenant", id))
}

/// A quantity: a number or a decimal text, never read through a float.
///
/// # Errors
/// What is wrong, to be said after the member's name.
pub fn quantity(value: &Value) -> Result<Quantity, String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return Err("must be a number or a decimal text".to_owned()),
    };
    Quantity::parse(&text).map_err(|error| format!("is {error}"))
}

/// Reads JSON; a body that is not JSON is malformed, one of the wrong shape is invalid and
/// the field is named.
pub fn read_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let read = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let pointer = pointer_of(error.path());
        let inner = error.into_inner();
        if !inner.is_data() {
            return Problem::new(Kind::Malformed, format!("the body is not JSON: {inner}"));
        }
        let detail = without_type_names(&inner.to_string());
        let missing = detail.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
        let unknown = detail.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next());
        let pointer = match missing {
            Some(name) => format!("{pointer}/{name}"),
            None => unknown
                .filter(|name| !pointer.ends_with(&format!("/{name}")))
                .map_or(pointer.clone(), |name| format!("{pointer}/{name}")),
        };
        let errors = vec![FieldError { pointer: pointer.clone(), detail: detail.clone() }];
        let whole = if pointer.is_empty() { detail } else { format!("{pointer}: {detail}") };
        Problem::new(Kind::Invalid, whole).with_errors(errors)
    })?;
    deserializer.end().map_err(|error| {
        Problem::new(Kind::Malformed, format!("the body goes on after the JSON: {error}"))
    })?;
    Ok(read)
}

/// `expected struct LimitsInput` says nothing to those who send JSON.
fn without_type_names(detail: &str) -> String {
    let Some((before, after)) = detail.split_once("expected struct ") else { return detail.to_owned() };
    let rest = after.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_');
    format!("{before}expected an object{rest}")
}

fn pointer_of(path: &serde_path_to_error::Path) -> String {
    let segment = |segment: &serde_path_to_error::Segment| match segment {
        serde_path_to_error::Segment::Seq { index } => format!("/{index}"),
        serde_path_to_error::Segment::Map { key } => {
            format!("/{}", key.replace('~', "~0").replace('/', "~1"))
        }
        _ => String::new(),
    };
    path.iter().map(segment).collect()
}

/// A query string.
#[derive(Clone, Copy, Debug)]
pub struct QueryOf<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for QueryOf<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Query(query) = Query::<T>::from_request_parts(parts, state)
            .await
            .map_err(|rejection| Problem::new(Kind::Malformed, parameter_words(&rejection.body_text())))?;
        Ok(Self(query))
    }
}

/// What is wrong with which parameter, without what the library calls its own doing.
fn parameter_words(text: &str) -> String {
    text.strip_prefix("Failed to deserialize query string: ").unwrap_or(text).to_owned()
}

/// Which page is asked for.
#[derive(Clone, Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// How many items; 1 to 500, 50 unless given.
    pub limit: Option<u32>,
    /// Where to go on: `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// A page that is asked for, read.
#[derive(Clone, Debug)]
pub struct Page {
    /// How many items.
    pub limit: usize,
    /// The id of the last item of the page before.
    pub after: Option<String>,
}

impl PageQuery {
    /// Reads the parameters.
    pub fn read(&self) -> Result<Page, Problem> {
        let limit = self.limit.unwrap_or(PAGE_LIMIT);
        if !(1..=PAGE_LIMIT_MAX).contains(&limit) {
            return Err(Problem::new(
                Kind::Malformed,
                format!("limit must lie between 1 and {PAGE_LIMIT_MAX}"),
            ));
        }
        let decode = |cursor: &String| {
            let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
            String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
        };
        let after = match &self.cursor {
            Some(cursor) => Some(decode(cursor).ok_or_else(|| {
                Problem::new(Kind::Malformed, "cursor is not one that this API gave; begin without one")
            })?),
            None => None,
        };
        Ok(Page { limit: usize::try_from(limit).unwrap_or(usize::MAX), after })
    }
}

impl Page {
    /// How many to fetch: one more than asked for, to know whether there is another page.
    pub fn fetch(&self) -> i64 {
        i64::try_from(self.limit).unwrap_or(i64::MAX - 1) + 1
    }

    /// Makes the answer: items, the cursor of the next page, and the same as a Link header.
    pub fn answer<T, U: Serialize>(
        &self,
        uri: &Uri,
        mut found: Vec<T>,
        id: impl Fn(&T) -> String,
        body: impl Fn(T) -> U,
    ) -> Response {
        let more = found.len() > self.limit;
        found.truncate(self.limit);
        let next = found.last().filter(|_| more).map(|last| URL_SAFE_NO_PAD.encode(id(last)));
        let link = next.as_ref().and_then(|cursor| link_to(uri, cursor));
        let items: Vec<U> = found.into_iter().map(body).collect();
        let mut response =
            axum::Json(serde_json::json!({ "items": items, "next_cursor": next })).into_response();
        if let Some(link) = link {
            response.headers_mut().insert(header::LINK, link);
        }
        response
    }
}

fn link_to(uri: &Uri, cursor: &str) -> Option<HeaderValue> {
    let kept =
        uri.query().unwrap_or("").split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("cursor="));
    let mut query: Vec<_> = kept.collect();
    let cursor = format!("cursor={cursor}");
    query.push(&cursor);
    HeaderValue::from_str(&format!("<{}?{}>; rel=\"next\"", uri.path(), query.join("&"))).ok()
}

/// The strong ETag of a revision.
pub fn etag(revision: i64) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{revision}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

/// What the caller says it has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfMatch {
    /// Whatever there is.
    Any,
    /// That revision.
    Revision(i64),
}

/// Reads If-Match, which changes need.
pub fn if_match(headers: &HeaderMap) -> Result<IfMatch, Problem> {
    let Some(value) = headers.get(header::IF_MATCH) else {
        return Err(Problem::new(
            Kind::PreconditionRequired,
            "send If-Match with the ETag of the last GET, so that nobody's change is lost",
        ));
    };
    let text = value.to_str().unwrap_or("").trim();
    if text == "*" {
        return Ok(IfMatch::Any);
    }
    let revision =
        text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).and_then(|n| n.parse().ok());
    revision.map(IfMatch::Revision).ok_or_else(|| {
        Problem::new(Kind::PreconditionFailed, "If-Match is not an ETag of this resource; read it again")
    })
}
