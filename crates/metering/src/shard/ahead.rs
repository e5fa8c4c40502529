//! What can be done for a record before its turn: the hashes of its event, which depend on
//! nothing else, and reaching for the memory that judging it will need. Records of different
//! tenants do not wait for each other there, as they would one after the other. Nothing is
//! decided here and nothing changes.

use std::hint::black_box;

use crate::event::EventHashes;
use crate::record::{Batch, BodyRef};

use super::Shard;

/// How many records are prepared at a time: few enough that what was reached for is still
/// at hand when their turn comes.
pub(super) const RECORDS_AHEAD: usize = 64;

/// An event that was prepared.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prepared {
    /// The number of its tenant, if it was heard of.
    pub(super) tenant: Option<u32>,
    pub(super) hashes: EventHashes,
}

impl Shard {
    /// Prepares the records from `from` on; `None` for what is no event.
    pub(super) fn look_ahead(&self, batch: &Batch, from: usize, prepared: &mut Vec<Option<Prepared>>) {
        let to = batch.len().min(from + RECORDS_AHEAD);
        let event = |index| match batch.record(index).body {
            BodyRef::Event(event, _) => Some(event),
            BodyRef::Other(_) => None,
        };
        prepared.clear();
        prepared.extend((from..to).map(|index| {
            let tenant = self.tenants.number(event(index)?.tenant());
            Some(Prepared { tenant, hashes: EventHashes::default() })
        }));
        for (index, prepared) in (from..to).zip(&mut *prepared) {
            if let (Some(prepared), Some(event)) = (prepared, event(index)) {
                let known = self.identities.hashes(index);
                let hashes = || self.hasher.hashes(event, batch.record(index).broker_time);
                prepared.hashes = known.unwrap_or_else(hashes);
            }
        }
        for event in prepared.iter().flatten() {
            self.identities.look_towards(&event.hashes);
        }
        self.reach(prepared);
    }

    /// Reads a little of everything that the events will need, in rounds: what one round finds
    /// says where the next one looks, and within a round no look waits for another.
    fn reach(&self, prepared: &[Option<Prepared>]) {
        let tenants = || prepared.iter().flatten().filter_map(|event| event.tenant);
        let meters = || tenants().flat_map(|tenant| &self.tenants.state(tenant).meters);
        tenants().for_each(|tenant| {
            black_box(self.tenants.state(tenant).reach());
        });
        meters().for_each(|meter| {
            black_box(meter.reach());
        });
        meters().flat_map(|meter| meter.series.likely()).for_each(|series| {
            black_box(self.series.reach(series));
        });
    }
}
