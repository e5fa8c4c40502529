//! Usage in memory: the rows that deltas are folded into, and the totals that rollups lack.

use weir_backends::StoreError;
use weir_backends::ledger::rollup::{Rollup, UsageTotal};
use weir_backends::ledger::usage::{Deltas, Folding, Unfolded};
use weir_core::{Generation, Partition, Quantity, Timestamp};
use weir_metering::aggregate::{Aggregate, UsageKey};
use weir_wire::batch_blob::decode_deltas;

use super::Servers;
use crate::mutation::Mutation;

/// Batches that are read at once, as in the statements.
const BATCHES_MAX: usize = 64;

/// By what a row of `usage` is found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct UsageRowKey {
    pub(crate) partition: Partition,
    pub(crate) generation: Generation,
    pub(crate) key: UsageKey,
}

/// A row of `usage`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UsageLine {
    pub(crate) quantity: Quantity,
    pub(crate) count: i64,
    /// `latest` meters: event time and offset of the value.
    pub(crate) latest: Option<(Timestamp, i64)>,
}

impl Servers {
    /// `unfolded`.
    pub(crate) fn unfolded(&self, partition: Partition) -> Option<Unfolded> {
        let line = self.ledger.partitions.get(&partition)?;
        let (row, owner) = (&line.row, line.owner.map(Vec::from));
        if row.folded_to >= row.next_offset {
            return None;
        }
        let place = (partition, row.generation);
        let chain = self.ledger.chain(place, row.folded_to).take(BATCHES_MAX);
        let batches =
            chain.map(|(from, batch)| Deltas { from, to: batch.to, deltas: batch.deltas.clone() }).collect();
        let (from, next_offset) = (row.folded_to, row.next_offset);
        Some(Unfolded { partition, generation: row.generation, from, next_offset, owner, batches })
    }

    /// `fold`.
    pub(crate) fn fold(&mut self, folding: &Folding) -> bool {
        let any_time = self.mistaken(Mutation::FoldTwice);
        let Some(line) = self.ledger.partitions.get_mut(&folding.partition) else { return false };
        let same_owner = line.owner.map(Vec::from) == folding.owner;
        let row = &mut line.row;
        let stands = row.generation == folding.generation
            && same_owner
            && (row.folded_to == folding.from || (any_time && row.folded_to >= folding.from));
        if !stands || folding.to > row.next_offset {
            return false;
        }
        row.folded_to = row.folded_to.max(folding.to);
        for (key, aggregate) in &folding.usage {
            let key = UsageRowKey {
                partition: folding.partition,
                generation: folding.generation,
                key: key.clone(),
            };
            self.add(key, aggregate);
        }
        true
    }

    fn add(&mut self, key: UsageRowKey, more: &Aggregate) {
        let mut quantity = more.quantity();
        let mut latest = None;
        match more {
            Aggregate::Unique { hashes, .. } => {
                let fresh = hashes.iter().filter(|hash| self.ledger.values.insert((key.clone(), **hash)));
                quantity = Quantity::from_units(i64::try_from(fresh.count()).unwrap_or(0));
            }
            Aggregate::Latest { time, offset, .. } => latest = Some((*time, *offset)),
            _ => {}
        }
        let count = more.count();
        let Some(line) = self.ledger.usage.get_mut(&key) else {
            self.ledger.usage.insert(key, UsageLine { quantity, count, latest });
            return;
        };
        line.count += count;
        match more {
            Aggregate::Max { .. } => line.quantity = line.quantity.max(quantity),
            Aggregate::Min { .. } => line.quantity = line.quantity.min(quantity),
            Aggregate::Latest { .. } if latest > line.latest => {
                (line.quantity, line.latest) = (quantity, latest);
            }
            Aggregate::Latest { .. } => {}
            _ => line.quantity = line.quantity.checked_add(quantity).unwrap_or(line.quantity),
        }
    }

    /// `rollup::pending`.
    pub(crate) fn pending_rollup(&self, partition: Partition) -> Result<Option<Rollup>, StoreError> {
        let Some(line) = self.ledger.partitions.get(&partition) else { return Ok(None) };
        let row = &line.row;
        if row.rolled_to >= row.folded_to {
            return Ok(None);
        }
        let generation = row.generation;
        let mut to = row.rolled_to;
        let mut keys = std::collections::BTreeSet::new();
        for (from, batch) in self.ledger.chain((partition, generation), to).take(BATCHES_MAX) {
            if batch.to > row.folded_to {
                break;
            }
            if from != to {
                return Err(StoreError::corrupt("read what the rollups lack", format!("no batch at {to}")));
            }
            to = batch.to;
            let deltas = decode_deltas(&batch.deltas)
                .map_err(|error| StoreError::corrupt("read what the rollups lack", error))?;
            keys.extend(deltas.into_keys());
        }
        let totals = self.totals_at((partition, generation), keys);
        Ok(Some(Rollup { partition, generation, to, folded_to: row.folded_to, totals }))
    }

    /// `rollup::totals_of`.
    pub(crate) fn totals_of(&self, partition: Partition, keys: Vec<UsageKey>) -> Result<Rollup, StoreError> {
        let Some(line) = self.ledger.partitions.get(&partition) else {
            return Err(StoreError::corrupt("read what the rollups lack", "no such partition"));
        };
        let row = &line.row;
        let totals = self.totals_at((partition, row.generation), keys);
        let (generation, to, folded_to) = (row.generation, row.rolled_to, row.folded_to);
        Ok(Rollup { partition, generation, to, folded_to, totals })
    }

    fn totals_at(
        &self,
        (partition, generation): (Partition, Generation),
        keys: impl IntoIterator<Item = UsageKey>,
    ) -> Vec<UsageTotal> {
        let total = |key: UsageKey| {
            let line = self.ledger.usage.get(&UsageRowKey { partition, generation, key: key.clone() })?;
            Some(UsageTotal {
                tenant: key.tenant.to_string(),
                meter: key.meter.to_string(),
                hour: key.hour,
                dimensions: key.dimensions,
                quantity: line.quantity,
                event_count: line.count,
            })
        };
        keys.into_iter().filter_map(total).collect()
    }
}
