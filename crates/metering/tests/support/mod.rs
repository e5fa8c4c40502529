//! What the tests of the shard share: a catalogue with meters of all aggregations, random
//! journals, and how outcomes of neighbouring batches are joined.
#![allow(dead_code, reason = "each test file uses a part of it")]

pub(crate) mod streams;

use std::collections::HashMap;

use weir_core::journal::partition_of;
use weir_core::time::{DAY_MS, HOUR_MS};
use weir_core::{HashKey, Homes, HourAlignment, Position, Quantity, Span, TenantId, Timestamp};
use weir_metering::adjustment::{Adjustment, Change, Entry, void_id};
use weir_metering::aggregate::join_deltas;
use weir_metering::catalogue::{Catalogue, TenantFacts};
use weir_metering::event::UsageEvent;
use weir_metering::meter::{Aggregation, Filter, FilterOperator, Meter, MeterKey, Precision};
use weir_metering::outcome::Outcome;
use weir_metering::quota::{Enforcement, Limit, QuotaLevel, WhenStale};
use weir_metering::record::{Batch, JournalRecord, RecordBody};
use weir_metering::shard::{Recovered, Shard, ShardConfig};

pub(crate) const PARTITIONS: i32 = 4;
pub(crate) const PARTITION: i32 = 1;
/// 2026-03-02T00:00:00Z.
pub(crate) const BASE_MS: i64 = 1_772_409_600_000;

pub(crate) fn key() -> HashKey {
    HashKey::new([42; 16])
}

pub(crate) fn at(ms: i64) -> Timestamp {
    Timestamp::clamped(BASE_MS + ms)
}

/// A short window, so that a short journal outlives it.
pub(crate) fn config() -> ShardConfig {
    ShardConfig {
        generation: 3,
        partition: PARTITION,
        window_ms: 3 * DAY_MS,
        future_ms: HOUR_MS,
        series_max: 3,
    }
}

pub(crate) fn shard() -> Shard {
    Shard::new(config(), key(), Recovered::default())
}

/// The `nth` name that does (or does not) live in the tests' partition.
pub(crate) fn tenant(native: bool, nth: usize) -> TenantId {
    let names = (0..).map(|n| format!("tenant-{n}"));
    let mut fitting = names.filter(|n| (partition_of(n.as_bytes(), PARTITIONS) == PARTITION) == native);
    TenantId::new(&fitting.nth(nth).unwrap()).unwrap()
}

pub(crate) fn meter_key(name: &str) -> MeterKey {
    MeterKey::new(name).unwrap()
}

pub(crate) fn meter(name: &str, aggregation: Aggregation) -> Meter {
    Meter {
        key: meter_key(name),
        version: 1,
        description: String::new(),
        unit: "unit".into(),
        event_type: "use".into(),
        aggregation,
        value_property: (aggregation != Aggregation::Count).then(|| "value".into()),
        dimensions: vec![],
        filters: vec![],
        precision: Precision::Exact,
        allow_negative: !matches!(aggregation, Aggregation::Count | Aggregation::Unique),
        begins_at: None,
    }
}

pub(crate) fn filter(property: &str, operator: FilterOperator, values: &[&str]) -> Filter {
    let values = values.iter().map(|v| (*v).to_owned()).collect();
    Filter { property: property.into(), operator, values }
}

/// All six aggregations, with dimensions, filters, roundings and a second version.
pub(crate) fn meters() -> Vec<Meter> {
    let dims = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
    vec![
        Meter { dimensions: dims(&["region"]), ..meter("calls", Aggregation::Count) },
        Meter { dimensions: dims(&["zone", "region"]), ..meter("bytes", Aggregation::Sum) },
        Meter {
            version: 2,
            filters: vec![filter("region", FilterOperator::NotIn, &["r1"])],
            begins_at: Some(at(2 * DAY_MS)),
            ..meter("bytes", Aggregation::Sum)
        },
        Meter { precision: Precision::Round, event_type: "gauge".into(), ..meter("peak", Aggregation::Max) },
        Meter { event_type: "gauge".into(), ..meter("floor", Aggregation::Min) },
        Meter {
            event_type: "gauge".into(),
            filters: vec![filter("region", FilterOperator::In, &["r1", "r2"])],
            ..meter("seats", Aggregation::Latest)
        },
        meter("users", Aggregation::Unique),
        // Events that only these take can be taken out again.
        Meter {
            event_type: "hit".into(),
            dimensions: dims(&["region"]),
            ..meter("hits", Aggregation::Count)
        },
        Meter { event_type: "hit".into(), ..meter("weight", Aggregation::Sum) },
    ]
}

/// Periods of `days` days from `from_day` on.
pub(crate) fn facts(minutes: u8, from_day: i64, days: i64, number: i64) -> TenantFacts {
    let start = |n: i64| at((from_day + n * days) * DAY_MS + i64::from(minutes) * 60_000);
    TenantFacts {
        alignment: HourAlignment::from_minutes(minutes).unwrap(),
        periods: (0..number).map(|n| Span { start: start(n), end: start(n + 1) }).collect(),
    }
}

/// Native tenants 0 to 3: plain, at half past the hour, with periods that begin late and end
/// early, without periods. A foreign one is known, too.
pub(crate) fn catalogue() -> Catalogue {
    let tenants = HashMap::from([
        (tenant(true, 0), facts(0, -4, 2, 30)),
        (tenant(true, 1), facts(30, -4, 1, 60)),
        (tenant(true, 2), facts(0, 1, 1, 4)),
        (tenant(true, 3), facts(0, 0, 1, 0)),
        (tenant(false, 0), facts(0, -4, 2, 30)),
    ]);
    Catalogue::new(1, meters(), tenants, Homes::new(PARTITIONS))
}

