//! How long `Shard::apply` takes for an event: 10,000 tenants, three meters (one with a
//! dimension and a limit), one event in a hundred repeated.
//! `cargo run -p weir-metering --example apply_speed [millions of events]`

use std::collections::HashMap;
use std::time::{Duration, Instant};

use weir_core::time::DAY_MS;
use weir_core::{HashKey, Homes, HourAlignment, Quantity, Span, TenantId, Timestamp};
use weir_metering::catalogue::{Catalogue, TenantFacts};
use weir_metering::event::UsageEvent;
use weir_metering::meter::{Aggregation, Meter, MeterKey, Precision};
use weir_metering::quota::{Enforcement, Limit, LimitSet, WhenStale};
use weir_metering::record::{Batch, JournalRecord, RecordBody};
use weir_metering::shard::{FUTURE_MS, Recovered, SERIES_MAX, Shard, ShardConfig, WINDOW_MS};

const TENANTS: i64 = 10_000;
const BATCH: i64 = 200_000;
/// 2026-03-02T00:00:00Z.
const BASE_MS: i64 = 1_772_409_600_000;

#[expect(clippy::disallowed_methods, reason = "a measurement needs the clock that counting must not have")]
fn main() {
    let millions = std::env::args().nth(1).and_then(|text| text.parse::<i64>().ok()).unwrap_or(2);
    let catalogue = catalogue();
    let mut shard = shard(&catalogue);
    let (mut spent, mut spent_cpu, mut deltas, mut accepted) = (Duration::ZERO, 0, 0, 0);
    let batches = millions * 1_000_000 / BATCH;
    for number in 0..batches {
        let batch = batch(number);
        let (start, start_cpu) = (Instant::now(), cpu_ns());
        let outcome = shard.apply(&batch, &catalogue);
        spent += start.elapsed();
        spent_cpu += cpu_ns() - start_cpu;
        deltas += outcome.deltas.len();
        accepted += outcome.accepted.len();
    }
    let events = u128::try_from(batches * BATCH).unwrap_or(1).max(1);
    println!(
        "{events} events, {accepted} accepted, {} ids remembered, {deltas} deltas: {} ns of processor and {} ns of \
         time an event",
        shard.remembered_ids(),
        spent_cpu / events,
        spent.as_nanos() / events
    );
}

/// Time that this thread has had a processor for: other work on the machine does not count.
fn cpu_ns() -> u128 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    stat.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or_default()
}

fn tenant(number: i64) -> String {
    format!("tenant-{:05}", number % TENANTS)
}

fn catalogue() -> Catalogue {
    let meter = |name: &str, aggregation, dimensions: &[&str]| {
        MeterKey::new(name).ok().map(|key| Meter {
            key,
            version: 1,
            description: String::new(),
            unit: "unit".into(),
            event_type: "request".into(),
            aggregation,
            value_property: (aggregation != Aggregation::Count).then(|| "bytes".into()),
            dimensions: dimensions.iter().map(|name| (*name).to_owned()).collect(),
            filters: vec![],
            precision: Precision::Exact,
            allow_negative: false,
            begins_at: None,
        })
    };
    let meters = [
        meter("requests", Aggregation::Count, &["region"]),
        meter("egress", Aggregation::Sum, &[]),
        meter("peak", Aggregation::Max, &[]),
    ];
    let start = Timestamp::clamped(BASE_MS - DAY_MS);
    let periods = vec![Span { start, end: start.plus_millis(30 * DAY_MS) }];
    let facts = TenantFacts { alignment: HourAlignment::default(), periods };
    let tenants = (0..TENANTS).filter_map(|n| TenantId::new(&tenant(n)).ok());
    let tenants: HashMap<_, _> = tenants.map(|tenant| (tenant, facts.clone())).collect();
    Catalogue::new(1, meters.into_iter().flatten().collect(), tenants, Homes::new(1))
}

fn shard(catalogue: &Catalogue) -> Shard {
    let limits = |tenant: &TenantId| LimitSet {
        tenant: tenant.clone(),
        revision: 1,
        limits: catalogue
            .meters()
            .take(1)
            .map(|meter| Limit {
                meter: meter.key.clone(),
                limit: Quantity::from_units(1_000_000_000),
                enforcement: Enforcement::Hard,
                thresholds_percent: vec![80, 100],
                when_stale: WhenStale::Allow,
            })
            .collect(),
    };
    let recovered =
        Recovered { limits: catalogue.tenants.keys().map(limits).collect(), ..Recovered::default() };
    let config = ShardConfig {
        generation: 1,
        partition: 0,
        window_ms: WINDOW_MS,
        future_ms: FUTURE_MS,
        series_max: SERIES_MAX,
    };
    Shard::new(config, HashKey::new([1; 16]), recovered)
}

fn batch(number: i64) -> Batch {
    let from = number * BATCH;
    let record = |offset: i64| {
        // One in a hundred repeats the event before it.
        let n = if offset % 100 == 99 { offset - 1 } else { offset };
        // A step that shares no factor with the number of tenants mixes them well.
        let tenant = tenant(n * 7919);
        let region = ["eu-west", "us-east", "ap-south"][usize::try_from(n % 3).unwrap_or(0)];
        let event = UsageEvent {
            tenant,
            source: "gateway/eu-1".into(),
            id: format!("{n:032x}"),
            event_type: "request".into(),
            time: Some(Timestamp::clamped(BASE_MS + n / 100)),
            data: vec![
                ("bytes".into(), (n % 5000).to_string()),
                ("path".into(), "/v1/things".into()),
                ("region".into(), region.into()),
            ],
        };
        let broker_time = Timestamp::clamped(BASE_MS + offset / 100);
        JournalRecord { offset, broker_time, body: RecordBody::Event { event, hops: 0 } }
    };
    Batch::of(0, from, from + BATCH, (from..from + BATCH).map(record).collect())
}
