//! Which records are accepted, in the order of judgement. Nothing changes here: what is
//! refused has claimed no id and moved no total (invariants 9 to 11).

use weir_core::journal::partition_of;
use weir_core::{Partition, Span, TenantId, Timestamp};

use crate::aggregate::Aggregate;
use crate::catalogue::{Catalogue, TenantFacts};
use crate::event::{UsageEvent, validate};
use crate::identity::{EventHashes, Seen};
use crate::outcome::{RejectReason, Verdict};

use super::Shard;
use super::work::{At, Work};

/// What becomes of a record that is not counted.
#[derive(Debug)]
pub(super) struct NotCounted {
    /// In a word, for the ledger.
    pub(super) verdict: Verdict,
    /// Why, in words for the dead letters; `None` when it does not go there.
    pub(super) detail: Option<String>,
    /// Where it is sent on to.
    pub(super) forward_to: Option<Partition>,
}

impl NotCounted {
    /// A limit or a tick, which has been taken but is no event.
    pub(super) fn control() -> Self {
        Self { verdict: Verdict::Control, detail: None, forward_to: None }
    }

    /// To the dead letters.
    pub(super) fn rejected(reason: RejectReason, detail: String) -> Self {
        Self { verdict: Verdict::Rejected(reason), detail: Some(detail), forward_to: None }
    }

    fn duplicate() -> Self {
        Self { verdict: Verdict::Duplicate, detail: None, forward_to: None }
    }

    fn conflict() -> Self {
        let detail = "this id was counted before, with other facts; the first stands".to_owned();
        Self { verdict: Verdict::Conflict, detail: Some(detail), forward_to: None }
    }

    fn forwarded(to: Partition) -> Self {
        Self { verdict: Verdict::Forwarded, detail: None, forward_to: Some(to) }
    }
}

/// An event that will be counted.
#[derive(Debug)]
pub(super) struct Candidate<'a> {
    pub(super) tenant: &'a TenantId,
    /// The tenant's number, if it was heard of before.
    pub(super) number: Option<usize>,
    pub(super) facts: &'a TenantFacts,
    pub(super) time: Timestamp,
    pub(super) period: Option<Span>,
    pub(super) hashes: EventHashes,
}

impl Shard {
    /// Judges an event. Leaves what the meters make of it in `work`.
    pub(super) fn judge<'a>(
        &self,
        at: &At,
        event: &'a UsageEvent,
        hops: u8,
        catalogue: &'a Catalogue,
        work: &mut Work<'a>,
    ) -> Result<Candidate<'a>, NotCounted> {
        validate(event)
            .map_err(|error| NotCounted::rejected(RejectReason::InvalidEvent, error.to_string()))?;
        self.check_home(&event.tenant, hops)?;
        let (tenant, facts) = catalogue.tenants.get_key_value(event.tenant.as_str()).ok_or_else(|| {
            NotCounted::rejected(RejectReason::UnknownTenant, format!("there is no tenant {}", event.tenant))
        })?;
        let hashes = EventHashes::of(&self.key, event, at.broker_time);
        match self.identities.seen(&hashes) {
            Seen::New => {}
            Seen::Same => return Err(NotCounted::duplicate()),
            Seen::OtherFacts => return Err(NotCounted::conflict()),
        }
        let time = event.time_or(at.broker_time);
        self.check_time(time)?;
        catalogue
            .measure_into(event, time, &mut work.measurements)
            .map_err(|error| NotCounted::rejected(RejectReason::InvalidValue, error.to_string()))?;
        let part = |measurement| Aggregate::of(measurement, &self.key, time, at.position.offset);
        work.parts.clear();
        work.parts.extend(work.measurements.iter().map(part));
        let period = facts.period_of(time);
        let number = self.tenants.number(tenant);
        self.check_totals(number, period, work)?;
        Ok(Candidate { tenant, number, facts, time, period, hashes })
    }

    fn check_home(&self, tenant: &str, hops: u8) -> Result<(), NotCounted> {
        let home = partition_of(tenant.as_bytes(), self.config.partitions);
        match hops {
            _ if home == self.config.partition => Ok(()),
            0 => Err(NotCounted::forwarded(home)),
            _ => {
                let detail = format!("belongs to partition {home}, and was forwarded before");
                Err(NotCounted::rejected(RejectReason::Misrouted, detail))
            }
        }
    }

    fn check_time(&self, time: Timestamp) -> Result<(), NotCounted> {
        let now = self.broker_time_max;
        if time < now.plus_millis(-self.config.window_ms) {
            let detail = format!("happened at {time}, which is too late at {now}");
            return Err(NotCounted::rejected(RejectReason::TooLate, detail));
        }
        if time > now.plus_millis(self.config.future_ms) {
            let detail = format!("happens at {time}, which is too far ahead at {now}");
            return Err(NotCounted::rejected(RejectReason::InFuture, detail));
        }
        Ok(())
    }

    fn check_totals(
        &self,
        number: Option<usize>,
        period: Option<Span>,
        work: &Work<'_>,
    ) -> Result<(), NotCounted> {
        let (Some(period), Some(number)) = (period, number) else { return Ok(()) };
        let state = self.tenants.at(number);
        for (measurement, part) in work.measurements.iter().zip(&work.parts) {
            let key = &measurement.meter.key;
            let total = state.meter(key).and_then(|meter| meter.total(period));
            total.map_or(Ok(()), |total| total.check_merge(part)).map_err(|overflow| {
                NotCounted::rejected(RejectReason::InvalidValue, format!("meter {key}: {overflow}"))
            })?;
        }
        Ok(())
    }
}
