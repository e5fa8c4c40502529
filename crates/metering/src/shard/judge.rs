//! Which records are accepted, in the order of judgement. Nothing changes here: what is
//! refused has claimed no id and moved no total (invariants 9 to 11).

use weir_core::time::span_words;
use weir_core::{Partition, Span, TenantId, Timestamp};

use crate::aggregate::Part;
use crate::catalogue::Catalogue;
use crate::event::{EventHashes, EventRef};
use crate::identity::Seen;
use crate::outcome::{RejectReason, Verdict};

use super::Shard;
use super::ahead::Prepared;
use super::tenant::Facts;
use super::work::{At, Work};

/// How often a record is forwarded. In one history of a ledger once is enough, since a tenant
/// keeps its home. A tenant that a ledger has lost by being restored, and that is created again
/// among more partitions, may have another: then what was forwarded in the history before is
/// forwarded again. So this many restorations are stood; what has come further is a dead letter.
pub const HOPS_MAX: u8 = 3;

/// What becomes of a record that is not counted.
#[derive(Debug)]
pub(super) struct NotCounted {
    /// In a word, for the ledger.
    pub(super) verdict: Verdict,
    /// Why, in words for the dead letters; `None` when it does not go there.
    pub(super) detail: Option<String>,
    /// Where it is sent on to, and how often it has been then.
    pub(super) forward_to: Option<(Partition, u8)>,
}

impl NotCounted {
    /// A limit, an adjustment or a tick, which has been taken but is no event.
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

    fn forwarded(to: Partition, hops: u8) -> Self {
        Self { verdict: Verdict::Forwarded, detail: None, forward_to: Some((to, hops)) }
    }
}

/// An event that will be counted.
#[derive(Debug)]
pub(super) struct Candidate<'a> {
    pub(super) tenant: Whose<'a>,
    pub(super) facts: Facts,
    pub(super) time: Timestamp,
    pub(super) hashes: EventHashes,
}

/// The tenant of an event.
#[derive(Clone, Copy, Debug)]
pub(super) enum Whose<'a> {
    /// Heard of before, by this number.
    Known(u32),
    /// In the catalogue, and not heard of before.
    New(&'a TenantId),
}

impl Shard {
    /// Judges an event. Leaves what the meters make of it in `work`.
    pub(super) fn judge<'a>(
        &self,
        at: &At,
        event: EventRef<'a>,
        hops: u8,
        prepared: Prepared,
        catalogue: &'a Catalogue,
        work: &mut Work<'a>,
    ) -> Result<Candidate<'a>, NotCounted> {
        let known = prepared.tenant.or_else(|| self.tenants.number(event.tenant()));
        let valid = if known.is_some() { event.validate_facts() } else { event.validate() };
        valid.map_err(|error| NotCounted::rejected(RejectReason::InvalidEvent, error.to_string()))?;
        let time = event.time_or(at.broker_time);
        let (tenant, facts) = self.whose(event.tenant(), known, (hops, time), catalogue)?;
        let hashes = prepared.hashes;
        match self.identities.seen(&hashes) {
            Seen::New => {}
            Seen::Same => return Err(NotCounted::duplicate()),
            Seen::OtherFacts => return Err(NotCounted::conflict()),
        }
        self.check_time(time)?;
        catalogue
            .measure_into(event, time, &mut work.measurements)
            .map_err(|error| NotCounted::rejected(RejectReason::InvalidValue, error.to_string()))?;
        let part = |measurement| Part::of(measurement, &self.key, time, at.position.offset);
        work.parts.clear();
        work.parts.extend(work.measurements.iter().map(part));
        if let (Some(number), Some(period)) = (known, facts.period) {
            self.check_totals(number, period, work)?;
        }
        Ok(Candidate { tenant, facts, time, hashes })
    }

    /// Whose event it is, provided that it belongs here and the catalogue knows the tenant.
    fn whose<'a>(
        &self,
        name: &str,
        known: Option<u32>,
        (hops, time): (u8, Timestamp),
        catalogue: &'a Catalogue,
    ) -> Result<(Whose<'a>, Facts), NotCounted> {
        let unknown =
            || NotCounted::rejected(RejectReason::UnknownTenant, format!("there is no tenant {name}"));
        if let Some(number) = known {
            let state = self.tenants.state(number);
            if !state.is_at_home(catalogue.version) {
                self.check_home(name, hops, catalogue)?;
            }
            let facts = state.facts(name, catalogue, time).ok_or_else(unknown)?;
            return Ok((Whose::Known(number), facts));
        }
        self.check_home(name, hops, catalogue)?;
        let (tenant, _) = catalogue.tenants.get_key_value(name).ok_or_else(unknown)?;
        let facts = Facts::of(name, catalogue, time).ok_or_else(unknown)?;
        Ok((Whose::New(tenant), facts))
    }

    /// Whether a record of the tenant belongs here; where it goes, if not.
    pub(super) fn check_home(&self, name: &str, hops: u8, catalogue: &Catalogue) -> Result<(), NotCounted> {
        let home = catalogue.homes.of(name);
        if home == self.config.partition {
            Ok(())
        } else if hops < HOPS_MAX {
            Err(NotCounted::forwarded(home, hops + 1))
        } else {
            let detail = format!("belongs to partition {home}, and was forwarded {hops} times before");
            Err(NotCounted::rejected(RejectReason::Misrouted, detail))
        }
    }

    fn check_time(&self, time: Timestamp) -> Result<(), NotCounted> {
        let now = self.broker_time_max;
        if time < now.plus_millis(-self.config.window_ms) {
            let window = span_words(self.config.window_ms);
            let detail =
                format!("happened at {time}, which is too late at {now}: events are taken for {window}");
            return Err(NotCounted::rejected(RejectReason::TooLate, detail));
        }
        if time > now.plus_millis(self.config.future_ms) {
            let bound = span_words(self.config.future_ms);
            let detail =
                format!("happens at {time}, which is too far ahead at {now}: events may lie {bound} ahead");
            return Err(NotCounted::rejected(RejectReason::InFuture, detail));
        }
        Ok(())
    }

    fn check_totals(&self, tenant: u32, period: Span, work: &Work<'_>) -> Result<(), NotCounted> {
        let state = self.tenants.state(tenant);
        for (measurement, part) in work.measurements.iter().zip(&work.parts) {
            let meter = state.meter(self.meters_by_slot[measurement.slot]);
            let total = meter.and_then(|meter| meter.total(period));
            total.map_or(Ok(()), |total| total.check_add(part)).map_err(|overflow| {
                let key = &measurement.meter.key;
                NotCounted::rejected(RejectReason::InvalidValue, format!("meter {key}: {overflow}"))
            })?;
        }
        Ok(())
    }
}
