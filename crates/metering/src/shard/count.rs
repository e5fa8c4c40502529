//! What follows from an accepted event: its id is remembered, deltas and totals grow,
//! thresholds are looked at. Everything that could refuse it was asked before.

use weir_core::Timestamp;
use weir_core::digest::Digest;
use weir_core::time::HOUR_MS;

use crate::aggregate::Aggregate;
use crate::catalogue::Catalogue;
use crate::event::UsageEvent;
use crate::measure::Measurement;
use crate::outcome::{Alert, AlertKind, Verdict};

use super::Shard;
use super::alarm::{Scene, crossings};
use super::judge::{Candidate, NotCounted};
use super::work::{At, Work};

impl Shard {
    /// Judges an event and counts it; its event time when it was accepted.
    pub(super) fn apply_event<'a>(
        &mut self,
        at: &At,
        event: &'a UsageEvent,
        hops: u8,
        catalogue: &'a Catalogue,
        work: &mut Work<'a>,
    ) -> Result<Timestamp, NotCounted> {
        let candidate = match self.judge(at, event, hops, catalogue, work) {
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
        let measurements = std::mem::take(&mut work.measurements);
        let mut parts = std::mem::take(&mut work.parts);
        let number = candidate.number.unwrap_or_else(|| self.tenants.enter(candidate.tenant));
        for (measurement, part) in measurements.iter().zip(parts.drain(..)) {
            self.count(at, number, &candidate, measurement, part, work);
        }
        (work.measurements, work.parts) = (measurements, parts);
        Ok(candidate.time)
    }

    fn count<'a>(
        &mut self,
        at: &At,
        number: usize,
        candidate: &Candidate<'_>,
        measurement: &Measurement<'a>,
        part: Aggregate,
        work: &mut Work<'a>,
    ) {
        let (tenant, key) = (candidate.tenant, &measurement.meter.key);
        let meter = self.tenants.at_mut(number).meter_mut(key);
        measurement.write_dimensions(&mut work.text);
        let bound = self.config.series_max;
        let place = meter.series.place(&mut self.series, tenant, key, &work.text, bound);
        if place.bound_passed {
            let mut digest = Digest::new(&self.key, "series bound alert");
            digest.field(tenant.as_str().as_bytes()).field(key.as_str().as_bytes()).int(i64::from(bound));
            let kind = AlertKind::SeriesBound { meter: key.clone(), series_max: bound };
            let (position, broker_time) = (at.position, at.broker_time);
            let alert =
                Alert { id: digest.finish(), tenant: tenant.clone(), position, at: broker_time, kind };
            work.outcome.alerts.push(alert);
        }
        self.series.add(place.series, candidate.facts.alignment.hour_of(candidate.time), part.clone());
        let Some(period) = candidate.period else { return };
        let (before, after) = meter.add_to_total(period, part);
        let Some(held) = &meter.held else { return };
        work.touch(&mut meter.touched, tenant, key);
        if period.end > self.broker_time_max && held.separates(before, after) {
            let scene = Scene { key: &self.key, at, tenant, meter: key, period, used: after };
            let crossed = crossings(Some((held, before)), Some((held, after)));
            work.outcome.alerts.extend(crossed.map(|crossing| scene.alert(&crossing)));
        }
    }

    /// At most one alert a tenant and hour of arrival, whatever the number of conflicts.
    fn report_conflict(&mut self, at: &At, event: &UsageEvent, catalogue: &Catalogue, work: &mut Work<'_>) {
        let Some((tenant, _)) = catalogue.tenants.get_key_value(event.tenant.as_str()) else { return };
        let hour = self.broker_time_max.millis() / HOUR_MS;
        if self.tenants.entry(tenant).conflict_hour.replace(hour) == Some(hour) {
            return;
        }
        let mut digest = Digest::new(&self.key, "conflict alert");
        let id = digest.field(tenant.as_str().as_bytes()).int(hour).finish();
        let kind = AlertKind::Conflict { source: event.source.clone(), event_id: event.id.clone() };
        let (position, broker_time) = (at.position, at.broker_time);
        work.outcome.alerts.push(Alert { id, tenant: tenant.clone(), position, at: broker_time, kind });
    }
}
