//! What a batch is judged by: meters and tenants as they stood at one version of
//! the catalogue. Immutable once built; shared between shards. The event's time picks
//! the version of a meter (invariant 16). It validates nothing: definitions were
//! validated before they were published.

use std::collections::HashMap;

use weir_core::{Homes, HourAlignment, Span, TenantId, Timestamp};

use crate::event::EventRef;
use crate::measure::{InvalidValue, Measurement, measure};
use crate::meter::{Aggregation, Meter, MeterKey};
use crate::record::Batch;

/// What counting needs to know of a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantFacts {
    /// Where its hours begin.
    pub alignment: HourAlignment,
    /// Its billing periods, by rising start, without gaps; stored, not computed here.
    pub periods: Vec<Span>,
}

impl TenantFacts {
    /// The billing period that holds `at`.
    pub fn period_of(&self, at: Timestamp) -> Option<Span> {
        self.last_begun(at).filter(|period| period.contains(at))
    }

    /// The last billing period that has begun at `at`, be it over or not.
    pub fn last_begun(&self, at: Timestamp) -> Option<Span> {
        let begun = self.periods.partition_point(|period| period.start <= at);
        begun.checked_sub(1).map(|last| self.periods[last])
    }

    /// Whether other facts say the same of everything up to `horizon`.
    fn hold(&self, now: &Self, horizon: Timestamp) -> bool {
        let reaches = || self.periods.last().is_some_and(|last| last.end > horizon);
        self.alignment == now.alignment
            && (self.periods == now.periods || now.periods.starts_with(&self.periods) && reaches())
    }

    /// The first instant after `at` at which a period begins or ends.
    pub fn next_bound(&self, at: Timestamp) -> Option<Timestamp> {
        let begun = self.periods.partition_point(|period| period.start <= at);
        let end = begun.checked_sub(1).map(|last| self.periods[last].end).filter(|end| *end > at);
        let start = self.periods.get(begun).map(|next| next.start);
        end.into_iter().chain(start).min()
    }
}

/// Meters and tenants at one version.
#[derive(Clone, Debug)]
pub struct Catalogue {
    /// Rises with every change of meters or tenants.
    pub version: i64,
    /// All tenants whose events are counted (suspended ones too).
    pub tenants: HashMap<TenantId, TenantFacts>,
    /// Which partition each tenant belongs to.
    pub homes: Homes,
    /// By rising key.
    meters: Vec<MeterVersions>,
    /// For an event type, the meters of which any version counts it, by rising key.
    by_event_type: foldhash::HashMap<String, Vec<usize>>,
}

/// All versions of one meter, the highest first.
#[derive(Clone, Debug, PartialEq, Eq)]
struct MeterVersions(Vec<Meter>);

impl MeterVersions {
    fn at(&self, time: Timestamp) -> Option<&Meter> {
        self.0.iter().find(|meter| meter.begins_at.is_none_or(|begins| begins <= time))
    }
}

impl Catalogue {
    /// A catalogue of all versions of all meters, and all tenants.
    ///
    /// A meter's aggregation never changes between versions; where it did, the lowest
    /// version's holds, so that usage of one meter can always be merged.
    pub fn new(
        version: i64,
        mut meters: Vec<Meter>,
        tenants: HashMap<TenantId, TenantFacts>,
        homes: Homes,
    ) -> Self {
        meters.sort_by(|a, b| a.key.cmp(&b.key).then(b.version.cmp(&a.version)));
        let (by_key, by_event_type) = (Vec::new(), foldhash::HashMap::default());
        let mut catalogue = Self { version, tenants, homes, meters: by_key, by_event_type };
        for mut meter in meters {
            meter.dimensions.sort();
            meter.dimensions.dedup();
            match catalogue.meters.last_mut().filter(|last| last.0[0].key == meter.key) {
                Some(last) => last.0.push(meter),
                None => catalogue.meters.push(MeterVersions(vec![meter])),
            }
        }
        for (slot, meter) in catalogue.meters.iter_mut().enumerate() {
            let aggregation = meter.0.last().map_or(Aggregation::Count, |first| first.aggregation);
            for version in &mut meter.0 {
                version.aggregation = aggregation;
                let slots = catalogue.by_event_type.entry(version.event_type.clone()).or_default();
                if slots.last() != Some(&slot) {
                    slots.push(slot);
                }
            }
        }
        catalogue
    }

