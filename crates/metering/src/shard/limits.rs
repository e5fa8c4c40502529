//! Limits come into force at their record, so that their order against events is the
//! journal's (invariant 16). Thresholds are looked at there and then.

use std::collections::{BTreeMap, BTreeSet};

use crate::catalogue::Catalogue;
use crate::meter::MeterKey;
use crate::outcome::RejectReason;
use crate::quota::LimitSet;

use super::Shard;
use super::alarm::{HeldLimit, Scene, crossings};
use super::judge::NotCounted;
use super::work::{At, Work};

impl Shard {
    /// Takes a tenant's limits. A revision that is not higher than the known one changes
    /// nothing. Limits that stand in a foreign partition are sent on, as events are.
    pub(super) fn apply_limits(
        &mut self,
        at: &At,
        (set, hops): (&LimitSet, u8),
        catalogue: &Catalogue,
        work: &mut Work<'_>,
    ) -> NotCounted {
        if let Err(elsewhere) = self.check_home(set.tenant.as_str(), hops, catalogue) {
            return elsewhere;
        }
        if let Err(error) = set.validate() {
            return NotCounted::rejected(RejectReason::InvalidEvent, format!("limits: {error}"));
        }
        let tenant = self.tenants.enter(&set.tenant);
        let revision = &mut self.tenants.state_mut(tenant).seldom.revision;
        if revision.is_none_or(|known| set.revision > known) {
            *revision = Some(set.revision);
            self.replace_limits(at, tenant, set, work);
            self.schedule(tenant, catalogue);
            work.outcome.limits.push(set.clone());
        }
        NotCounted::control()
    }

    fn replace_limits(&mut self, at: &At, tenant: u32, set: &LimitSet, work: &mut Work<'_>) {
        let mut incoming: BTreeMap<MeterKey, Box<HeldLimit>> = set
            .limits
            .iter()
            .map(|limit| (limit.meter.clone(), Box::new(HeldLimit::new(limit.clone()))))
            .collect();
        let held = self.tenants.state(tenant).meters.iter().filter(|meter| meter.held.is_some());
        let held = held.map(|meter| self.tenants.meters.name(meter.number));
        let keys: BTreeSet<MeterKey> = held.chain(incoming.keys()).cloned().collect();
        for key in keys {
            let meter = self.tenants.meter_mut(tenant, &key);
            let after = incoming.remove(&key);
            if meter.held == after {
                continue;
            }
            let running = meter.totals().into_iter().filter(|(period, _)| period.end > self.broker_time_max);
            for (period, used) in running {
                let crossed = crossings(
                    meter.held.as_deref().map(|held| (held, used)),
                    after.as_deref().map(|held| (held, used)),
                );
                let scene = Scene { key: &self.key, at, tenant: &set.tenant, meter: &key, period, used };
                work.outcome.alerts.extend(crossed.map(|crossing| scene.alert(&crossing)));
            }
            meter.held = after;
            work.touch(tenant, meter);
        }
    }
}
