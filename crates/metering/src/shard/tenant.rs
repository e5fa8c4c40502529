//! What is kept of each tenant of a partition: limits, totals by billing period, series.
//! It stands close together in memory: the cost of an event is that of reaching it.

use weir_core::{HourAlignment, Quantity, Span, TenantId, Timestamp};

use crate::aggregate::{Aggregate, Part};
use crate::catalogue::Catalogue;
use crate::meter::MeterKey;

use super::alarm::HeldLimit;
use super::names::{Names, at};
use super::series::MeterSeries;

/// All tenants of a partition that were heard of, and all meters.
#[derive(Debug, Default)]
pub(super) struct Tenants {
    pub(super) names: Names<TenantId>,
    pub(super) meters: Names<MeterKey>,
    states: Vec<TenantState>,
}

/// One tenant.
#[derive(Debug, Default)]
pub(super) struct TenantState {
    /// By the numbers of meters, rising.
    pub(super) meters: Vec<MeterState>,
    /// What the catalogue said of it when it was last asked.
    facts: CachedFacts,
    /// Everything that is looked at seldom.
    pub(super) seldom: Box<SeldomState>,
}

/// What is kept of a tenant beside its usage.
#[derive(Debug, Default)]
pub(super) struct SeldomState {
    /// The revision of the limits in force.
    pub(super) revision: Option<i64>,
    /// The hour of arrival (since 1970) of the last conflict that was reported.
    pub(super) conflict_hour: Option<i64>,
    /// When the agenda has this tenant; only while it has limits.
    pub(super) agenda_at: Option<Timestamp>,
    /// The period that levels are about; kept only while it has limits.
    pub(super) level_period: Option<Span>,
}

/// The tenant's facts, so that the catalogue is not asked for every event.
#[derive(Clone, Copy, Debug, Default)]
struct CachedFacts {
    /// The catalogue's version, of which the rest was learnt; `None` before it was asked.
    version: Option<i64>,
    alignment: HourAlignment,
    /// The billing period that was asked for last.
    period: Option<Span>,
}

/// What an event needs to know of its tenant.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    pub(super) alignment: HourAlignment,
    /// The billing period that holds the event's time.
    pub(super) period: Option<Span>,
}

/// One tenant's usage of one meter.
#[derive(Debug, Default)]
pub(super) struct MeterState {
    /// The meter's number.
    pub(super) number: u32,
    /// Whether the batch under way changed the level.
    pub(super) touched: bool,
    /// The limit in force.
    pub(super) held: Option<Box<HeldLimit>>,
    /// Its series.
    pub(super) series: MeterSeries,
    /// Usage in the billing period that was counted last.
    current: Option<(Span, Aggregate)>,
    /// Usage in other billing periods, in no order; few meters have any, most of the time.
    #[expect(
        clippy::box_collection,
        reason = "8 bytes instead of 24 in each of millions, most of them empty"
    )]
    others: Option<Box<Vec<(Span, Aggregate)>>>,
}

impl Tenants {
    /// The number of a tenant, if it was heard of.
    pub(super) fn number(&self, tenant: &str) -> Option<u32> {
        self.names.find(tenant)
    }

    /// The tenant of a number.
    pub(super) fn state(&self, number: u32) -> &TenantState {
        &self.states[at(number)]
    }

    /// The tenant of a number.
    pub(super) fn state_mut(&mut self, number: u32) -> &mut TenantState {
        &mut self.states[at(number)]
    }

    /// The number of a tenant, which is heard of from now on.
    pub(super) fn enter(&mut self, tenant: &TenantId) -> u32 {
        let number = self.names.enter(tenant);
        if at(number) == self.states.len() {
            self.states.push(TenantState::default());
        }
        number
    }

    /// What is kept of a tenant's meter, from now on.
    pub(super) fn meter_mut(&mut self, tenant: u32, meter: &MeterKey) -> &mut MeterState {
        let number = self.meters.enter(meter);
        self.state_mut(tenant).meter_mut(number)
    }

    /// The tenants that have limits, by name.
    pub(super) fn limited(&mut self) -> Vec<u32> {
        self.names.rank_all();
        let all = self.names.by_rank().iter().copied();
        all.filter(|number| self.state(*number).is_limited()).collect()
    }

    /// All limited meters, by the names of tenant and meter: their numbers.
    pub(super) fn limited_meters(&self) -> Vec<(u32, u32)> {
        let mut limited: Vec<_> = (0_u32..)
            .zip(&self.states)
            .flat_map(|(tenant, state)| {
                let held = state.meters.iter().filter(|meter| meter.held.is_some());
                held.map(move |meter| (tenant, meter.number))
            })
            .collect();
        limited.sort_by_key(|(tenant, meter)| (self.names.name(*tenant), self.meters.name(*meter)));
        limited
    }

    /// Brings the ranks of all names up to date.
    pub(super) fn rank_all(&mut self) {
        self.names.rank_all();
        self.meters.rank_all();
    }

    /// Forgets totals of periods that ended at or before `end`.
    pub(super) fn forget_totals(&mut self, end: Timestamp) {
        for meter in self.states.iter_mut().flat_map(|state| &mut state.meters) {
            meter.current.take_if(|(period, _)| period.end <= end);
            meter.others.iter_mut().for_each(|others| others.retain(|(period, _)| period.end > end));
            meter.others.take_if(|others| others.is_empty());
        }
    }
}

impl TenantState {
    /// Reaches for what judging an event will need; tells nothing.
    pub(super) fn reach(&self) -> bool {
        self.meters.is_empty() | self.facts.version.is_none()
    }

