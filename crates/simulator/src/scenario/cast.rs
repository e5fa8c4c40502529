//! Meters, tenants and bounds of a simulation, in the simulator's own words. What the engine
//! is given is made of them here; the oracle reads the words.

use weir_billing::{LegalEntityKey, PlanKey, Subscription};
use weir_core::journal::partition_of;
use weir_core::time::{DAY_MS, HOUR_MS};
use weir_core::{HashKey, HourAlignment, Span, TenantId, Timestamp};
use weir_metering::catalogue::TenantFacts;
use weir_metering::meter::{Aggregation, Meter, MeterKey, Precision};
use weir_pipeline::CountingSettings;

use crate::chance::Chance;

/// 2026-03-02T00:00:00Z: when simulations begin.
pub(crate) const BEGIN_MS: i64 = 1_772_409_600_000;
/// How far back events are taken: short, so that a short journal outlives it.
pub(crate) const WINDOW_MS: i64 = 3 * DAY_MS;
/// How far ahead events are taken.
pub(crate) const FUTURE_MS: i64 = HOUR_MS;
/// How long a billing period is.
const PERIOD_MS: i64 = 30 * HOUR_MS;

/// Who bills.
pub(crate) const LEGAL_ENTITIES: [&str; 2] = ["dam", "mill"];
/// The first period that is billed: those before ended long ago.
const FIRST_BILLED: usize = 2;

/// How a meter counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tally {
    Count,
    Sum,
    Max,
    Min,
    Latest,
    Unique,
}

/// A meter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MeterFacts {
    pub(crate) key: &'static str,
    pub(crate) event_type: &'static str,
    pub(crate) tally: Tally,
    pub(crate) property: &'static str,
    /// The member of `data` that usage is kept apart by; empty for none.
    pub(crate) dimension: &'static str,
    pub(crate) negative: bool,
}

const fn meter(
    key: &'static str,
    event_type: &'static str,
    tally: Tally,
    property: &'static str,
    dimension: &'static str,
    negative: bool,
) -> MeterFacts {
    MeterFacts { key, event_type, tally, property, dimension, negative }
}

/// By rising key.
pub(crate) const METERS: &[MeterFacts] = &[
    meter("bytes", "request", Tally::Sum, "bytes", "region", false),
    meter("calls", "request", Tally::Count, "", "", false),
    meter("credits", "credit", Tally::Sum, "amount", "", true),
    meter("floor", "gauge", Tally::Min, "level", "", true),
    meter("level", "gauge", Tally::Latest, "level", "region", true),
    meter("peak", "request", Tally::Max, "bytes", "", false),
    meter("users", "request", Tally::Unique, "user", "region", false),
];

/// A tenant.
#[derive(Clone, Debug)]
pub(crate) struct TenantCast {
    pub(crate) name: String,
    /// Minutes past the UTC hour at which its hours begin.
    pub(crate) minutes: u8,
    pub(crate) periods: Vec<Span>,
    /// Which plan it has.
    pub(crate) plan: &'static str,
    /// Who bills it.
    pub(crate) legal_entity: &'static str,
}

/// What is counted.
#[derive(Clone, Debug)]
pub(crate) struct Cast {
    pub(crate) partitions: i32,
    pub(crate) processes: usize,
    pub(crate) tenants: Vec<TenantCast>,
    pub(crate) series_max: u32,
    pub(crate) batch_records_max: usize,
    /// Ids of a bucket before it is sealed.
    pub(crate) id_bucket_max: usize,
    pub(crate) key: HashKey,
    /// Whether periods are billed.
    pub(crate) billed: bool,
    /// Where webhooks go.
    pub(crate) endpoints: Vec<EndpointFacts>,
}

/// An endpoint of webhooks.
#[derive(Clone, Debug)]
pub(crate) struct EndpointFacts {
    /// The one tenant that it hears of; `None` for all.
    tenant: Option<String>,
    /// The types of events that it wants; empty for all.
    event_types: Vec<&'static str>,
}

impl EndpointFacts {
    /// Whether it is told of an event.
    pub(crate) fn wants(&self, tenant: &str, event_type: &str) -> bool {
        self.tenant.as_ref().is_none_or(|only| only == tenant)
            && (self.event_types.is_empty() || self.event_types.contains(&event_type))
    }
}

