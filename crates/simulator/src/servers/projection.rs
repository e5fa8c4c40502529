//! ClickHouse in memory: of rows that are written twice the one of the highest epoch is the
//! truth, an insert that failed may have happened in part, and everything may be dropped.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use weir_backends::StoreError;
use weir_backends::projection::{EventRow, RollupRow, StoredEvent};
use weir_core::{Generation, Partition, TenantId, Timestamp};
use weir_metering::aggregate::UsageKey;
use weir_metering::meter::MeterKey;

use super::Servers;
use crate::mutation::Mutation;

type Place = (Partition, Generation);
/// Tenant, meter, hour, dimensions, generation, partition.
type RollupKey = (String, String, i64, String, Generation, Partition);

/// ClickHouse.
#[derive(Clone, Debug, Default)]
pub(crate) struct Projection {
    /// Whether the tables are there.
    prepared: bool,
    marks: BTreeSet<String>,
    /// By position, then by epoch.
    events: BTreeMap<(Generation, Partition, i64), BTreeMap<i64, StoredEvent>>,
    /// By key, then by epoch and how far usage was folded.
    rollups: BTreeMap<RollupKey, BTreeMap<(i64, i64), RollupRow>>,
}

impl Projection {
    /// Everything is dropped, as when its folder is deleted.
    pub(crate) fn drop_all(&mut self) {
        *self = Self::default();
    }

    fn is_there(&self, attempt: &'static str) -> Result<(), StoreError> {
        if self.prepared { Ok(()) } else { Err(StoreError::corrupt(attempt, "there is no such table")) }
    }

    /// The events of a partition, by offset, as the views show them.
    pub(crate) fn events(&self, place: Place) -> impl Iterator<Item = (i64, &StoredEvent)> {
        let stored = self.events.range((place.1, place.0, i64::MIN)..=(place.1, place.0, i64::MAX));
        stored.filter_map(|((_, _, offset), rows)| rows.last_key_value().map(|(_, row)| (*offset, row)))
    }

    /// The rollups of a partition, as the views show them.
    pub(crate) fn rollups(&self, partition: Partition) -> impl Iterator<Item = &RollupRow> {
        let ours = self.rollups.iter().filter(move |(key, _)| key.5 == partition);
        ours.filter_map(|(_, rows)| rows.last_key_value().map(|(_, row)| row))
    }
}

impl Servers {
    /// `prepare`: what it was filled with is not believed any more where a table was missing.
    pub(crate) fn prepare_projection(&mut self) {
        if !self.projection.prepared {
            self.projection.marks.clear();
        }
        self.projection.prepared = true;
    }

    /// `marks`.
    pub(crate) fn marks(&self) -> Vec<String> {
        self.projection.marks.iter().cloned().collect()
    }

    /// `mark`.
    pub(crate) fn mark(&mut self, id: String) -> Result<(), StoreError> {
        self.projection.is_there("mark the projection")?;
        self.projection.marks.insert(id);
        Ok(())
    }

    /// `insert_events`.
    pub(crate) fn insert_events(&mut self, rows: Vec<EventRow>) -> Result<(), StoreError> {
        self.projection.is_there("insert raw events")?;
        let mut part = self.part.take();
        for row in rows {
            if part.as_mut().is_some_and(|chance| chance.per_mille(500)) {
                continue;
            }
            let row = StoredEvent::from(&row);
            let key = (row.generation, row.partition, row.offset);
            self.projection.events.entry(key).or_default().insert(row.epoch, row);
        }
        Ok(())
    }

    /// `insert_rollups`.
    pub(crate) fn insert_rollups(&mut self, rows: Vec<RollupRow>) -> Result<(), StoreError> {
        self.projection.is_there("insert rollups")?;
        let mut part = self.part.take();
        for row in rows {
            if part.as_mut().is_some_and(|chance| chance.per_mille(500)) {
                continue;
            }
            let RollupRow { tenant, meter, dimensions, .. } = row.clone();
            let key = (tenant, meter, row.hour, dimensions, row.generation, row.partition);
            self.projection.rollups.entry(key).or_default().insert((row.epoch, row.folded_to), row);
        }
        Ok(())
    }

