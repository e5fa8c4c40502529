//! What is kept of each tenant of a partition: limits, totals by billing period, series.
//! It stands close together in memory: the cost of an event is that of reaching it.

use std::collections::HashMap;

use weir_core::{Quantity, Span, TenantId, Timestamp};

use crate::aggregate::Aggregate;
use crate::meter::MeterKey;

use super::alarm::HeldLimit;
use super::series::MeterSeries;

/// All tenants of a partition that were heard of.
#[derive(Debug, Default)]
pub(super) struct Tenants {
    numbers: HashMap<TenantId, usize>,
    states: Vec<TenantState>,
}

/// One tenant.
#[derive(Debug, Default)]
pub(super) struct TenantState {
    /// The revision of the limits in force.
    pub(super) revision: Option<i64>,
    /// By rising key.
    pub(super) meters: Vec<(MeterKey, MeterState)>,
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
        self.number(tenant).map(|number| &self.states[number])
    }

    /// The number of a tenant, if it was heard of.
    pub(super) fn number(&self, tenant: &TenantId) -> Option<usize> {
        self.numbers.get(tenant).copied()
    }

    /// The tenant of a number.
    pub(super) fn at(&self, number: usize) -> &TenantState {
        &self.states[number]
    }

    /// The tenant of a number.
    pub(super) fn at_mut(&mut self, number: usize) -> &mut TenantState {
        &mut self.states[number]
    }

    /// The number of a tenant, which is heard of from now on.
    pub(super) fn enter(&mut self, tenant: &TenantId) -> usize {
        self.number(tenant).unwrap_or_else(|| {
            self.states.push(TenantState::default());
            self.numbers.insert(tenant.clone(), self.states.len() - 1);
            self.states.len() - 1
        })
    }

    /// A tenant, which is heard of from now on.
    pub(super) fn entry(&mut self, tenant: &TenantId) -> &mut TenantState {
        let number = self.enter(tenant);
        &mut self.states[number]
    }

    /// The tenants that have limits, in no order.
    pub(super) fn limited(&self) -> impl Iterator<Item = &TenantId> {
        self.numbers.iter().filter(|(_, number)| self.states[**number].is_limited()).map(|(tenant, _)| tenant)
    }

    /// All limited meters, in no order.
    pub(super) fn limited_meters(&self) -> impl Iterator<Item = (&TenantId, &MeterKey)> {
        self.numbers.iter().flat_map(|(tenant, number)| {
            let held = self.states[*number].meters.iter().filter(|(_, meter)| meter.held.is_some());
            held.map(move |(meter, _)| (tenant, meter))
        })
    }

    /// Forgets totals of periods that ended at or before `end`.
    pub(super) fn forget_totals(&mut self, end: Timestamp) {
        for meter in self.states.iter_mut().flat_map(|state| state.meters.iter_mut().map(|(_, meter)| meter))
        {
            meter.totals.retain(|(period, _)| period.end > end);
        }
    }
}

impl TenantState {
    /// What is kept of a meter, if anything.
    pub(super) fn meter(&self, meter: &MeterKey) -> Option<&MeterState> {
        self.find(meter).ok().map(|at| &self.meters[at].1)
    }

    /// What is kept of a meter.
    pub(super) fn meter_mut(&mut self, meter: &MeterKey) -> &mut MeterState {
        let at = self.find(meter).unwrap_or_else(|at| {
            self.meters.insert(at, (meter.clone(), MeterState::default()));
            at
        });
        &mut self.meters[at].1
    }

    fn find(&self, meter: &MeterKey) -> Result<usize, usize> {
        self.meters.binary_search_by(|(key, _)| key.cmp(meter))
    }

    /// Whether any meter has a limit.
    pub(super) fn is_limited(&self) -> bool {
        self.meters.iter().any(|(_, meter)| meter.held.is_some())
    }

    /// The first end of a period with usage after `at`.
    pub(super) fn next_end(&self, at: Timestamp) -> Option<Timestamp> {
        let ends =
            self.meters.iter().flat_map(|(_, meter)| meter.totals.iter().map(|(period, _)| period.end));
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

    /// Adds usage that [`Aggregate::check_merge`] has let through. Returns the usage of the
    /// period before and after.
    pub(super) fn add_to_total(&mut self, period: Span, part: Aggregate) -> (Quantity, Quantity) {
        match self.find(period) {
            Ok(at) => {
                let total = &mut self.totals[at].1;
                let before = total.quantity();
                let merged = total.merge(part);
                assert!(merged.is_ok(), "a total takes what it was asked about");
                (before, total.quantity())
            }
            Err(at) => {
                let after = part.quantity();
                self.totals.insert(at, (period, part));
                (Quantity::ZERO, after)
            }
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
