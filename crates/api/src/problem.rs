//! Every error that leaves over HTTP: `application/problem+json` as RFC 9457 has it. This is
//! the only file that makes one. `type` is `/problems/<name>`, relative to the API,
//! which serves a page there.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use weir_backends::StoreError;
use weir_backends::tenants::TenantError;

/// What `type` begins with: a path of the API itself.
pub const TYPE_PREFIX: &str = "/problems/";
/// The media type of a problem.
pub const CONTENT_TYPE: &str = "application/problem+json";

/// The kinds of problem: status, name and title go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The body, or a parameter, cannot be read at all.
    Malformed,
    /// No API key, or one that is not known, revoked or expired.
    Unauthorized,
    /// The key lacks the scope.
    InsufficientScope,
    /// The key belongs to another tenant.
    OtherTenant,
    /// The key may not use the event's source.
    SourceNotAllowed,
    /// The tenant is suspended.
    TenantSuspended,
    /// The tenant is leaving or gone.
    TenantOffboarding,
    /// No such route.
    UnknownRoute,
    /// No such thing.
    NotFound,
    /// The route has no such method.
    MethodNotAllowed,
    /// Its state, or another's id, is in the way.
    Conflict,
    /// The first request under the Idempotency-Key has not ended.
    IdempotencyInFlight,
    /// The Idempotency-Key was used for another request.
    IdempotencyReused,
    /// It was changed since it was read.
    PreconditionFailed,
    /// The request must say what it has read.
    PreconditionRequired,
    /// The body did not arrive in time.
    TimedOut,
    /// More bytes than are taken.
    TooLarge,
    /// A content type or encoding that is not taken.
    UnsupportedMediaType,
    /// The input breaks rules.
    Invalid,
    /// An event breaks rules.
    InvalidEvent,
    /// The event's tenant does not exist.
    UnknownTenant,
    /// None of the events was taken.
    EventsRefused,
    /// More requests than the key may send.
    RateLimited,
    /// The journal does not take events at the moment.
    JournalUnavailable,
    /// Too many bytes are in flight.
    Overloaded,
    /// The ledger, or what is fed from it, is away at the moment.
    Unavailable,
    /// A fault of Weir's own.
    Internal,
}

impl Kind {
    /// All of them.
    const ALL: [Self; 27] = [
        Self::Malformed,
        Self::Unauthorized,
        Self::InsufficientScope,
        Self::OtherTenant,
        Self::SourceNotAllowed,
        Self::TenantSuspended,
        Self::TenantOffboarding,
        Self::UnknownRoute,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::Conflict,
        Self::IdempotencyInFlight,
        Self::IdempotencyReused,
        Self::PreconditionFailed,
        Self::PreconditionRequired,
        Self::TimedOut,
        Self::TooLarge,
        Self::UnsupportedMediaType,
        Self::Invalid,
        Self::InvalidEvent,
        Self::UnknownTenant,
        Self::EventsRefused,
        Self::RateLimited,
        Self::JournalUnavailable,
        Self::Overloaded,
        Self::Unavailable,
        Self::Internal,
    ];

    /// The kind of that name, such as `not-found`.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.facts().1 == name)
    }

    /// Status, name and title.
    pub(crate) fn facts(self) -> (StatusCode, &'static str, &'static str) {
        use StatusCode as S;
        match self {
            Self::Malformed => (S::BAD_REQUEST, "malformed", "The request cannot be read"),
            Self::Unauthorized => (S::UNAUTHORIZED, "unauthorized", "A valid API key is needed"),
            Self::InsufficientScope => (S::FORBIDDEN, "insufficient-scope", "The API key lacks the scope"),
            Self::OtherTenant => (S::FORBIDDEN, "other-tenant", "The API key belongs to another tenant"),
            Self::SourceNotAllowed => {
                (S::FORBIDDEN, "source-not-allowed", "The API key may not use this source")
            }
            Self::TenantSuspended => (S::FORBIDDEN, "tenant-suspended", "The tenant is suspended"),
            Self::TenantOffboarding => (S::FORBIDDEN, "tenant-offboarding", "The tenant is leaving"),
            Self::UnknownRoute => (S::NOT_FOUND, "unknown-route", "There is no such route"),
            Self::NotFound => (S::NOT_FOUND, "not-found", "There is no such thing"),
            Self::MethodNotAllowed => {
                (S::METHOD_NOT_ALLOWED, "method-not-allowed", "The route has no such method")
            }
            Self::Conflict => (S::CONFLICT, "conflict", "The state does not allow it"),
            Self::IdempotencyInFlight => {
                (S::CONFLICT, "idempotency-in-flight", "The first such request is still being carried out")
            }
            Self::IdempotencyReused => (
                S::UNPROCESSABLE_ENTITY,
                "idempotency-key-reused",
                "The Idempotency-Key was used for another request",
            ),
            Self::PreconditionFailed => {
                (S::PRECONDITION_FAILED, "precondition-failed", "It was changed meanwhile")
            }
            Self::PreconditionRequired => {
                (S::PRECONDITION_REQUIRED, "precondition-required", "If-Match is needed")
            }
            Self::TimedOut => (S::REQUEST_TIMEOUT, "timed-out", "The body did not arrive in time"),
            Self::TooLarge => (S::PAYLOAD_TOO_LARGE, "too-large", "The body is too large"),
            Self::UnsupportedMediaType => {
                (S::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "The body's type is not taken")
            }
            Self::Invalid => (S::UNPROCESSABLE_ENTITY, "invalid", "The input breaks rules"),
            Self::InvalidEvent => (S::UNPROCESSABLE_ENTITY, "invalid-event", "The event breaks rules"),
            Self::UnknownTenant => (S::UNPROCESSABLE_ENTITY, "unknown-tenant", "There is no such tenant"),
            Self::EventsRefused => {
                (S::UNPROCESSABLE_ENTITY, "events-refused", "None of the events was taken")
            }
            Self::RateLimited => {
                (S::TOO_MANY_REQUESTS, "rate-limited", "The API key sends too many requests")
            }
            Self::JournalUnavailable => {
                (S::SERVICE_UNAVAILABLE, "journal-unavailable", "Events cannot be taken at the moment")
            }
            Self::Overloaded => (S::SERVICE_UNAVAILABLE, "overloaded", "Too much is in flight"),
            Self::Unavailable => (S::SERVICE_UNAVAILABLE, "unavailable", "Not available at the moment"),
            Self::Internal => (S::INTERNAL_SERVER_ERROR, "internal", "A fault of Weir's own"),
        }
    }

    /// The HTTP status.
    pub fn status(self) -> StatusCode {
        self.facts().0
    }
}

