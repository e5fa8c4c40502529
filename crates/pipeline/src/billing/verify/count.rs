//! Usage of periods at several cuts, counted in one pass over parts in any order.
//!
//! Parts are put into the interval between two cuts that they lie in, so the usage at a
//! cut is the merge of the intervals below it. Hours lie wholly inside a period.

use std::collections::{BTreeMap, HashMap};

use weir_billing::{MeterName, UsageOfPeriod};
use weir_core::{Position, Span, TenantId, Timestamp};
use weir_metering::aggregate::{Aggregate, Overflow};
use weir_metering::meter::MeterKey;

use super::PeriodDocuments;

/// The periods of a partition's tenants that are proved, and the cuts of their documents.
#[derive(Clone, Debug)]
pub(super) struct Cuts(HashMap<TenantId, Vec<PeriodCuts>>);

#[derive(Clone, Debug)]
struct PeriodCuts {
    period: Span,
    /// Rising, each once.
    cuts: Vec<Position>,
}

/// Usage of one meter by interval.
type Intervals = Vec<BTreeMap<MeterKey, Aggregate>>;

/// Totals by tenant, period and interval.
#[derive(Debug)]
pub(super) struct Totals<'a> {
    cuts: &'a Cuts,
    intervals: HashMap<TenantId, Vec<Intervals>>,
}

impl Cuts {
    pub(super) fn of(documents: &[&PeriodDocuments]) -> Self {
        let mut tenants: HashMap<TenantId, Vec<PeriodCuts>> = HashMap::new();
        for one in documents {
            let mut cuts: Vec<_> = one.rows.iter().map(|row| row.cut).collect();
            let periods = tenants.entry(one.tenant.clone()).or_default();
            match periods.iter_mut().find(|known| known.period == one.period) {
                Some(known) => known.cuts.append(&mut cuts),
                None => periods.push(PeriodCuts { period: one.period, cuts }),
            }
        }
        for period in tenants.values_mut().flatten() {
            period.cuts.sort();
            period.cuts.dedup();
        }
        Self(tenants)
    }

    /// The tenants.
    pub(super) fn tenants(&self) -> impl Iterator<Item = &TenantId> {
        self.0.keys()
    }

    /// Whether a tenant is among them.
    pub(super) fn has(&self, tenant: &str) -> bool {
        self.0.contains_key(tenant)
    }

    /// The highest cut of a partition.
    pub(super) fn highest(&self, partition: i32) -> Option<Position> {
        let cuts = self.0.values().flatten().flat_map(|period| &period.cuts);
        cuts.filter(|cut| cut.partition == partition).max().copied()
    }
}

impl<'a> Totals<'a> {
    pub(super) fn new(cuts: &'a Cuts) -> Self {
        let empty = |period: &PeriodCuts| vec![BTreeMap::new(); period.cuts.len()];
        let intervals = cuts
            .0
            .iter()
            .map(|(tenant, periods)| (tenant.clone(), periods.iter().map(empty).collect()))
            .collect();
        Self { cuts, intervals }
    }

    /// Adds usage of an hour that was accepted at `position`. Usage of other tenants and
    /// periods, and at or above the last cut, is left out.
    pub(super) fn add(
        &mut self,
        tenant: &str,
        meter: &MeterKey,
        hour: Timestamp,
        position: Position,
        usage: &Aggregate,
    ) -> Result<(), Overflow> {
        let (Some(periods), Some(totals)) = (self.cuts.0.get(tenant), self.intervals.get_mut(tenant)) else {
            return Ok(());
        };
        for (period, intervals) in periods.iter().zip(totals) {
            if !period.period.contains(hour) {
                continue;
            }
            let at = period.cuts.partition_point(|cut| *cut <= position);
            let Some(meters) = intervals.get_mut(at) else { continue };
            match meters.get_mut(meter) {
                Some(total) => total.merge(usage.clone())?,
                None => {
                    meters.insert(meter.clone(), usage.clone());
                }
            }
        }
        Ok(())
    }

    /// Usage of a period below a cut.
    pub(super) fn at(&self, tenant: &TenantId, period: Span, cut: Position) -> Vec<UsageOfPeriod> {
        let mut merged: BTreeMap<MeterKey, Aggregate> = BTreeMap::new();
        let periods = self.cuts.0.get(tenant).into_iter().flatten();
        let totals = self.intervals.get(tenant).into_iter().flatten();
        for (known, intervals) in periods.zip(totals).filter(|(known, _)| known.period == period) {
            let below = known.cuts.partition_point(|known| *known <= cut);
            for (meter, usage) in intervals.iter().take(below).flatten() {
                match merged.get_mut(meter) {
                    // Each part fitted when it was counted; a total that does not shows as a difference.
                    Some(total) => drop(total.merge(usage.clone())),
                    None => {
                        merged.insert(meter.clone(), usage.clone());
                    }
                }
            }
        }
        let named = |(meter, usage): (&MeterKey, &Aggregate)| {
            let meter = MeterName::new(meter.as_str()).ok()?;
            Some(UsageOfPeriod { meter, quantity: usage.quantity(), event_count: usage.count() })
        };
        merged.iter().filter_map(named).collect()
    }
}
