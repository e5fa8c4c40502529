//! ClickHouse in memory: rows that are written twice become one, the highest version of a
//! rollup is the truth, an insert that failed may have happened in part.

use std::collections::BTreeMap;

use weir_backends::projection::{EventRow, RollupRow};
use weir_core::{Generation, Partition, TenantId, Timestamp};
use weir_metering::aggregate::UsageKey;
use weir_metering::meter::MeterKey;

use super::Servers;
use crate::mutation::Mutation;

/// By what a rollup is found.
pub(crate) type RollupKey = (String, String, i64, String, Generation, Partition);

/// ClickHouse.
#[derive(Clone, Debug, Default)]
pub(crate) struct Projection {
    pub(crate) events: BTreeMap<(Generation, Partition, i64), EventRow>,
    pub(crate) rollups: BTreeMap<RollupKey, RollupRow>,
    /// Rows of one position that differed: the newest stands, as there.
    pub(crate) contradictions: u64,
}

impl Servers {
    /// `insert_events`.
    pub(crate) fn insert_events(&mut self, rows: Vec<EventRow>) {
        let mut part = self.part.take();
        for row in rows {
            if part.as_mut().is_some_and(|chance| chance.per_mille(500)) {
                continue;
            }
            let key = (row.generation, row.partition, row.offset);
            if let Some(held) = self.projection.events.get(&key) {
                let alike = EventRow { epoch: row.epoch, ..held.clone() };
                self.projection.contradictions += u64::from(alike != row);
                if held.epoch > row.epoch {
                    continue;
                }
            }
            self.projection.events.insert(key, row);
        }
    }

    /// `insert_rollups`.
    pub(crate) fn insert_rollups(&mut self, rows: Vec<RollupRow>) {
        let mut part = self.part.take();
        for row in rows {
            if part.as_mut().is_some_and(|chance| chance.per_mille(500)) {
                continue;
            }
            let key = (
                row.tenant.clone(),
                row.meter.clone(),
                row.hour,
                row.dimensions.clone(),
                row.generation,
                row.partition,
            );
            match self.projection.rollups.get_mut(&key) {
                Some(held) if (held.epoch, held.folded_to) > (row.epoch, row.folded_to) => {}
                Some(held) => *held = row,
                None => {
                    self.projection.rollups.insert(key, row);
                }
            }
        }
    }

    /// `epoch_max`.
    pub(crate) fn epoch_max(&self, (partition, generation): (Partition, Generation), from: i64) -> i64 {
        let events =
            self.projection.events.range((generation, partition, from)..(generation, partition, i64::MAX));
        let rollups = self.projection.rollups.values();
        let rollups = rollups.filter(|row| row.partition == partition && row.generation == generation);
        let epochs = events.map(|(_, row)| row.epoch).chain(rollups.map(|row| row.epoch));
        epochs.max().unwrap_or(0)
    }

    /// `count_positions`.
    pub(crate) fn count_positions(
        &self,
        (partition, generation): (Partition, Generation),
        (from, to): (i64, i64),
    ) -> u64 {
        let within = self.projection.events.range((generation, partition, from)..(generation, partition, to));
        u64::try_from(within.count()).unwrap_or(u64::MAX)
    }

    /// `rollups_above`.
    pub(crate) fn rollups_above(
        &self,
        place: (Partition, Generation),
        folded_to: i64,
        epoch: i64,
    ) -> Vec<UsageKey> {
        let above = self.projection.rollups.values().filter(|row| is_above(row, place, folded_to, epoch));
        let key = |row: &RollupRow| {
            Some(UsageKey {
                tenant: TenantId::new(&row.tenant).ok()?,
                meter: MeterKey::new(&row.meter).ok()?,
                hour: Timestamp::clamped(row.hour),
                dimensions: row.dimensions.clone(),
            })
        };
        above.filter_map(key).collect()
    }

    /// `remove_rollups_above`.
    pub(crate) fn remove_rollups_above(
        &mut self,
        place: (Partition, Generation),
        folded_to: i64,
        epoch: i64,
    ) {
        self.projection.rollups.retain(|_, row| !is_above(row, place, folded_to, epoch));
    }

    /// `remove_events`.
    pub(crate) fn remove_events(
        &mut self,
        (partition, generation): (Partition, Generation),
        (from, to): (i64, i64),
        epoch: i64,
    ) -> u64 {
        if self.mistaken(Mutation::KeepPhantoms) {
            return 0;
        }
        let before = self.projection.events.len();
        let within = |key: &(Generation, Partition, i64)| {
            key.0 == generation && key.1 == partition && (from..to).contains(&key.2)
        };
        self.projection.events.retain(|key, row| !within(key) || row.epoch >= epoch);
        u64::try_from(before - self.projection.events.len()).unwrap_or(0)
    }
}

fn is_above(
    row: &RollupRow,
    (partition, generation): (Partition, Generation),
    folded_to: i64,
    epoch: i64,
) -> bool {
    let there = row.partition == partition && row.generation == generation;
    there && row.folded_to > folded_to && row.epoch < epoch
}