/// One member of the input that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// Where, as a JSON pointer into the body: `/adminEmail`.
    pub pointer: String,
    /// What is wrong.
    pub detail: String,
}

/// The body of a problem, as RFC 9457 has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ProblemBody {
    /// `/problems/<name>`: relative to the API, which says there what it means.
    #[serde(rename = "type")]
    pub problem_type: String,
    /// What kind of problem, for people.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong with this request, and how to send it right.
    pub detail: String,
    /// The members that break rules.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
}

/// A problem on its way out.
#[derive(Clone, Debug)]
pub struct Problem {
    kind: Kind,
    detail: String,
    errors: Vec<FieldError>,
    more: serde_json::Map<String, serde_json::Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// A problem of a kind, with what is wrong in words.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        let problem = Self {
            kind,
            detail: detail.into(),
            errors: Vec::new(),
            more: serde_json::Map::new(),
            headers: vec![],
        };
        match kind {
            Kind::Unauthorized => problem
                .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"weir\"")),
            Kind::InsufficientScope => problem.with_header(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"weir\", error=\"insufficient_scope\""),
            ),
            Kind::JournalUnavailable | Kind::Overloaded | Kind::Unavailable | Kind::IdempotencyInFlight => {
                problem.with_header(header::RETRY_AFTER, HeaderValue::from_static("2"))
            }
            _ => problem,
        }
    }

    /// One member that breaks a rule.
    pub fn invalid(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        let error = FieldError { pointer: pointer.into(), detail: detail.into() };
        Self::new(Kind::Invalid, format!("{}: {}", error.pointer, error.detail)).with_errors(vec![error])
    }

    /// There is no such thing.
    pub fn not_found(what: &str, id: &str) -> Self {
        Self::new(Kind::NotFound, format!("there is no {what} {:?}", id.chars().take(64).collect::<String>()))
    }

    /// With the members that break rules.
    #[must_use]
    pub fn with_errors(mut self, errors: Vec<FieldError>) -> Self {
        self.errors = errors;
        self
    }

    /// With one more member in the body.
    #[must_use]
    pub fn with_member(mut self, name: &str, value: serde_json::Value) -> Self {
        self.more.insert(name.to_owned(), value);
        self
    }

    /// With one more header.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Which kind it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The body, without the further members.
    pub fn body(&self) -> ProblemBody {
        let (status, name, title) = self.kind.facts();
        ProblemBody {
            problem_type: format!("{TYPE_PREFIX}{name}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: self.detail.clone(),
            errors: self.errors.clone(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = serde_json::to_value(self.body()).unwrap_or_default();
        if let Some(members) = body.as_object_mut() {
            members.extend(self.more);
        }
        let mut response = (self.kind.status(), body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
        headers.extend(self.headers);
        response
    }
}

impl From<TenantError> for Problem {
    fn from(error: TenantError) -> Self {
        let detail = error.to_string();
        match error {
            TenantError::Invalid(problems) => {
                let errors = problems
                    .into_iter()
                    .map(|p| FieldError { pointer: p.pointer, detail: p.detail })
                    .collect();
                Self::new(Kind::Invalid, detail).with_errors(errors)
            }
            TenantError::NotFound { .. } => Self::new(Kind::NotFound, detail),
            TenantError::Taken { member, .. } => {
                let error = FieldError { pointer: format!("/{member}"), detail: detail.clone() };
                Self::new(Kind::Conflict, detail).with_errors(vec![error])
            }
            TenantError::State(_) => Self::new(Kind::Conflict, detail),
            TenantError::NotNow(_) => Self::new(Kind::Unavailable, detail),
            TenantError::Revision { .. } => Self::new(Kind::PreconditionFailed, detail),
            TenantError::Store(store) => store.into(),
        }
    }
}

impl From<StoreError> for Problem {
    /// What the store said goes to the log, not to the caller.
    fn from(error: StoreError) -> Self {
        if error.is_transient() {
            tracing::warn!(%error, "a request found a store unavailable");
            Self::new(Kind::Unavailable, "the ledger cannot be reached at the moment; try again")
        } else {
            tracing::error!(%error, "a request failed");
            Self::new(Kind::Internal, "the request could not be carried out; the log says why")
        }
    }
}
