//! When the next billing period of each limited tenant begins or ends, so that the passing
//! of time costs nothing until it matters. At a bound, alarms of the period that is over
//! are resolved, and levels move on to the period that has begun.

use std::collections::BTreeSet;

use weir_core::{Position, Quantity, TenantId, Timestamp};

use crate::catalogue::Catalogue;
use crate::quota::QuotaLevel;

use super::Shard;
use super::alarm::{Scene, crossings};
use super::tenant::Tenants;
use super::work::{At, Work};

/// Limited tenants by the instant at which a period of theirs begins or ends next.
#[derive(Debug, Default)]
pub(super) struct Agenda(BTreeSet<(Timestamp, TenantId)>);

impl Agenda {
    /// Takes out the first tenant that is due at `now`, by time and then by name.
    fn pop_due(&mut self, now: Timestamp) -> Option<TenantId> {
        let due = self.0.first().is_some_and(|(at, _)| *at <= now);
        if due { self.0.pop_first().map(|(_, tenant)| tenant) } else { None }
    }
}

impl Shard {
    /// Takes notice of the catalogue: where it has changed, bounds of periods may have, too,
    /// and its numbers of meters.
    pub(super) fn meet(&mut self, catalogue: &Catalogue, work: &mut Work<'_>) {
        let known = self.catalogue_version.replace(catalogue.version);
        if known == Some(catalogue.version) {
            return;
        }
        self.meters_by_slot = catalogue.meter_keys().map(|key| self.tenants.meters.enter(key)).collect();
        for tenant in self.tenants.limited() {
            let before = self.tenants.state(tenant).seldom.level_period;
            self.schedule(tenant, catalogue);
            let state = self.tenants.state_mut(tenant);
            if known.is_some() && before != state.seldom.level_period {
                for meter in state.meters.iter_mut().filter(|meter| meter.held.is_some()) {
                    work.touch(tenant, meter);
                }
            }
        }
    }

    /// Puts a tenant where it belongs on the agenda: nowhere without limits.
    pub(super) fn schedule(&mut self, tenant: u32, catalogue: &Catalogue) {
        let now = self.broker_time_max;
        let name = self.tenants.names.name(tenant).clone();
        let facts = catalogue.tenant(name.as_str());
        let state = self.tenants.state_mut(tenant);
        let planned = (state.next_end(now), state.is_limited());
        let seldom = &mut state.seldom;
        if let Some(at) = seldom.agenda_at.take() {
            self.agenda.0.remove(&(at, name.clone()));
        }
        seldom.level_period = None;
        if let (next_end, true) = planned {
            let bound = facts.and_then(|facts| facts.next_bound(now));
            seldom.agenda_at = bound.into_iter().chain(next_end).min();
            seldom.level_period = facts.and_then(|facts| facts.last_begun(now));
        }
        if let Some(at) = seldom.agenda_at {
            self.agenda.0.insert((at, name));
        }
    }

    /// The running maximum of broker time has moved on from `before`: resolves the alarms of
    /// periods that have ended since, and marks the levels of those that have begun.
    pub(super) fn pass_bounds(
        &mut self,
        at: &At,
        before: Timestamp,
        catalogue: &Catalogue,
        work: &mut Work<'_>,
    ) {
        let now = self.broker_time_max;
        while let Some(name) = self.agenda.pop_due(now) {
            let Some(tenant) = self.tenants.number(name.as_str()) else { continue };
            let Tenants { meters: keys, .. } = &self.tenants;
            let mut ended = Vec::new();
            for meter in &self.tenants.state(tenant).meters {
                let Some(held) = &meter.held else { continue };
                let key = keys.name(meter.number);
                for (period, used) in meter.totals() {
                    if before < period.end && period.end <= now {
                        let scene = Scene { key: &self.key, at, tenant: &name, meter: key, period, used };
                        let ceased = crossings(Some((held, used)), None);
                        ended.extend(ceased.map(|crossing| (key, scene.alert(&crossing))));
                    }
                }
            }
            // By meter; the order within one is that of its periods and thresholds already.
            ended.sort_by_key(|(key, _)| *key);
            work.outcome.alerts.extend(ended.into_iter().map(|(_, alert)| alert));
            let limited = self.tenants.state_mut(tenant).meters.iter_mut();
            limited.filter(|meter| meter.held.is_some()).for_each(|meter| work.touch(tenant, meter));
            self.schedule(tenant, catalogue);
        }
    }

    /// Where a tenant stands on a meter in the last period that has begun; `None` when none
    /// has, or the tenant is not in the catalogue. When that period is over and no next one
    /// is stored, usage is none, as an answer would have it.
    pub(super) fn level(
        &self,
        (tenant, meter): (u32, u32),
        catalogue: &Catalogue,
        position: Position,
        as_of: Timestamp,
    ) -> Option<QuotaLevel> {
        let name = self.tenants.names.name(tenant);
        let period = catalogue.tenant(name.as_str())?.last_begun(self.broker_time_max)?;
        let state = self.tenants.state(tenant).meter(meter)?;
        let limit = state.held.as_ref().map(|held| held.limit.clone());
        let over = period.end <= self.broker_time_max;
        let used = if over { Quantity::ZERO } else { state.used(period) };
        let (tenant, meter) = (name.clone(), self.tenants.meters.name(meter).clone());
        Some(QuotaLevel { tenant, limit, meter, period, used, position, as_of })
    }
}
