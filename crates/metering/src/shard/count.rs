//! What follows from an accepted event: its id is remembered, deltas and totals grow,
//! thresholds are looked at. Everything that could refuse it was asked before.

use weir_core::Timestamp;
use weir_core::digest::Digest;
use weir_core::time::HOUR_MS;

use crate::aggregate::Part;
use crate::catalogue::Catalogue;
use crate::event::EventRef;
use crate::measure::Measurement;
use crate::outcome::{Alert, AlertKind, Verdict};

use super::Shard;
use super::ahead::Prepared;
use super::alarm::{Scene, crossings};
use super::judge::{Candidate, NotCounted, Whose};
use super::series::Owner;
use super::work::{At, Work};

impl Shard {
    /// Judges an event and counts it; its event time when it was accepted.
    pub(super) fn apply_event<'a>(
        &mut self,
        at: &At,
        event: EventRef<'a>,
        hops: u8,
        prepared: Prepared,
        catalogue: &'a Catalogue,
        work: &mut Work<'a>,
    ) -> Result<Timestamp, NotCounted> {
        let candidate = match self.judge(at, event, hops, prepared, catalogue, work) {
            Ok(candidate) => candidate,
            Err(not_counted) => {
                if not_counted.verdict == Verdict::Conflict {
                    self.report_conflict(at, event, catalogue, work);
                }
                return Err(not_counted);
            }
        };
        self.identities.remember(&candidate.hashes, self.broker_time_max);
        work.outcome.content_sum.add(candidate.hashes.content);
        let tenant = match candidate.tenant {
            Whose::Known(number) => number,
            Whose::New(name) => self.tenants.enter(name),
        };
        self.tenants.state_mut(tenant).keep_facts(catalogue.version, candidate.facts);
        let measurements = std::mem::take(&mut work.measurements);
        let parts = std::mem::take(&mut work.parts);
        for (measurement, part) in measurements.iter().zip(&parts) {
            self.count(at, tenant, &candidate, measurement, part, work);
        }
        (work.measurements, work.parts) = (measurements, parts);
        Ok(candidate.time)
    }

    fn count<'a>(
        &mut self,
        at: &At,
        tenant: u32,
        candidate: &Candidate<'_>,
        measurement: &Measurement<'a>,
        part: &Part,
        work: &mut Work<'a>,
    ) {
        let owner = Owner { tenant, meter: self.meters_by_slot[measurement.slot] };
        measurement.write_dimensions(&mut work.text);
        let bound = self.config.series_max;
        let meter = self.tenants.state_mut(tenant).meter_mut(owner.meter);
        let place = meter.series.place(&mut self.series, owner, &work.text, bound);
        self.series.add(place.series, candidate.facts.alignment.hour_of(candidate.time), part);
        if place.bound_passed {
            work.outcome.alerts.push(self.bound_alert(at, owner));
        }
        let meter = self.tenants.state_mut(tenant).meter_mut(owner.meter);
        let Some(period) = candidate.facts.period else { return };
        let (before, after) = meter.add_to_total(period, part);
        let Some(held) = &mut meter.held else { return };
        let crossed = period.end > self.broker_time_max && held.separates(before, after);
        work.touch(tenant, meter);
        if !crossed {
            return;
        }
        let held = self.tenants.state(tenant).meter(owner.meter).and_then(|meter| meter.held.as_deref());
        let (tenant, meter) = (self.tenants.names.name(tenant), &measurement.meter.key);
        let scene = Scene { key: &self.key, at, tenant, meter, period, used: after };
        let crossed = crossings(held.map(|held| (held, before)), held.map(|held| (held, after)));
        work.outcome.alerts.extend(crossed.map(|crossing| scene.alert(&crossing)));
    }

    pub(super) fn bound_alert(&self, at: &At, owner: Owner) -> Alert {
        let (tenant, meter) = (self.tenants.names.name(owner.tenant), self.tenants.meters.name(owner.meter));
        let series_max = self.config.series_max;
        let mut digest = Digest::new(&self.key, "series bound alert");
        digest.field(tenant.as_str().as_bytes()).field(meter.as_str().as_bytes()).int(i64::from(series_max));
        let kind = AlertKind::SeriesBound { meter: meter.clone(), series_max };
        let (position, broker_time) = (at.position, at.broker_time);
        Alert { id: digest.finish(), tenant: tenant.clone(), position, at: broker_time, kind }
    }

    /// At most one alert a tenant and hour of arrival, whatever the number of conflicts.
    fn report_conflict(&mut self, at: &At, event: EventRef<'_>, catalogue: &Catalogue, work: &mut Work<'_>) {
        let Some((tenant, _)) = catalogue.tenants.get_key_value(event.tenant()) else { return };
        let hour = self.broker_time_max.millis() / HOUR_MS;
        let number = self.tenants.enter(tenant);
        if self.tenants.state_mut(number).seldom.conflict_hour.replace(hour) == Some(hour) {
            return;
        }
        let mut digest = Digest::new(&self.key, "conflict alert");
        let id = digest.field(tenant.as_str().as_bytes()).int(hour).finish();
        let kind = AlertKind::Conflict { source: event.source().to_owned(), event_id: event.id().to_owned() };
        let (position, broker_time) = (at.position, at.broker_time);
        work.outcome.alerts.push(Alert { id, tenant: tenant.clone(), position, at: broker_time, kind });
    }
}
