//! The series of a partition: each tenant, meter and set of dimension values that was ever
//! counted, with what the batch under way adds to it by the hour. Past the bound on a
//! tenant's series of a meter, further ones are counted under `other` (invariant 11).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use weir_core::{TenantId, Timestamp};

use crate::aggregate::{Aggregate, UsageKey};
use crate::measure::{NO_DIMENSIONS, OTHER_DIMENSIONS};
use crate::meter::MeterKey;

/// How many hours' room a series keeps from batch to batch: live events fall into two.
const HOURS_KEPT: usize = 4;

/// All series of a partition. A series is known by its number here.
#[derive(Debug, Default)]
pub(super) struct SeriesTable {
    series: Vec<Series>,
    /// The numbers of the series that the batch under way adds to.
    changed: Vec<usize>,
}

#[derive(Debug)]
struct Series {
    tenant: TenantId,
    meter: MeterKey,
    dimensions: Arc<str>,
    /// What the batch under way adds, by rising hour.
    added: Vec<(Timestamp, Aggregate)>,
}

impl SeriesTable {
    /// Adds usage in an hour to a series.
    pub(super) fn add(&mut self, number: usize, hour: Timestamp, part: Aggregate) {
        let series = &mut self.series[number];
        if series.added.is_empty() {
            self.changed.push(number);
        }
        match series.added.binary_search_by_key(&hour, |(hour, _)| *hour) {
            Ok(at) => {
                let merged = series.added[at].1.merge(part);
                assert!(merged.is_ok(), "a batch cannot hold the 10^14 events that a sum needs to overflow");
            }
            Err(at) => series.added.insert(at, (hour, part)),
        }
    }

    /// What the batch added, which is then forgotten.
    pub(super) fn take_deltas(&mut self) -> BTreeMap<UsageKey, Aggregate> {
        let mut deltas = Vec::with_capacity(self.changed.len());
        for number in self.changed.drain(..) {
            let Series { tenant, meter, dimensions, added } = &mut self.series[number];
            for (hour, aggregate) in added.drain(..) {
                let (tenant, meter) = (tenant.clone(), meter.clone());
                deltas
                    .push((UsageKey { tenant, meter, hour, dimensions: dimensions.to_string() }, aggregate));
            }
            added.shrink_to(HOURS_KEPT);
        }
        deltas.into_iter().collect()
    }

    /// How many series there are.
    pub(super) fn len(&self) -> usize {
        self.series.len()
    }

    fn open(&mut self, tenant: &TenantId, meter: &MeterKey, dimensions: Arc<str>) -> usize {
        let (tenant, meter) = (tenant.clone(), meter.clone());
        self.series.push(Series { tenant, meter, dimensions, added: Vec::new() });
        self.series.len() - 1
    }
}

/// The series of one tenant on one meter.
#[derive(Debug, Default)]
pub(super) struct MeterSeries {
    /// Without dimensions.
    plain: Option<usize>,
    /// Past the bound.
    other: Option<usize>,
    by_dimensions: HashMap<Arc<str>, usize>,
}

/// Where usage belongs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// The number of the series.
    pub(super) series: usize,
    /// Whether this is the first usage past the bound.
    pub(super) bound_passed: bool,
}

impl MeterSeries {
    /// The series of these dimension values, or `other` when they are new and there are
    /// `bound` already.
    pub(super) fn place(
        &mut self,
        table: &mut SeriesTable,
        tenant: &TenantId,
        meter: &MeterKey,
        dimensions: &str,
        bound: u32,
    ) -> Place {
        let mut open = |dimensions: Arc<str>| table.open(tenant, meter, dimensions);
        if dimensions == NO_DIMENSIONS {
            let series = *self.plain.get_or_insert_with(|| open(Arc::from(NO_DIMENSIONS)));
            return Place { series, bound_passed: false };
        }
        if let Some(series) = self.by_dimensions.get(dimensions) {
            return Place { series: *series, bound_passed: false };
        }
        let full = u32::try_from(self.by_dimensions.len()).is_ok_and(|known| known >= bound);
        if full {
            let bound_passed = self.other.is_none();
            let series = *self.other.get_or_insert_with(|| open(Arc::from(OTHER_DIMENSIONS)));
            return Place { series, bound_passed };
        }
        let dimensions: Arc<str> = Arc::from(dimensions);
        let series = open(Arc::clone(&dimensions));
        self.by_dimensions.insert(dimensions, series);
        Place { series, bound_passed: false }
    }

    /// Recovery: a series that the ledger has. Having `other` means that the alert was raised.
    pub(super) fn restore(
        &mut self,
        table: &mut SeriesTable,
        tenant: &TenantId,
        meter: &MeterKey,
        dimensions: &str,
    ) {
        if dimensions == OTHER_DIMENSIONS {
            let open = || table.open(tenant, meter, Arc::from(OTHER_DIMENSIONS));
            self.other.get_or_insert_with(open);
        } else {
            self.place(table, tenant, meter, dimensions, u32::MAX);
        }
    }
}
