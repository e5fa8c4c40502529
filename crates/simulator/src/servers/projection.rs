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
            if let Some(before) = self.projection.events.insert(key, row.clone())
                && before != row
            {
                self.projection.contradictions += 1;
            }
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
                Some(held) if held.version > row.version => {}
                Some(held) => *held = row,
                None => {
                    self.projection.rollups.insert(key, row);
                }
            }
        }
    }

    /// `rollups_above`.
    pub(crate) fn rollups_above(&self, place: (Partition, Generation), version: u64) -> Vec<UsageKey> {
        let above = self.projection.rollups.values().filter(|row| is_above(row, place, version));
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
    pub(crate) fn remove_rollups_above(&mut self, place: (Partition, Generation), version: u64) {
        self.projection.rollups.retain(|_, row| !is_above(row, place, version));
    }

    /// `purge_from`.
    pub(crate) fn purge_from(&mut self, (partition, generation): (Partition, Generation), from: i64) -> u64 {
        if self.mistaken(Mutation::KeepPhantoms) {
            return 0;
        }
        let before = self.projection.events.len();
        let unknown =
            |key: &(Generation, Partition, i64)| key.0 == generation && key.1 == partition && key.2 >= from;
        self.projection.events.retain(|key, _| !unknown(key));
        u64::try_from(before - self.projection.events.len()).unwrap_or(0)
    }
}

fn is_above(row: &RollupRow, (partition, generation): (Partition, Generation), version: u64) -> bool {
    row.partition == partition && row.generation == generation && row.version > version
}
