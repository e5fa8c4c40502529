//! Adjustments are counted at their record, so that their order against events is the
//! journal's. What one changes is worked out by the adjustment itself; here it finds its
//! series, its period's total and the thresholds around it, as an event would.

use std::collections::BTreeMap;

use weir_core::{Hash128, Span};

use crate::adjustment::Adjustment;
use crate::aggregate::{Aggregate, UsageKey};
use crate::catalogue::Catalogue;
use crate::event::shown;
use crate::outcome::{Adjusted, RejectReason};

use super::Shard;
use super::alarm::{Scene, crossings};
use super::judge::NotCounted;
use super::series::Owner;
use super::tenant::Facts;
use super::work::{At, Work};

impl Shard {
    /// Takes an adjustment. One whose id was counted before changes nothing. From a foreign
    /// partition it is sent on, as events are.
    pub(super) fn apply_adjustment(
        &mut self,
        at: &At,
        (adjustment, seal, hops): (&Adjustment, Hash128, u8),
        catalogue: &Catalogue,
        work: &mut Work<'_>,
    ) -> NotCounted {
        let (period, usage) = match self.judge_adjustment(adjustment, (seal, hops), catalogue) {
            Ok(judged) => judged,
            Err(not_counted) => return not_counted,
        };
        self.adjusted.insert(Adjustment::identity(&self.key, &adjustment.tenant, &adjustment.id));
        let tenant = self.tenants.enter(&adjustment.tenant);
        let mut placed = BTreeMap::new();
        for (key, change) in usage {
            let number = self.tenants.meters.enter(&key.meter);
            let owner = Owner { tenant, meter: number };
            let bound = self.config.series_max;
            let meter = self.tenants.state_mut(tenant).meter_mut(number);
            let place = meter.series.place(&mut self.series, owner, &key.dimensions, bound);
            self.series.merge(place.series, key.hour, &change);
            if place.bound_passed {
                work.outcome.alerts.push(self.bound_alert(at, owner));
            }
            if let Some(period) = period {
                self.adjust_total(at, owner, period, &change, work);
            }
            let dimensions = self.series.dimensions_of(place.series).to_owned();
            placed.insert(UsageKey { dimensions, ..key }, change);
        }
        let (position, at) = (at.position, at.broker_time);
        let adjusted = Adjusted { adjustment: adjustment.clone(), position, at, usage: placed };
        work.outcome.adjustments.push(adjusted);
        NotCounted::control()
    }

    /// What an adjustment changes, and the period whose total is kept and changes as well;
    /// provided that Weir wrote it, that it belongs here and is new, and that its meters and
    /// totals can take it.
    fn judge_adjustment(
        &self,
        adjustment: &Adjustment,
        (seal, hops): (Hash128, u8),
        catalogue: &Catalogue,
    ) -> Result<(Option<Span>, BTreeMap<UsageKey, Aggregate>), NotCounted> {
        // An id that is not judged yet may be as long as a record, and must not cut the reason away.
        let id = shown(&adjustment.id);
        let refused = |reason, detail: &dyn std::fmt::Display| {
            NotCounted::rejected(reason, format!("adjustment {id}: {detail}"))
        };
        if adjustment.seal(&self.key) != seal {
            return Err(refused(
                RejectReason::InvalidEvent,
                &"it does not bear the seal of this installation",
            ));
        }
        let name = adjustment.tenant.as_str();
        self.check_home(name, hops, catalogue)?;
        let identity = Adjustment::identity(&self.key, &adjustment.tenant, &adjustment.id);
        if self.adjusted.contains(&identity) {
            return Err(NotCounted::control());
        }
        adjustment.validate().map_err(|error| refused(RejectReason::InvalidEvent, &error))?;
        let (now, time) = (self.broker_time_max, adjustment.at());
        if time > now.plus_millis(self.config.future_ms) {
            return Err(refused(RejectReason::InFuture, &format!("{time} is too far ahead at {now}")));
        }
        let facts = Facts::of(name, catalogue, time)
            .ok_or_else(|| refused(RejectReason::UnknownTenant, &format!("there is no tenant {name}")))?;
        let usage = adjustment
            .usage(catalogue, facts.alignment)
            .map_err(|error| refused(RejectReason::InvalidValue, &error))?;
        let period = facts.period.filter(|period| self.keeps_total(*period));
        let state = self.tenants.number(name).map(|number| self.tenants.state(number));
        for (key, change) in &usage {
            let meter = self.tenants.meters.find(&key.meter).and_then(|number| state?.meter(number));
            let total = period.and_then(|period| meter?.total(period));
            total.map_or(Ok(()), |total| total.check_merge(change)).map_err(|overflow| {
                refused(RejectReason::InvalidValue, &format!("meter {}: {overflow}", key.meter))
            })?;
        }
        Ok((period, usage))
    }

    /// Whether the total of a period is kept: those of longer ago are forgotten, here as in what
    /// a shard is built again from.
    fn keeps_total(&self, period: Span) -> bool {
        let kept_ms = self.config.window_ms.saturating_add(self.config.future_ms);
        period.end > self.broker_time_max.plus_millis(-kept_ms)
    }

    fn adjust_total(&mut self, at: &At, owner: Owner, period: Span, change: &Aggregate, work: &mut Work<'_>) {
        let meter = self.tenants.state_mut(owner.tenant).meter_mut(owner.meter);
        let (before, after) = meter.merge_into_total(period, change);
        if meter.held.is_none() {
            return;
        }
        work.touch(owner.tenant, meter);
        let Some(held) = meter.held.as_deref_mut() else { return };
        if period.end <= self.broker_time_max || !held.separates(before, after) {
            return;
        }
        let held =
            self.tenants.state(owner.tenant).meter(owner.meter).and_then(|meter| meter.held.as_deref());
        let (tenant, meter) = (self.tenants.names.name(owner.tenant), self.tenants.meters.name(owner.meter));
        let scene = Scene { key: &self.key, at, tenant, meter, period, used: after };
        let crossed = crossings(held.map(|held| (held, before)), held.map(|held| (held, after)));
        work.outcome.alerts.extend(crossed.map(|crossing| scene.alert(&crossing)));
    }
}
