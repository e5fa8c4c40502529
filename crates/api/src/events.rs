//! Events in over HTTP: taken apart, judged one by one, written to the journal, answered.
//! A 2xx is given only after every replica has every event that it says was taken
//! (invariant 10). Sending a request again is safe: ids are counted once.

pub mod answer;
pub mod body;
pub mod envelope;
pub mod judge;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use tokio::time::Instant;
use weir_backends::journal::producer::OutgoingRecord;
use weir_core::Homes;
use weir_metering::event::UsageEvent;
use weir_wire::avro;
use weir_wire::usage_record::HEADER_TRACEPARENT;

use crate::credentials::{Caller, Scope};
use crate::problem::{Kind, Problem, ProblemBody};
use crate::state::{ApiState, Journal};

use answer::{IngestBody, Rejection};

/// What is added to the delivery timeout before a request is given up.
const TIMEOUT_MARGIN: Duration = Duration::from_millis(500);
/// The longest `traceparent` that is passed on; version 00 of W3C's Trace Context has 55 bytes.
const TRACEPARENT_BYTES_MAX: usize = 128;
/// Bodies above this are taken apart on a thread of their own, in bytes.
const INLINE_BYTES_MAX: usize = 64 * 1024;
/// More events than this are judged in parts, and encoded on a thread of their own.
pub(crate) const INLINE_EVENTS_MAX: usize = 256;

/// Send events: one CloudEvent (structured or binary), or many (a batch, or a plain array).
#[utoipa::path(
    post, path = "/api/v1/events", tag = "events", operation_id = "ingestEvents",
    request_body(
        description = "CloudEvents 1.0 as JSON. `subject` is the tenant, `type` the event type, (`source`, `id`) the identity, `time` the event time, `data` an object. gzip and zstd bodies are taken.",
        content(
            (Object = "application/cloudevents+json"),
            (Vec<Object> = "application/cloudevents-batch+json"),
            (Vec<Object> = "application/json"),
        )
    ),
    params(("Prefer" = Option<String>, Header, description = "`return=representation` asks for a body always")),
    responses(
        (status = 204, description = "Every event was taken"),
        (status = 200, body = IngestBody, description = "Every event was taken, and a body was asked for"),
        (status = 202, body = IngestBody, description = "Some events were refused"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json"),
        (status = 401, body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json"),
        (status = 408, body = ProblemBody, content_type = "application/problem+json", description = "The body did not arrive in time"),
        (status = 413, body = ProblemBody, content_type = "application/problem+json"),
        (status = 415, body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, body = ProblemBody, content_type = "application/problem+json", description = "Every event was refused; `rejected` lists them"),
        (status = 429, body = ProblemBody, content_type = "application/problem+json", description = "The key sends more requests than it may; Retry-After says when to go on"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The journal cannot take events; Retry-After says when to try again"),
    )
)]
pub async fn ingest(
    State(state): State<ApiState>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    caller.require(Scope::EventsWrite)?;
    let (parts, body) = request.into_parts();
    let form = envelope::form_of(&parts.headers)?;
    // Held until the answer: what is in memory for this request is bounded by it.
    let held = body::read(&state, &parts.headers, body).await?;
    let bytes = held.bytes.clone();
    let headers = parts.headers.clone();
    let events_max = state.settings.batch_events_max;
    let decoded = if bytes.len() <= INLINE_BYTES_MAX {
        envelope::decode(form, &headers, &bytes, events_max)
    } else {
        body::off_runtime(move || envelope::decode(form, &headers, &bytes, events_max)).await?
    }?;
    let judged = judge::judge(&state, &caller, decoded).await?;
    let accepted = judged.accepted.len();
    deliver(&state, judged.accepted, &parts.headers).await?;
    state.metrics.events.with_label_values(&["accepted"]).inc_by(count(accepted));
    state.metrics.events.with_label_values(&["rejected"]).inc_by(count(judged.rejected.len()));
    answer::answer(accepted, judged.rejected, &parts.headers)
}

fn count(events: usize) -> u64 {
    u64::try_from(events).unwrap_or(u64::MAX)
}

async fn deliver(state: &ApiState, events: Vec<UsageEvent>, headers: &HeaderMap) -> Result<(), Problem> {
    if events.is_empty() {
        return Ok(());
    }
    let traceparent = headers.get(HEADER_TRACEPARENT).map(|value| value.as_bytes()).filter(is_traceparent);
    let records = |place: Place<'_>, events: &[UsageEvent], traceparent: Option<&[u8]>| {
        events.iter().map(|event| record(place, event, traceparent)).collect::<Vec<_>>()
    };
    let number = events.len();
    let (journal, known) = (Arc::clone(&state.journal), state.catalogue.current());
    let records = if number <= INLINE_EVENTS_MAX {
        records((&journal, &known.catalogue.homes), &events, traceparent)
    } else {
        let traceparent = traceparent.map(<[u8]>::to_vec);
        let made = move || records((&journal, &known.catalogue.homes), &events, traceparent.as_deref());
        body::off_runtime(made).await?
    };
    let began = Instant::now();
    let timeout = Duration::from_millis(state.settings.delivery_timeout_ms) + TIMEOUT_MARGIN;
    let sent = tokio::time::timeout(timeout, state.journal.producer.send_all(records)).await;
    state.metrics.acknowledge_seconds.observe(began.elapsed().as_secs_f64());
    let words = match sent {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no acknowledgement in time".to_owned(),
    };
    state.metrics.events.with_label_values(&["unavailable"]).inc_by(count(number));
    tracing::warn!(error = words, events = number, "events could not be written to the journal");
    Err(Problem::new(
        Kind::JournalUnavailable,
        "the journal did not acknowledge the events; send the same request again, nothing is counted twice",
    ))
}

/// Every record of the request carries it, so only what can be one is passed on.
fn is_traceparent(value: &&[u8]) -> bool {
    (55..=TRACEPARENT_BYTES_MAX).contains(&value.len()) && value.iter().all(u8::is_ascii_graphic)
}

/// Where records go.
type Place<'a> = (&'a Journal, &'a Homes);

fn record((journal, homes): Place<'_>, event: &UsageEvent, traceparent: Option<&[u8]>) -> OutgoingRecord {
    OutgoingRecord {
        topic: journal.topic.clone(),
        partition: Some(homes.of(&event.tenant)),
        key: Some(event.tenant.as_bytes().to_vec()),
        value: Some(avro::encode_event(event)),
        headers: traceparent
            .map(|value| (HEADER_TRACEPARENT.to_owned(), value.to_vec()))
            .into_iter()
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::is_traceparent;

    #[test]
    fn only_what_can_be_a_traceparent_is_passed_on() {
        let w3c = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        for (value, passed) in [(w3c, true), ("", false), ("00-1", false), (&"0".repeat(60_000), false)] {
            assert_eq!(is_traceparent(&value.as_bytes()), passed, "{} bytes", value.len());
        }
    }
}
