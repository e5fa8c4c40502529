//! The series of a partition: each tenant, meter and set of dimension values that was ever
//! counted, with what the batch under way adds to it by the hour. Past the bound on a
//! tenant's series of a meter, further ones are counted under `other` (invariant 11).

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_core::{TenantId, Timestamp};

use crate::aggregate::{Aggregate, Part, UsageKey};
use crate::measure::{NO_DIMENSIONS, OTHER_DIMENSIONS};
use crate::meter::MeterKey;

use super::names::{Names, at};

/// How many series of a meter are reached for ahead of an event.
const SERIES_LIKELY: usize = 4;

/// All series of a partition. A series is known by its number here.
#[derive(Debug, Default)]
pub(super) struct SeriesTable {
    series: Vec<Series>,
    /// The numbers of the series that the batch under way adds to.
    changed: Vec<u32>,
    /// All texts of dimensions that some series has.
    dimensions: Names<Arc<str>>,
}

/// Whose series it is: numbers of tenant and meter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner {
    pub(super) tenant: u32,
    pub(super) meter: u32,
}

#[derive(Debug)]
struct Series {
    owner: Owner,
    dimensions: u32,
    /// What the batch under way adds in the first hour that it met.
    added: Option<(Timestamp, Aggregate)>,
    /// And in further hours: live events fall into two.
    added_beside: Vec<(Timestamp, Aggregate)>,
}

impl SeriesTable {
    /// Adds usage in an hour to a series.
    pub(super) fn add(&mut self, number: u32, hour: Timestamp, part: &Part) {
        match self.added(number, hour) {
            Some(usage) => {
                let merged = usage.add(part);
                assert!(merged.is_ok(), "a batch cannot hold the 10^14 events that a sum needs to overflow");
            }
            None => self.begin(number, hour, part.alone()),
        }
    }

    /// Adds what an adjustment changes in an hour to a series.
    pub(super) fn merge(&mut self, number: u32, hour: Timestamp, change: &Aggregate) {
        match self.added(number, hour) {
            Some(usage) => {
                let merged = usage.merge(change.clone());
                assert!(
                    merged.is_ok(),
                    "a batch cannot hold the 10^6 adjustments that a sum needs to overflow"
                );
            }
            None => self.begin(number, hour, change.clone()),
        }
    }

    /// What the batch under way has added to a series in an hour, if anything.
    fn added(&mut self, number: u32, hour: Timestamp) -> Option<&mut Aggregate> {
        let series = &mut self.series[at(number)];
        match &mut series.added {
            Some((first, usage)) if *first == hour => Some(usage),
            _ => series.added_beside.iter_mut().find(|(other, _)| *other == hour).map(|(_, usage)| usage),
        }
    }

    /// Keeps the first that the batch under way adds to a series in an hour.
    fn begin(&mut self, number: u32, hour: Timestamp, usage: Aggregate) {
        let series = &mut self.series[at(number)];
        if series.added.is_some() {
            series.added_beside.push((hour, usage));
        } else {
            series.added = Some((hour, usage));
            self.changed.push(number);
        }
    }

    /// The dimension values of a series, as they stand in its usage key.
    pub(super) fn dimensions_of(&self, number: u32) -> &str {
        self.dimensions.name(self.series[at(number)].dimensions)
    }

    /// What the batch added, which is then forgotten.
    pub(super) fn take_deltas(
        &mut self,
        tenants: &Names<TenantId>,
        meters: &Names<MeterKey>,
    ) -> BTreeMap<UsageKey, Aggregate> {
        self.dimensions.rank_all();
        let mut deltas = Vec::with_capacity(self.changed.len());
        for number in self.changed.drain(..) {
            let Series { owner, dimensions, added, added_beside } = &mut self.series[at(number)];
            let (tenant, meter) = (tenants.rank(owner.tenant), meters.rank(owner.meter));
            let dimensions = self.dimensions.rank(*dimensions);
            for (hour, usage) in added.take().into_iter().chain(added_beside.drain(..)) {
                deltas.push(((tenant, meter, hour, dimensions), usage));
            }
        }
        deltas.sort_unstable_by_key(|(key, _)| *key);
        let by_name = |((tenant, meter, hour, dimensions), usage)| {
            let key = UsageKey {
                tenant: tenants.ranked(tenant).clone(),
                meter: meters.ranked(meter).clone(),
                hour,
                dimensions: self.dimensions.ranked(dimensions).to_string(),
            };
            (key, usage)
        };
        deltas.into_iter().map(by_name).collect()
    }

