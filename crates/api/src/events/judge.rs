//! Which events are taken: by the rules of events, by the caller's key, by the tenant, by
//! the meters. What depends on the journal's time (too late, in the future) and on what was
//! counted before (duplicates) is the shard's to say, not this file's.

use tokio::time::Instant;
use weir_backends::tenants::tenant::Status;
use weir_core::Timestamp;
use weir_metering::event::{EventBuffer, UsageEvent, validate};
use weir_wire::cloudevents::EventProblem;

use super::{INLINE_EVENTS_MAX, Rejection};
use crate::catalogue_feed::Snapshot;
use crate::credentials::Caller;
use crate::problem::{Kind, Problem};
use crate::state::ApiState;

/// Events told apart.
#[derive(Debug, Default)]
pub struct Judged {
    /// To be written to the journal, in their order.
    pub accepted: Vec<UsageEvent>,
    /// Refused, each with its index.
    pub rejected: Vec<Rejection>,
}

/// Judges the events of a request. When one names a tenant that is not known, the
/// catalogue is looked at again first.
///
/// # Errors
/// When that is not possible: nobody may be called unknown on old knowledge.
pub async fn judge(
    state: &ApiState,
    caller: &Caller,
    decoded: Vec<Result<UsageEvent, EventProblem>>,
) -> Result<Judged, Problem> {
    let mut snapshot = state.catalogue.current();
    let unknown = |event: &UsageEvent| snapshot.catalogue.tenant(&event.tenant).is_none();
    if decoded.iter().flatten().any(unknown) {
        state.catalogue.refresh_since(Instant::now()).await?;
        snapshot = state.catalogue.current();
    }
    let now = state.now();
    let mut judged = Judged::default();
    for (index, event) in decoded.into_iter().enumerate() {
        if index % INLINE_EVENTS_MAX == INLINE_EVENTS_MAX - 1 {
            // Quota answers, which take microseconds, are not to stand behind thousands of events.
            tokio::task::yield_now().await;
        }
        match event {
            Err(problem) => {
                let detail = format!("{}: {}", problem.code(), problem.detail);
                let refused = Problem::new(Kind::InvalidEvent, detail);
                judged.rejected.push(Rejection { index, id: problem.id, problem: refused });
            }
            Ok(event) => match check(&event, caller, &snapshot, now) {
                Ok(()) => judged.accepted.push(event),
                Err(problem) => {
                    let id: String = event.id.chars().take(256).collect();
                    judged.rejected.push(Rejection { index, id: Some(id), problem });
                }
            },
        }
    }
    Ok(judged)
}

fn check(event: &UsageEvent, caller: &Caller, snapshot: &Snapshot, now: Timestamp) -> Result<(), Problem> {
    let invalid = |detail: String| Problem::new(Kind::InvalidEvent, detail);
    validate(event).map_err(|error| invalid(format!("invalid_event: {error}")))?;
    caller.require_tenant(&event.tenant)?;
    check_source(event, caller)?;
    match snapshot.refused.get(&event.tenant) {
        Some(Status::Suspended) => {
            return Err(Problem::new(
                Kind::TenantSuspended,
                format!(
                    "the tenant {} is suspended; its events are not taken until it is reactivated",
                    event.tenant
                ),
            ));
        }
        Some(status) => {
            return Err(Problem::new(
                Kind::TenantOffboarding,
                format!("the tenant {} is {}; its events are no longer taken", event.tenant, status.word()),
            ));
        }
        None => {}
    }
    if snapshot.catalogue.tenant(&event.tenant).is_none() {
        let detail = format!("unknown_tenant: there is no tenant {}; create it first", event.tenant);
        return Err(Problem::new(Kind::UnknownTenant, detail));
    }
    let buffer = EventBuffer::of(event);
    let measured = snapshot.catalogue.measure(buffer.get(0), event.time_or(now));
    measured.map(|_| ()).map_err(|error| invalid(format!("invalid_value: {error}")))
}

fn check_source(event: &UsageEvent, caller: &Caller) -> Result<(), Problem> {
    let prefixes = &caller.source_prefixes;
    if prefixes.is_empty() || prefixes.iter().any(|prefix| event.source.starts_with(prefix.as_str())) {
        return Ok(());
    }
    let detail = format!("this API key may use only a source that begins with {}", prefixes.join(" or "));
    Err(Problem::new(Kind::SourceNotAllowed, detail))
}
