//! What is kept of each tenant of a partition: limits, totals by billing period, series.

use std::collections::{BTreeMap, HashMap};

use weir_core::{Quantity, Span, TenantId, Timestamp};

use crate::aggregate::Aggregate;
use crate::meter::MeterKey;

use super::alarm::HeldLimit;
use super::series::MeterSeries;

/// All tenants of a partition that were heard of.
#[derive(Debug, Default)]
pub(super) struct Tenants(HashMap<TenantId, TenantState>);

/// One tenant.
#[derive(Debug, Default)]
pub(super) struct TenantState {
    /// The revision of the limits in force.
    pub(super) revision: Option<i64>,
    /// By meter, in order.
    pub(super) meters: BTreeMap<MeterKey, MeterState>,
    /// The hour of arrival (since 1970) of the last conflict that was reported.
    pub(super) conflict_hour: Option<i64>,
    /// When the agenda has this tenant; only while it has limits.
    pub(super) agenda_at: Option<Timestamp>,
    /// The period that levels are about; kept only while it has limits.
    pub(super) level_period: Option<Span>,
}

/// One tenant's usage of one meter.
#[derive(Debug, Default)]
pub(super) struct MeterState {
    /// The limit in force.
    pub(super) held: Option<HeldLimit>,
    /// Whether the batch under way changed the level.
    pub(super) touched: bool,
    /// Its series.
    pub(super) series: MeterSeries,
    /// Usage by billing period, by rising start.
    totals: Vec<(Span, Aggregate)>,
}

impl Tenants {
    /// A tenant, if it was heard of.
    pub(super) fn get(&self, tenant: &TenantId) -> Option<&TenantState> {
        self.0.get(tenant)
    }

    /// A tenant.
    pub(super) fn entry(&mut self, tenant: &TenantId) -> &mut TenantState {
        if !self.0.contains_key(tenant) {
            self.0.insert(tenant.clone(), TenantState::default());
        }
        self.0.entry(tenant.clone()).or_default()
    }

    /// The tenants that have limits, in no order.
    pub(super) fn limited(&self) -> impl Iterator<Item = &TenantId> {
        self.0.iter().filter(|(_, state)| state.is_limited()).map(|(tenant, _)| tenant)
    }

    /// All limited meters, in no order.
    pub(super) fn limited_meters(&self) -> impl Iterator<Item = (&TenantId, &MeterKey)> {
        self.0.iter().flat_map(|(tenant, state)| {
            let held = state.meters.iter().filter(|(_, meter)| meter.held.is_some());
            held.map(move |(meter, _)| (tenant, meter))
        })
    }

    /// Forgets totals of periods that ended at or before `end`.
    pub(super) fn forget_totals(&mut self, end: Timestamp) {
        for meter in self.0.values_mut().flat_map(|state| state.meters.values_mut()) {
            meter.totals.retain(|(period, _)| period.end > end);
        }
    }
}

impl TenantState {
    /// What is kept of a meter, if anything.
    pub(super) fn meter(&self, meter: &MeterKey) -> Option<&MeterState> {
        self.meters.get(meter)
    }

    /// What is kept of a meter.
    pub(super) fn meter_mut(&mut self, meter: &MeterKey) -> &mut MeterState {
        self.meters.entry(meter.clone()).or_default()
    }

    /// Whether any meter has a limit.
    pub(super) fn is_limited(&self) -> bool {
        self.meters.values().any(|meter| meter.held.is_some())
    }

    /// The first end of a period with usage after `at`.
    pub(super) fn next_end(&self, at: Timestamp) -> Option<Timestamp> {
        let ends = self.meters.values().flat_map(|meter| meter.totals.iter().map(|(period, _)| period.end));
        ends.filter(|end| *end > at).min()
    }
}

impl MeterState {
    /// Usage in a billing period.
    pub(super) fn total(&self, period: Span) -> Option<&Aggregate> {
        self.find(period).ok().map(|at| &self.totals[at].1)
    }

    /// Usage in a billing period as a number.
    pub(super) fn used(&self, period: Span) -> Quantity {
        self.total(period).map_or(Quantity::ZERO, Aggregate::quantity)
    }

    /// Usage by billing period, by rising start.
    pub(super) fn totals(&self) -> impl Iterator<Item = (Span, Quantity)> {
        self.totals.iter().map(|(period, total)| (*period, total.quantity()))
    }

    /// Adds usage that [`Aggregate::check_merge`] has let through.
    pub(super) fn add_to_total(&mut self, period: Span, part: Aggregate) {
        match self.find(period) {
            Ok(at) => {
                let merged = self.totals[at].1.merge(part);
                assert!(merged.is_ok(), "a total takes what it was asked about");
            }
            Err(at) => self.totals.insert(at, (period, part)),
        }
    }

    /// Recovery: a total as the ledger has it.
    pub(super) fn set_total(&mut self, period: Span, total: Aggregate) {
        match self.find(period) {
            Ok(at) => self.totals[at].1 = total,
            Err(at) => self.totals.insert(at, (period, total)),
        }
    }

    fn find(&self, period: Span) -> Result<usize, usize> {
        self.totals.binary_search_by_key(&period, |(period, _)| *period)
    }
}
