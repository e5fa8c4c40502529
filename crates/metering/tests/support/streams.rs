//! Random journals: several tenants, all kinds of records, repetitions, conflicts, times
//! that step back and leap, in a world small enough that everything meets everything.

use proptest::prelude::*;
use weir_core::Timestamp;
use weir_core::time::{DAY_MS, HOUR_MS};
use weir_metering::event::UsageEvent;
use weir_metering::outcome::RejectReason;
use weir_metering::quota::LimitSet;
use weir_metering::record::{JournalRecord, RecordBody};

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
    let kinds = prop::sample::select(vec!["use", "use", "gauge", "unheard-of"]);
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
            Draft::Event { event, age_ms, hops: u8::from(rare == 1) }
        },
    )
}

fn limits() -> impl Strategy<Value = Draft> {
    let names = vec!["calls", "bytes", "peak", "floor", "seats", "users", "no-such-meter"];
    let thresholds = prop::sample::select(vec![&[50, 100][..], &[10, 80, 100, 150], &[], &[1, 1000]]);
    let one =
        (prop::sample::subsequence(names, 0..5), 0_i64..60, thresholds).prop_map(|(meters, units, t)| {
            // A limit of zero is not valid.
            meters.into_iter().map(|m| limit(m, units, t)).collect::<Vec<_>>()
        });
    let tenants = prop_oneof![9 => (0_usize..5).prop_map(|n| tenant(true, n)), 1 => Just(tenant(false, 0))];
    (tenants, 0_i64..9, one).prop_map(|(tenant, revision, limits)| {
        Draft::Body(RecordBody::Limits(LimitSet { tenant, revision, limits }))
    })
}

fn draft() -> impl Strategy<Value = Draft> {
    let unreadable = RecordBody::Unreadable { reason: RejectReason::Malformed, detail: "no event".into() };
    prop_oneof![
        12 => event(),
        4 => (1_usize..30, prop::option::weighted(0.3, 0..DAY_MS), 0_u8..2)
            .prop_map(|(back, other_age_ms, hops)| Draft::Again { back, other_age_ms, hops }),
        2 => limits(),
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
