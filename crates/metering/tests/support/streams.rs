//! Random journals: several tenants, all kinds of records, repetitions, conflicts, times
//! that step back and leap, in a world small enough that everything meets everything.

use proptest::prelude::*;
use weir_core::time::{DAY_MS, HOUR_MS};
use weir_core::{Hash128, Quantity, TenantId, Timestamp};
use weir_metering::adjustment::Entry;
use weir_metering::event::UsageEvent;
use weir_metering::outcome::RejectReason;
use weir_metering::quota::LimitSet;
use weir_metering::record::{JournalRecord, RecordBody};
use weir_metering::shard::HOPS_MAX;

use super::{at, config, limit, tenant};

const MINUTE_MS: i64 = 60_000;

/// One record before its place in the journal is known.
#[derive(Clone, Debug)]
enum Draft {
    Event {
        event: UsageEvent,
        age_ms: Option<i64>,
        hops: u8,
    },
    /// The event of an earlier record again, with its own time or another one.
    Again {
        back: usize,
        other_age_ms: Option<i64>,
        hops: u8,
    },
    /// The event of an earlier record is taken out, whether it was accepted or not; `of_weir`:
    /// by Weir, else by somebody who has no key.
    Void {
        back: usize,
        of_weir: bool,
    },
    Entry {
        tenant: TenantId,
        id: u8,
        entry: Entry,
        age_ms: i64,
    },
    Body(RecordBody),
}

fn age_ms() -> impl Strategy<Value = Option<i64>> {
    let window = config().window_ms;
    prop_oneof![
        2 => Just(None),
        6 => (0..3 * HOUR_MS).prop_map(Some),
        2 => (0..window).prop_map(Some),
        1 => prop::sample::select(vec![window, window + 1, window + DAY_MS, -HOUR_MS, -HOUR_MS - 1, -30 * MINUTE_MS])
            .prop_map(Some),
    ]
}

fn event() -> impl Strategy<Value = Draft> {
    let tenants = prop_oneof![
        8 => (0_usize..3).prop_map(|n| tenant(true, n).to_string()),
        1 => prop::sample::select(vec![
            tenant(true, 3).to_string(),
            tenant(true, 4).to_string(), // not in the catalogue
            tenant(false, 0).to_string(),
            "no tenant!".to_owned(),
        ]),
    ];
    let values = prop_oneof![
        8 => (0_i64..12).prop_map(|n| n.to_string()),
        2 => prop::sample::select(vec!["-4", "2.5", "1e-07", "0.0000000001", "abc", "1000000000000000"])
            .prop_map(str::to_owned),
    ];
    let kinds = prop::sample::select(vec!["use", "use", "hit", "hit", "gauge", "unheard-of"]);
    let region = prop::option::of(0_u8..6);
    (tenants, 0_u16..400, kinds, age_ms(), values, region, 0_u8..8).prop_map(
        |(tenant, id, event_type, age_ms, value, region, rare)| {
            let mut data = vec![("value".to_owned(), value)];
            if let Some(region) = region {
                data.insert(0, ("region".to_owned(), format!("r{region}")));
            }
            if rare == 0 {
                data.pop();
            }
            let (source, event_type) = ("test".to_owned(), event_type.to_owned());
            let event = UsageEvent { tenant, source, id: id.to_string(), event_type, time: None, data };
            Draft::Event { event, age_ms, hops: HOPS_MAX * u8::from(rare == 1) }
        },
    )
}

fn limits() -> impl Strategy<Value = Draft> {
    let names = vec!["calls", "bytes", "peak", "floor", "seats", "users", "hits", "weight", "no-such-meter"];
    let thresholds = prop::sample::select(vec![&[50, 100][..], &[10, 80, 100, 150], &[], &[1, 1000]]);
    let one =
        (prop::sample::subsequence(names, 0..5), 0_i64..60, thresholds).prop_map(|(meters, units, t)| {
            // A limit of zero is not valid.
            meters.into_iter().map(|m| limit(m, units, t)).collect::<Vec<_>>()
        });
    let tenants = prop_oneof![9 => (0_usize..5).prop_map(|n| tenant(true, n)), 1 => Just(tenant(false, 0))];
    (tenants, 0_i64..9, one).prop_map(|(tenant, revision, limits)| {
        Draft::Body(RecordBody::Limits { set: LimitSet { tenant, revision, limits }, hops: 0 })
    })
}