    /// How many series there are.
    pub(super) fn len(&self) -> usize {
        self.series.len()
    }

    /// Reaches for what adding to a series will need; tells nothing.
    pub(super) fn reach(&self, number: u32) -> bool {
        self.series[at(number)].added.is_some()
    }

    fn open(&mut self, owner: Owner, dimensions: &str) -> u32 {
        let dimensions = match self.dimensions.find(dimensions) {
            Some(known) => known,
            None => self.dimensions.enter(&Arc::from(dimensions)),
        };
        self.series.push(Series { owner, dimensions, added: None, added_beside: Vec::new() });
        u32::try_from(self.series.len() - 1).unwrap_or(u32::MAX)
    }
}

/// The series of one tenant on one meter.
#[derive(Debug, Default)]
pub(super) struct MeterSeries {
    /// Without dimensions.
    plain: Option<u32>,
    /// With dimensions.
    apart: Option<Box<SeriesApart>>,
}

/// The series of one tenant on one meter that are kept apart by dimensions.
#[derive(Debug, Default)]
struct SeriesApart {
    /// Numbers of dimensions, rising, each with that of its series.
    by_dimensions: Vec<(u32, u32)>,
    /// Past the bound.
    other: Option<u32>,
}

/// Where usage belongs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// The number of the series.
    pub(super) series: u32,
    /// Whether this is the first usage past the bound.
    pub(super) bound_passed: bool,
}

impl MeterSeries {
    /// The series of these dimension values, or `other` when they are new and there are
    /// `bound` already.
    pub(super) fn place(
        &mut self,
        table: &mut SeriesTable,
        owner: Owner,
        dimensions: &str,
        bound: u32,
    ) -> Place {
        if dimensions == NO_DIMENSIONS {
            let series = *self.plain.get_or_insert_with(|| table.open(owner, NO_DIMENSIONS));
            return Place { series, bound_passed: false };
        }
        let apart = self.apart.get_or_insert_default();
        // Dimensions that no series has belong to none of this meter's.
        let known = table.dimensions.find(dimensions);
        if let Some(series) = known.and_then(|number| apart.find(number)) {
            return Place { series, bound_passed: false };
        }
        let full = u32::try_from(apart.by_dimensions.len()).is_ok_and(|known| known >= bound);
        if full {
            let bound_passed = apart.other.is_none();
            let series = *apart.other.get_or_insert_with(|| table.open(owner, OTHER_DIMENSIONS));
            return Place { series, bound_passed };
        }
        let series = table.open(owner, dimensions);
        let number = table.series[at(series)].dimensions;
        let place = apart.by_dimensions.partition_point(|(known, _)| *known < number);
        apart.by_dimensions.insert(place, (number, series));
        Place { series, bound_passed: false }
    }

    /// Recovery: a series that the ledger has. Having `other` means that the alert was raised.
    pub(super) fn restore(&mut self, table: &mut SeriesTable, owner: Owner, dimensions: &str) {
        if dimensions == OTHER_DIMENSIONS {
            let apart = self.apart.get_or_insert_default();
            apart.other.get_or_insert_with(|| table.open(owner, OTHER_DIMENSIONS));
        } else {
            self.place(table, owner, dimensions, u32::MAX);
        }
    }

    /// The first few series, among which the next event's is likely to be.
    pub(super) fn likely(&self) -> impl Iterator<Item = u32> {
        let apart = self.apart.iter().flat_map(|apart| &apart.by_dimensions).map(|(_, series)| *series);
        self.plain.into_iter().chain(apart).take(SERIES_LIKELY)
    }
}

impl SeriesApart {
    fn find(&self, dimensions: u32) -> Option<u32> {
        let found = self.by_dimensions.binary_search_by_key(&dimensions, |(known, _)| *known);
        found.ok().map(|at| self.by_dimensions[at].1)
    }
}