impl Cast {
    /// The cast of a seed.
    pub(crate) fn of(chance: &mut Chance) -> Self {
        let partitions = i32::try_from(chance.between(1, 3)).unwrap_or(1);
        let processes = 1 + chance.index(3).min(1);
        let count = 2 + chance.index(3);
        let tenants = (0..count).map(|number| tenant(number, chance)).collect();
        let batch_records_max = *chance.pick(&[1, 3, 7, 20, 1_000]);
        let series_max = u32::try_from(chance.between(1, 4)).unwrap_or(1);
        let key = HashKey::new((u128::from(chance.bits()) << 64 | u128::from(chance.bits())).to_be_bytes());
        let id_bucket_max = *chance.pick(&[2, 5, 20, 1_000_000]);
        let billed = chance.per_mille(400);
        let endpoints = Vec::new();
        Self {
            partitions,
            processes,
            tenants,
            series_max,
            batch_records_max,
            id_bucket_max,
            key,
            billed,
            endpoints,
        }
    }

    /// The same, and somebody may listen. From a chance of its own, so that the other casts stay as
    /// they are.
    pub(crate) fn with_endpoints(mut self, chance: &mut Chance) -> Self {
        let count = if chance.per_mille(400) { chance.between(1, 2) } else { 0 };
        for _ in 0..count {
            let tenant = chance.per_mille(400).then(|| chance.pick(&self.tenants).name.clone());
            let some: &[&str] = &["quota.threshold.reached", "invoice.finalized"];
            let event_types = if chance.per_mille(300) { some.to_vec() } else { Vec::new() };
            self.endpoints.push(EndpointFacts { tenant, event_types });
        }
        self
    }

    /// How counting is tuned.
    pub(crate) fn settings(&self) -> CountingSettings {
        CountingSettings {
            batch_records_max: self.batch_records_max,
            window_ms: WINDOW_MS,
            future_ms: FUTURE_MS,
            series_max: self.series_max,
            id_bucket_max: self.id_bucket_max,
            ..CountingSettings::default()
        }
    }

    /// The partition of a tenant as long as the topic is not widened, and after that where producers put
    /// its records that do not know of it.
    pub(crate) fn first_home(&self, tenant: &str) -> i32 {
        partition_of(tenant.as_bytes(), self.partitions)
    }
}

fn tenant(number: usize, chance: &mut Chance) -> TenantCast {
    let begin = BEGIN_MS - 5 * DAY_MS + chance.between(0, 29) * HOUR_MS;
    let minutes = *chance.pick(&[0_u8, 0, 30]);
    let at = |index: i64| Timestamp::clamped(begin + index * PERIOD_MS + i64::from(minutes) * 60_000);
    let periods = (0..40).map(|index| Span { start: at(index), end: at(index + 1) }).collect();
    let (plan, legal_entity) = (*chance.pick(&["basic", "pro", "pro"]), *chance.pick(&LEGAL_ENTITIES));
    TenantCast { name: format!("tenant-{number}"), minutes, periods, plan, legal_entity }
}

impl TenantCast {
    /// The tenant as the catalogue knows it.
    pub(crate) fn facts(&self) -> TenantFacts {
        let alignment = HourAlignment::from_minutes(self.minutes).unwrap_or_default();
        TenantFacts { alignment, periods: self.periods.clone() }
    }

    /// What it is billed for.
    pub(crate) fn subscription(&self) -> Option<Subscription> {
        Some(Subscription {
            id: format!("sub-{}", self.name),
            tenant: self.id()?,
            plan: PlanKey::new(self.plan).ok()?,
            legal_entity: LegalEntityKey::new(self.legal_entity).ok()?,
            zone: "UTC".to_owned(),
            anchor: "2026-03-01".to_owned(),
            starts_at: self.billed_from(),
        })
    }

    /// When billing begins.
    pub(crate) fn billed_from(&self) -> Timestamp {
        self.periods[FIRST_BILLED].start
    }

    /// Its name as a value.
    pub(crate) fn id(&self) -> Option<TenantId> {
        TenantId::new(&self.name).ok()
    }
}

impl MeterFacts {
    /// The meter as the catalogue knows it.
    pub(crate) fn definition(&self) -> Option<Meter> {
        let aggregation = match self.tally {
            Tally::Count => Aggregation::Count,
            Tally::Sum => Aggregation::Sum,
            Tally::Max => Aggregation::Max,
            Tally::Min => Aggregation::Min,
            Tally::Latest => Aggregation::Latest,
            Tally::Unique => Aggregation::Unique,
        };
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Some(Meter {
            key: MeterKey::new(self.key).ok()?,
            version: 1,
            description: String::new(),
            unit: "unit".to_owned(),
            event_type: self.event_type.to_owned(),
            aggregation,
            value_property: some(self.property),
            dimensions: some(self.dimension).into_iter().collect(),
            filters: Vec::new(),
            precision: Precision::Exact,
            allow_negative: self.negative,
            begins_at: None,
        })
    }
}