fn adjustment() -> impl Strategy<Value = Draft> {
    let tenants = prop_oneof![
        8 => (0_usize..3).prop_map(|n| tenant(true, n)),
        1 => prop::sample::select(vec![tenant(true, 4), tenant(false, 0)]),
    ];
    let meters =
        prop::sample::select(vec!["calls", "calls", "bytes", "bytes", "peak", "users", "no-such-meter"]);
    let ages = prop_oneof![6 => 0..config().window_ms, 2 => 0..300 * DAY_MS, 1 => -3 * HOUR_MS..0];
    let region = prop::option::of(0_u8..6);
    (tenants, 0_u8..12, meters, ages, -12_i64..12, region).prop_map(
        |(tenant, id, meter, age_ms, units, region)| {
            let region = region.map(|region| ("region".to_owned(), format!("r{region}")));
            let entry = Entry {
                meter: super::meter_key(meter),
                dimensions: region.into_iter().collect(),
                at: Timestamp::EPOCH,
                quantity: Quantity::from_units(units),
                event_count: units,
            };
            Draft::Entry { tenant, id, entry, age_ms }
        },
    )
}

fn draft() -> impl Strategy<Value = Draft> {
    let unreadable = RecordBody::Unreadable { reason: RejectReason::Malformed, detail: "no event".into() };
    prop_oneof![
        12 => event(),
        4 => (1_usize..30, prop::option::weighted(0.3, 0..DAY_MS), 0..=HOPS_MAX)
            .prop_map(|(back, other_age_ms, hops)| Draft::Again { back, other_age_ms, hops }),
        2 => limits(),
        2 => adjustment(),
        2 => (1_usize..30, prop::bool::weighted(0.9)).prop_map(|(back, of_weir)| Draft::Void { back, of_weir }),
        1 => Just(Draft::Body(RecordBody::Tick)),
        1 => Just(Draft::Body(unreadable)),
    ]
}

fn step_ms() -> impl Strategy<Value = i64> {
    prop_oneof![
        6 => 0..20 * MINUTE_MS,
        2 => prop::sample::select(vec![0, 1, -30 * MINUTE_MS, -2 * HOUR_MS]),
        1 => 0..DAY_MS,
        1 => prop::sample::select(vec![DAY_MS, DAY_MS + HOUR_MS, 2 * DAY_MS + 1]),
    ]
}

/// A journal of up to `records_max` records from offset 0 on, with gaps between offsets.
pub(crate) fn journal(records_max: usize) -> impl Strategy<Value = Vec<JournalRecord>> {
    prop::collection::vec((draft(), step_ms(), 1_i64..3), 1..records_max).prop_map(|drafts| {
        let mut records: Vec<JournalRecord> = Vec::new();
        let (mut now_ms, mut offset) = (0, 0);
        for (draft, step_ms, gap) in drafts {
            now_ms = (now_ms + step_ms).max(0);
            let time = |age_ms: Option<i64>| age_ms.map(|age| at(now_ms - age));
            let body = body(draft, time, &records);
            records.push(JournalRecord { offset, broker_time: at(now_ms), body });
            offset += gap;
        }
        records
    })
}

fn body(
    draft: Draft,
    time: impl Fn(Option<i64>) -> Option<Timestamp>,
    records: &[JournalRecord],
) -> RecordBody {
    match draft {
        Draft::Body(body) => body,
        Draft::Void { back, of_weir } => {
            let earlier = records.len().checked_sub(back).map(|at| &records[at]);
            let Some(JournalRecord { offset, broker_time, body: RecordBody::Event { event, .. } }) = earlier
            else {
                return RecordBody::Tick;
            };
            let Some(adjustment) = super::void(*offset, *broker_time, event) else { return RecordBody::Tick };
            match super::adjustment_record(adjustment) {
                RecordBody::Adjustment { adjustment, seal, hops } if !of_weir => {
                    RecordBody::Adjustment { adjustment, seal: Hash128(seal.0 ^ 1), hops }
                }
                sealed => sealed,
            }
        }
        Draft::Entry { tenant, id, mut entry, age_ms } => {
            entry.at = time(Some(age_ms)).unwrap_or_default();
            super::adjustment_record(super::entry(&tenant, &id.to_string(), entry))
        }
        Draft::Event { mut event, age_ms, hops } => {
            event.time = time(age_ms);
            RecordBody::Event { event, hops }
        }
        Draft::Again { back, other_age_ms, hops } => {
            let earlier = records.len().checked_sub(back).map(|at| &records[at].body);
            let Some(RecordBody::Event { event, .. }) = earlier else { return RecordBody::Tick };
            let time = time(other_age_ms).or(event.time);
            RecordBody::Event { event: UsageEvent { time, ..event.clone() }, hops }
        }
    }
}
