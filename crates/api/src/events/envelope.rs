//! From a request's headers and bytes to events, each read or refused by itself. The
//! readers are wire's; here it is decided which one applies.

use axum::http::{HeaderMap, header};
use weir_metering::event::UsageEvent;
use weir_metering::outcome::RejectReason;
use weir_wire::cloudevents::{
    CONTENT_TYPE, CONTENT_TYPE_BATCH, EnvelopeProblem, EventProblem, decode_batch, decode_binary,
    decode_structured, http_attribute,
};

use crate::problem::{Kind, Problem};

/// How the events stand in the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One event as the body.
    Structured,
    /// An array of events as the body.
    Batch,
    /// One event: attributes in `ce-` headers, data as the body.
    Binary,
    /// Plain JSON: an array of events, or one.
    Json,
}

/// Which form a request has, by its content type.
pub fn form_of(headers: &HeaderMap) -> Result<Form, Problem> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let essence = content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    let binary = headers.contains_key("ce-specversion") || headers.contains_key("ce-id");
    match essence.as_str() {
        CONTENT_TYPE => Ok(Form::Structured),
        CONTENT_TYPE_BATCH => Ok(Form::Batch),
        "application/json" | "text/json" | "" if binary => Ok(Form::Binary),
        other if binary && other.ends_with("+json") => Ok(Form::Binary),
        "application/json" => Ok(Form::Json),
        _ => Err(Problem::new(
            Kind::UnsupportedMediaType,
            format!(
                "send one event as {CONTENT_TYPE}, several as {CONTENT_TYPE_BATCH} or application/json, or ce- headers with data as application/json"
            ),
        )),
    }
}

/// The events of a body.
///
/// # Errors
/// 400 when it cannot be taken apart into events at all, 413 when there are too many.
pub fn decode(
    form: Form,
    headers: &HeaderMap,
    bytes: &[u8],
    events_max: usize,
) -> Result<Vec<Result<UsageEvent, EventProblem>>, Problem> {
    match form {
        Form::Structured => Ok(vec![one(bytes)?]),
        Form::Batch => batch(bytes, events_max),
        Form::Binary => Ok(vec![binary(headers, bytes)]),
        Form::Json => match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
            Some(b'{') => Ok(vec![one(bytes)?]),
            _ => batch(bytes, events_max),
        },
    }
}

fn one(bytes: &[u8]) -> Result<Result<UsageEvent, EventProblem>, Problem> {
    match decode_structured(bytes) {
        Err(problem) if problem.reason == RejectReason::Malformed => {
            Err(Problem::new(Kind::Malformed, problem.detail))
        }
        decoded => Ok(decoded),
    }
}

fn batch(bytes: &[u8], events_max: usize) -> Result<Vec<Result<UsageEvent, EventProblem>>, Problem> {
    let events = decode_batch(bytes).map_err(|problem| {
        let kind = match problem {
            EnvelopeProblem::NotAnArray(_) => Kind::Malformed,
            EnvelopeProblem::TooManyEvents { .. } => Kind::TooLarge,
        };
        Problem::new(kind, problem.to_string())
    })?;
    if events.len() > events_max {
        let detail = format!("the body holds more than {events_max} events; send them in several requests");
        return Err(Problem::new(Kind::TooLarge, detail));
    }
    Ok(events)
}

fn binary(headers: &HeaderMap, bytes: &[u8]) -> Result<UsageEvent, EventProblem> {
    const ATTRIBUTES: [&str; 6] = ["specversion", "id", "source", "type", "subject", "time"];
    let mut read = Vec::with_capacity(ATTRIBUTES.len());
    for name in ATTRIBUTES {
        let mut values = headers.get_all(format!("ce-{name}")).iter();
        let Some(value) = values.next() else { continue };
        if values.next().is_some() {
            return Err(EventProblem::invalid(format!("the header ce-{name} is given twice; send it once")));
        }
        let text = std::str::from_utf8(value.as_bytes()).ok().and_then(http_attribute);
        let text = text.ok_or_else(|| {
            EventProblem::invalid(format!("the header ce-{name} is not UTF-8 after percent-decoding"))
        })?;
        read.push((name, text));
    }
    let attribute = |name: &str| read.iter().find(|(known, _)| *known == name).map(|(_, text)| text.as_str());
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    decode_binary(attribute, content_type, bytes)
}