pub(crate) fn event(tenant: &TenantId, id: &str, time: Option<Timestamp>, value: &str) -> UsageEvent {
    UsageEvent {
        tenant: tenant.to_string(),
        source: "test".into(),
        id: id.into(),
        event_type: "use".into(),
        time,
        data: vec![("value".into(), value.into())],
    }
}

pub(crate) fn limit(meter: &str, units: i64, thresholds: &[u16]) -> Limit {
    Limit {
        meter: meter_key(meter),
        limit: Quantity::from_units(units),
        enforcement: Enforcement::Hard,
        thresholds_percent: thresholds.to_vec(),
        when_stale: WhenStale::Allow,
    }
}

pub(crate) fn batch(from: i64, to: i64, records: Vec<JournalRecord>) -> Batch {
    Batch::of(PARTITION, from, to, records)
}

/// The record of an adjustment as Weir writes it.
pub(crate) fn adjustment_record(adjustment: Adjustment) -> RecordBody {
    RecordBody::Adjustment { seal: adjustment.seal(&key()), adjustment, hops: 0 }
}

/// An adjustment of one meter.
pub(crate) fn entry(tenant: &TenantId, id: &str, entry: Entry) -> Adjustment {
    let (who, why) = ("tests".to_owned(), "a test".to_owned());
    Adjustment { id: id.to_owned(), tenant: tenant.clone(), who, why, change: Change::Entry(entry) }
}

/// The adjustment that takes out the event at an offset of the tests' partition, which the
/// broker had at `broker_time`.
pub(crate) fn void(offset: i64, broker_time: Timestamp, event: &UsageEvent) -> Option<Adjustment> {
    let position = Position { generation: config().generation, partition: PARTITION, offset };
    let event = UsageEvent { time: Some(event.time_or(broker_time)), ..event.clone() };
    Some(Adjustment {
        id: void_id(position),
        tenant: TenantId::new(&event.tenant).ok()?,
        who: "tests".to_owned(),
        why: "a test".to_owned(),
        change: Change::Void { position, event },
    })
}

/// Applies one record, which stands at the shard's next offset.
pub(crate) fn apply_one(
    shard: &mut Shard,
    catalogue: &Catalogue,
    broker_ms: i64,
    body: RecordBody,
) -> Outcome {
    let offset = shard.next_offset();
    let record = JournalRecord { offset, broker_time: at(broker_ms), body };
    shard.apply(&batch(offset, offset + 1, vec![record]), catalogue)
}

/// Cuts a journal at record numbers; each batch reaches to the first record of the next.
pub(crate) fn cut(records: &[JournalRecord], mut cuts: Vec<usize>) -> Vec<Batch> {
    cuts.retain(|cut| *cut < records.len());
    cuts.extend([0, records.len()]);
    cuts.sort();
    let offset = |at: usize| match records.get(at) {
        _ if at == 0 => 0,
        Some(record) => record.offset,
        None => records.last().map_or(0, |last| last.offset + 1),
    };
    let pairs = cuts.windows(2);
    pairs.map(|p| batch(offset(p[0]), offset(p[1]), records[p[0]..p[1]].to_vec())).collect()
}

/// Outcomes of neighbouring batches as that of one batch, except for levels: those are the
/// last ones of each key.
pub(crate) fn join(outcomes: impl IntoIterator<Item = (usize, Outcome)>) -> Outcome {
    let mut joined = Outcome::default();
    let mut levels: HashMap<(TenantId, MeterKey), QuotaLevel> = HashMap::new();
    for (first, mut next) in outcomes {
        next.accepted.iter_mut().for_each(|a| a.index += first);
        next.dead_letters.iter_mut().for_each(|d| d.index += first);
        next.forwards.iter_mut().for_each(|f| f.index += first);
        let (sum, more) = (&mut joined.counts, next.counts);
        sum.read += more.read;
        sum.accepted += more.accepted;
        sum.duplicate += more.duplicate;
        sum.rejected += more.rejected;
        sum.forwarded += more.forwarded;
        sum.control += more.control;
        joined.exceptions.extend(next.exceptions);
        joined.accepted.extend(next.accepted);
        joined.deltas = join_deltas([joined.deltas, next.deltas]).unwrap();
        joined.content_sum.merge(next.content_sum);
        joined.dead_letters.extend(next.dead_letters);
        joined.forwards.extend(next.forwards);
        joined.alerts.extend(next.alerts);
        joined.limits.extend(next.limits);
        joined.adjustments.extend(next.adjustments);
        levels.extend(next.levels.into_iter().map(|l| ((l.tenant.clone(), l.meter.clone()), l)));
        joined.broker_time_max = next.broker_time_max;
    }
    joined.levels = levels.into_values().collect();
    joined.levels.sort_by(|a, b| (&a.tenant, &a.meter).cmp(&(&b.tenant, &b.meter)));
    joined
}

/// Applies batches one after the other and joins what follows.
pub(crate) fn apply_all(shard: &mut Shard, batches: &[Batch], catalogue: &Catalogue) -> Outcome {
    let mut first = 0;
    join(batches.iter().map(|batch| {
        let outcome = shard.apply(batch, catalogue);
        let here = first;
        first += batch.len();
        (here, outcome)
    }))
}