    /// The same catalogue with one more tenant, or with other facts of one that it has.
    #[must_use]
    pub fn with_tenant(mut self, tenant: TenantId, facts: TenantFacts) -> Self {
        self.tenants.insert(tenant, facts);
        self
    }

    /// What is known of a tenant.
    pub fn tenant(&self, tenant: &str) -> Option<&TenantFacts> {
        self.tenants.get(tenant)
    }

    /// Whether a newer catalogue judges a batch as this one did, so that its outcome may be
    /// committed under the newer version: the meters are the same, every tenant that is known
    /// here has the same facts and home, and none of the batch's unknown tenants is known by now, or
    /// belongs elsewhere. Billing periods that were added behind the known ones make no difference
    /// where those reach beyond `horizon`, up to which events were taken.
    pub fn judges_alike(&self, newer: &Self, batch: &Batch, horizon: Timestamp) -> bool {
        let as_unknown = |tenant: &str| {
            newer.tenant(tenant).is_none() && self.homes.agree(&newer.homes, std::iter::once(tenant))
        };
        let still_unknown = || {
            let mut tenants = batch.records().filter_map(|record| record.body.tenant());
            tenants.all(|tenant| self.tenant(tenant).is_some() || as_unknown(tenant))
        };
        let same_facts = || {
            self.tenants
                .iter()
                .all(|(tenant, facts)| newer.tenants.get(tenant).is_some_and(|now| facts.hold(now, horizon)))
        };
        let same_homes = || self.homes.agree(&newer.homes, self.tenants.keys().map(TenantId::as_str));
        self.meters == newer.meters && still_unknown() && same_facts() && same_homes()
    }

    /// All versions of all meters, by rising key, the highest version first.
    pub fn meters(&self) -> impl Iterator<Item = &Meter> {
        self.meters.iter().flat_map(|meter| &meter.0)
    }

    /// The meters by number, rising key: the numbers that measurements carry.
    pub(crate) fn meter_keys(&self) -> impl Iterator<Item = &MeterKey> {
        self.meters.iter().map(|meter| &meter.0[0].key)
    }

    /// The version of a meter that applies to an event of that time: the highest that has begun.
    pub fn meter_at(&self, key: &MeterKey, time: Timestamp) -> Option<&Meter> {
        let at = self.meters.binary_search_by(|meter| meter.0[0].key.cmp(key)).ok()?;
        self.meters[at].at(time)
    }

    /// What the meters make of an event that happened at `time`, by rising meter key.
    /// Empty when no meter takes it, which is no error.
    ///
    /// # Errors
    /// The first value that a meter cannot take, in words that say how to send it right.
    pub fn measure<'a>(
        &'a self,
        event: EventRef<'a>,
        time: Timestamp,
    ) -> Result<Vec<Measurement<'a>>, InvalidValue> {
        let mut measurements = Vec::new();
        self.measure_into(event, time, &mut measurements)?;
        Ok(measurements)
    }

    /// [`Catalogue::measure`] into a list that is used again and again.
    pub(crate) fn measure_into<'a>(
        &'a self,
        event: EventRef<'a>,
        time: Timestamp,
        measurements: &mut Vec<Measurement<'a>>,
    ) -> Result<(), InvalidValue> {
        measurements.clear();
        let Some(slots) = self.by_event_type.get(event.event_type()) else { return Ok(()) };
        for slot in slots {
            if let Some(meter) = self.meters[*slot].at(time)
                && let Some(measurement) = measure(*slot, meter, event)?
            {
                measurements.push(measurement);
            }
        }
        Ok(())
    }
}