    /// `epoch_max`.
    pub(crate) fn epoch_max(&self, (partition, generation): Place, from: i64) -> Result<i64, StoreError> {
        self.projection.is_there("look for the highest epoch")?;
        let span = (generation, partition, from)..=(generation, partition, i64::MAX);
        let events = self.projection.events.range(span).flat_map(|(_, rows)| rows.keys().copied());
        let rollups =
            self.projection.rollups.iter().filter(|(key, _)| key.4 == generation && key.5 == partition);
        let rollups = rollups.flat_map(|(_, rows)| rows.keys().map(|(epoch, _)| *epoch));
        Ok(events.chain(rollups).max().unwrap_or(0))
    }

    /// `remove_events`.
    pub(crate) fn remove_events(
        &mut self,
        (partition, generation): Place,
        (from, to): (i64, i64),
        epoch: i64,
    ) -> Result<u64, StoreError> {
        self.projection.is_there("remove events")?;
        if self.mistaken(Mutation::KeepPhantoms) {
            return Ok(0);
        }
        let mut removed = 0;
        let span = (generation, partition, from)..(generation, partition, to);
        for (_, rows) in self.projection.events.range_mut(span) {
            let kept = rows.split_off(&epoch);
            removed += std::mem::replace(rows, kept).len();
        }
        self.projection.events.retain(|_, rows| !rows.is_empty());
        Ok(u64::try_from(removed).unwrap_or(0))
    }

    /// `count_positions`.
    pub(crate) fn count_positions(
        &self,
        (partition, generation): Place,
        (from, to): (i64, i64),
    ) -> Result<u64, StoreError> {
        self.projection.is_there("count raw events")?;
        let span = (generation, partition, from)..(generation, partition, to);
        Ok(u64::try_from(self.projection.events.range(span).count()).unwrap_or(0))
    }

    /// `rollup_epochs`.
    pub(crate) fn rollup_epochs(&self, place: Place) -> Result<Vec<(i64, i64)>, StoreError> {
        self.projection.is_there("look for the epochs of rollups")?;
        if self.mistaken(Mutation::KeepLostRollups) {
            return Ok(Vec::new());
        }
        let ours = self.projection.rollups.iter().filter(|(key, _)| (key.5, key.4) == place);
        let mut found = BTreeMap::new();
        for (epoch, folded_to) in ours.flat_map(|(_, rows)| rows.keys().copied()) {
            let most = found.entry(epoch).or_insert(folded_to);
            *most = folded_to.max(*most);
        }
        Ok(found.into_iter().collect())
    }

    /// `rollups_beyond`.
    pub(crate) fn rollups_beyond(
        &self,
        place: Place,
        (epoch, folded_to): (i64, i64),
    ) -> Result<Vec<UsageKey>, StoreError> {
        self.projection.is_there("look for rollups")?;
        let lost = (Bound::Excluded((epoch, folded_to)), Bound::Included((epoch, i64::MAX)));
        let beyond = |(key, rows): (&RollupKey, &BTreeMap<(i64, i64), RollupRow>)| {
            if (key.5, key.4) != place || rows.range(lost).next().is_none() {
                return None;
            }
            Some(UsageKey {
                tenant: TenantId::new(&key.0).ok()?,
                meter: MeterKey::new(&key.1).ok()?,
                hour: Timestamp::clamped(key.2),
                dimensions: key.3.clone(),
            })
        };
        Ok(self.projection.rollups.iter().filter_map(beyond).collect())
    }

    /// `remove_rollups_beyond`.
    pub(crate) fn remove_rollups_beyond(
        &mut self,
        place: Place,
        (epoch, folded_to): (i64, i64),
    ) -> Result<(), StoreError> {
        self.projection.is_there("remove rollups")?;
        for (_, rows) in self.projection.rollups.iter_mut().filter(|(key, _)| (key.5, key.4) == place) {
            rows.retain(|version, _| version.0 != epoch || version.1 <= folded_to);
        }
        self.projection.rollups.retain(|_, rows| !rows.is_empty());
        Ok(())
    }
}
