//! A batch under way: the outcome so far, and space that is used again for each record.
//! It decides nothing.

use weir_core::{Position, Timestamp};

use crate::aggregate::Part;
use crate::measure::Measurement;
use crate::outcome::{Accepted, DeadLetter, Exception, Forward, Outcome, Verdict};

use super::judge::NotCounted;
use super::tenant::MeterState;

/// The record under judgement.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    /// Its index in the batch.
    pub(super) index: usize,
    /// Where it stands in the journal.
    pub(super) position: Position,
    /// The broker's time.
    pub(super) broker_time: Timestamp,
}

/// What a batch has come to so far.
#[derive(Debug, Default)]
pub(super) struct Work<'a> {
    /// Everything but deltas and levels, which follow at the end.
    pub(super) outcome: Outcome,
    /// What the meters make of the event under judgement.
    pub(super) measurements: Vec<Measurement<'a>>,
    /// The usage that follows from each measurement.
    pub(super) parts: Vec<Part>,
    /// Space for a text of dimensions.
    pub(super) text: String,
    /// Limited meters that changed, each once: numbers of tenant and meter.
    pub(super) touched: Vec<(u32, u32)>,
}

impl Work<'_> {
    /// Notes that a limited meter of a tenant changed, once a batch.
    pub(super) fn touch(&mut self, tenant: u32, meter: &mut MeterState) {
        if !std::mem::replace(&mut meter.touched, true) {
            self.touched.push((tenant, meter.number));
        }
    }

    /// Notes an accepted event.
    pub(super) fn accept(&mut self, at: &At, time: Timestamp) {
        self.outcome.counts.read += 1;
        self.outcome.counts.accepted += 1;
        self.outcome.accepted.push(Accepted { index: at.index, time });
    }

    /// Notes a record that was not accepted.
    pub(super) fn except(&mut self, at: &At, NotCounted { verdict, detail, forward_to }: NotCounted) {
        let counts = &mut self.outcome.counts;
        counts.read += 1;
        match verdict {
            Verdict::Duplicate | Verdict::Conflict => counts.duplicate += 1,
            Verdict::Rejected(_) => counts.rejected += 1,
            Verdict::Forwarded => counts.forwarded += 1,
            Verdict::Control => counts.control += 1,
        }
        self.outcome.exceptions.push(Exception { offset: at.position.offset, verdict });
        if let Some(detail) = detail {
            self.outcome.dead_letters.push(DeadLetter { index: at.index, verdict, detail });
        }
        if let Some((to, hops)) = forward_to {
            self.outcome.forwards.push(Forward { index: at.index, to, hops });
        }
    }
}
