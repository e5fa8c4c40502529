//! When the next billing period of each limited tenant begins or ends, so that the passing
//! of time costs nothing until it matters. At a bound, alarms of the period that is over
//! are resolved, and levels move on to the period that has begun.

use std::collections::BTreeSet;

use weir_core::{Position, Quantity, TenantId, Timestamp};

use crate::catalogue::Catalogue;
use crate::meter::MeterKey;
use crate::quota::QuotaLevel;

use super::Shard;
use super::alarm::{Scene, crossings};
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
    /// Takes notice of the catalogue: where it has changed, bounds of periods may have, too.
    pub(super) fn meet(&mut self, catalogue: &Catalogue, work: &mut Work<'_>) {
        let known = self.catalogue_version.replace(catalogue.version);
        if known == Some(catalogue.version) {
            return;
        }
        let limited: Vec<TenantId> = self.tenants.limited().cloned().collect();
        for tenant in limited {
            let before = self.tenants.entry(&tenant).level_period;
            self.schedule(&tenant, catalogue);
            let state = self.tenants.entry(&tenant);
            if known.is_some() && before != state.level_period {
                for (key, meter) in state.meters.iter_mut().filter(|(_, meter)| meter.held.is_some()) {
                    work.touch(&mut meter.touched, &tenant, key);
                }
            }
        }
    }

    /// Puts a tenant where it belongs on the agenda: nowhere without limits.
    pub(super) fn schedule(&mut self, tenant: &TenantId, catalogue: &Catalogue) {
        let now = self.broker_time_max;
        let facts = catalogue.tenant(tenant.as_str());
        let state = self.tenants.entry(tenant);
        if let Some(at) = state.agenda_at.take() {
            self.agenda.0.remove(&(at, tenant.clone()));
        }
        state.level_period = None;
        if state.is_limited() {
            let bound = facts.and_then(|facts| facts.next_bound(now));
            state.agenda_at = bound.into_iter().chain(state.next_end(now)).min();
            state.level_period = facts.and_then(|facts| facts.last_begun(now));
        }
        if let Some(at) = state.agenda_at {
            self.agenda.0.insert((at, tenant.clone()));
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
        while let Some(tenant) = self.agenda.pop_due(now) {
            let state = self.tenants.entry(&tenant);
            for (key, meter) in &mut state.meters {
                let Some(held) = &meter.held else { continue };
                for (period, used) in meter.totals() {
                    if before < period.end && period.end <= now {
                        let scene = Scene { key: &self.key, at, tenant: &tenant, meter: key, period, used };
                        let ceased = crossings(Some((held, used)), None);
                        work.outcome.alerts.extend(ceased.map(|crossing| scene.alert(&crossing)));
                    }
                }
                work.touch(&mut meter.touched, &tenant, key);
            }
            self.schedule(&tenant, catalogue);
        }
    }

    /// Where a tenant stands on a meter in the last period that has begun; `None` when none
    /// has, or the tenant is not in the catalogue. When that period is over and no next one
    /// is stored, usage is none, as an answer would have it.
    pub(super) fn level(
        &self,
        tenant: &TenantId,
        meter: &MeterKey,
        catalogue: &Catalogue,
        position: Position,
        as_of: Timestamp,
    ) -> Option<QuotaLevel> {
        let period = catalogue.tenant(tenant.as_str())?.last_begun(self.broker_time_max)?;
        let state = self.tenants.get(tenant).and_then(|state| state.meter(meter))?;
        let limit = state.held.as_ref().map(|held| held.limit.clone());
        let over = period.end <= self.broker_time_max;
        let used = if over { Quantity::ZERO } else { state.used(period) };
        let (tenant, meter) = (tenant.clone(), meter.clone());
        Some(QuotaLevel { tenant, limit, meter, period, used, position, as_of })
    }
}