    /// Whether an event of it was accepted under this version of the catalogue: then this
    /// partition is its home.
    pub(super) fn is_at_home(&self, version: i64) -> bool {
        self.facts.version == Some(version)
    }

    /// What the catalogue knows of it, as an event at `time` needs it; `None` when it does
    /// not know it.
    pub(super) fn facts(&self, name: &str, catalogue: &Catalogue, time: Timestamp) -> Option<Facts> {
        let CachedFacts { version, alignment, period } = self.facts;
        if version == Some(catalogue.version) && period.is_some_and(|period| period.contains(time)) {
            return Some(Facts { alignment, period });
        }
        Facts::of(name, catalogue, time)
    }

    /// Keeps what the catalogue said of an accepted event, for the next one.
    pub(super) fn keep_facts(&mut self, version: i64, Facts { alignment, period }: Facts) {
        self.facts = CachedFacts { version: Some(version), alignment, period };
    }

    /// What is kept of a meter, if anything.
    pub(super) fn meter(&self, number: u32) -> Option<&MeterState> {
        self.find(number).ok().map(|at| &self.meters[at])
    }

    /// What is kept of a meter.
    pub(super) fn meter_mut(&mut self, number: u32) -> &mut MeterState {
        let at = self.find(number).unwrap_or_else(|at| {
            self.meters.insert(at, MeterState { number, ..MeterState::default() });
            at
        });
        &mut self.meters[at]
    }

    fn find(&self, number: u32) -> Result<usize, usize> {
        self.meters.binary_search_by_key(&number, |meter| meter.number)
    }

    /// Whether any meter has a limit.
    pub(super) fn is_limited(&self) -> bool {
        self.meters.iter().any(|meter| meter.held.is_some())
    }

    /// The first end of a period with usage after `at`.
    pub(super) fn next_end(&self, at: Timestamp) -> Option<Timestamp> {
        let ends = self.meters.iter().flat_map(|meter| meter.all_totals().map(|(period, _)| period.end));
        ends.filter(|end| *end > at).min()
    }
}

impl Facts {
    /// What the catalogue knows of a tenant.
    pub(super) fn of(name: &str, catalogue: &Catalogue, time: Timestamp) -> Option<Self> {
        let facts = catalogue.tenant(name)?;
        Some(Self { alignment: facts.alignment, period: facts.period_of(time) })
    }
}

impl MeterState {
    /// Usage in a billing period.
    pub(super) fn total(&self, period: Span) -> Option<&Aggregate> {
        self.all_totals().find(|(known, _)| *known == period).map(|(_, total)| total)
    }

    /// Reaches for what counting an event will need; tells nothing.
    pub(super) fn reach(&self) -> bool {
        let current = self.current.as_ref().is_some_and(|(_, total)| total.count() == 0);
        current | self.held.as_ref().is_some_and(|held| held.is_quiet_at(Quantity::ZERO))
    }

    /// Usage in a billing period as a number.
    pub(super) fn used(&self, period: Span) -> Quantity {
        self.total(period).map_or(Quantity::ZERO, Aggregate::quantity)
    }

    /// Usage by billing period, by rising start.
    pub(super) fn totals(&self) -> Vec<(Span, Quantity)> {
        let mut totals: Vec<_> =
            self.all_totals().map(|(period, total)| (*period, total.quantity())).collect();
        totals.sort();
        totals
    }

    /// Adds an event that [`Aggregate::check_add`] has let through. Returns the usage of the
    /// period before and after.
    pub(super) fn add_to_total(&mut self, period: Span, part: &Part) -> (Quantity, Quantity) {
        let total = self.make_current(period);
        match total {
            Some((_, total)) => {
                let before = total.quantity();
                let merged = total.add(part);
                assert!(merged.is_ok(), "a total takes what it was asked about");
                (before, total.quantity())
            }
            None => {
                let alone = part.alone();
                let after = alone.quantity();
                *total = Some((period, alone));
                (Quantity::ZERO, after)
            }
        }
    }

    /// Adds what an adjustment changes, which [`Aggregate::check_merge`] has let through. Returns
    /// the usage of the period before and after.
    pub(super) fn merge_into_total(&mut self, period: Span, change: &Aggregate) -> (Quantity, Quantity) {
        let total = self.make_current(period);
        match total {
            Some((_, total)) => {
                let before = total.quantity();
                let merged = total.merge(change.clone());
                assert!(merged.is_ok(), "a total takes what it was asked about");
                (before, total.quantity())
            }
            None => {
                *total = Some((period, change.clone()));
                (Quantity::ZERO, change.quantity())
            }
        }
    }

    /// Recovery: a total as the ledger has it.
    pub(super) fn set_total(&mut self, period: Span, total: Aggregate) {
        *self.make_current(period) = Some((period, total));
    }

    /// The place of the current total, which is that of `period` or empty.
    fn make_current(&mut self, period: Span) -> &mut Option<(Span, Aggregate)> {
        let Self { current, others, .. } = self;
        if let Some(total) = current.take_if(|(known, _)| *known != period) {
            others.get_or_insert_default().push(total);
        }
        if current.is_none()
            && let Some(others) = others
            && let Some(known) = others.iter().position(|(known, _)| *known == period)
        {
            *current = Some(others.swap_remove(known));
        }
        current
    }

    fn all_totals(&self) -> impl Iterator<Item = &(Span, Aggregate)> {
        self.current.iter().chain(self.others.iter().flat_map(|others| others.iter()))
    }
}
