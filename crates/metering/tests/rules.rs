//! What the shard accepts, refuses and reports, one rule a test.

mod support;

use std::collections::HashMap;

use support::{PARTITIONS, apply_one, at, batch, event, facts, meter, meter_key, tenant};
use weir_core::quantity::TOTAL_NANOS_MAX;
use weir_core::time::{DAY_MS, HOUR_MS};
use weir_core::{Homes, Quantity, Timestamp};
use weir_metering::aggregate::Aggregate;
use weir_metering::catalogue::Catalogue;
use weir_metering::event::{EventBuffer, UsageEvent};
use weir_metering::meter::{Aggregation, Meter};
use weir_metering::outcome::{AlertKind, Outcome, RejectReason, Verdict};
use weir_metering::record::{Batch, JournalRecord, RecordBody};
use weir_metering::shard::{HOPS_MAX, PeriodTotal, Recovered, Shard};

fn give(shard: &mut Shard, broker_ms: i64, event: UsageEvent) -> Outcome {
    apply_one(shard, &support::catalogue(), broker_ms, RecordBody::Event { event, hops: 0 })
}

fn verdict(outcome: &Outcome) -> Option<Verdict> {
    outcome.exceptions.first().map(|exception| exception.verdict)
}

#[test]
fn the_order_of_judgement() {
    let mut shard = support::shard();
    let day = 10 * DAY_MS;
    let mut check = |event: UsageEvent, hops: u8, expected: Option<Verdict>| {
        let body = RecordBody::Event { event: event.clone(), hops };
        let outcome = apply_one(&mut shard, &support::catalogue(), day, body);
        assert_eq!(verdict(&outcome), expected, "{event:?}");
        let dead = matches!(expected, Some(Verdict::Rejected(_) | Verdict::Conflict));
        assert_eq!(outcome.dead_letters.len(), usize::from(dead));
        assert_eq!(outcome.forwards.len(), usize::from(expected == Some(Verdict::Forwarded)));
        outcome
    };
    let native = |id: &str, ms: i64, value: &str| event(&tenant(true, 0), id, Some(at(ms)), value);
    let rejected = |reason| Some(Verdict::Rejected(reason));

    check(native("", day, "1"), 0, rejected(RejectReason::InvalidEvent));
    check(event(&tenant(false, 0), "", None, "1"), 0, rejected(RejectReason::InvalidEvent));
    let foreign = || event(&tenant(false, 0), "f", None, "1");
    let home = weir_core::journal::partition_of(foreign().tenant.as_bytes(), PARTITIONS);
    for hops in 0..HOPS_MAX {
        let forward = check(foreign(), hops, Some(Verdict::Forwarded)).forwards[0];
        assert_eq!((forward.to, forward.hops), (home, hops + 1));
    }
    check(foreign(), HOPS_MAX, rejected(RejectReason::Misrouted));
    check(event(&tenant(true, 9), "u", None, "1"), 1, rejected(RejectReason::UnknownTenant));
    // A refused event has claimed no id.
    check(native("a", day - 3 * DAY_MS - 1, "1"), 0, rejected(RejectReason::TooLate));
    check(native("a", day + HOUR_MS + 1, "1"), 0, rejected(RejectReason::InFuture));
    check(native("a", day, "x"), 0, rejected(RejectReason::InvalidValue));
    check(native("a", day - 3 * DAY_MS, "1"), 1, None);
    check(native("b", day + HOUR_MS, "1"), 0, None);
    // What was counted is known, however late or wrong it comes again.
    check(native("a", day - 3 * DAY_MS, "1"), 0, Some(Verdict::Duplicate));
    check(native("a", 0, "1"), 0, Some(Verdict::Conflict));
    check(native("a", day, "x"), 0, Some(Verdict::Conflict));
    let mut unheard = native("c", day, "x");
    unheard.event_type = "unheard-of".into();
    assert!(check(unheard, 0, None).deltas.is_empty());
}

#[test]
fn a_conflict_is_reported_once_an_hour() {
    let mut shard = support::shard();
    give(&mut shard, 0, event(&tenant(true, 0), "1", None, "1"));
    let mut conflict = |ms| give(&mut shard, ms, event(&tenant(true, 0), "1", None, "2")).alerts;
    let (first, second, next_hour) = (conflict(1), conflict(HOUR_MS - 1), conflict(HOUR_MS));
    assert_eq!((first.len(), second.len(), next_hour.len()), (1, 0, 1));
    assert_ne!(first[0].id, next_hour[0].id);
    assert!(matches!(&first[0].kind, AlertKind::Conflict { event_id, .. } if event_id == "1"));
}

#[test]
fn series_past_the_bound_are_counted_under_other() {
    let mut shard = support::shard();
    let mut told = Vec::new();
    let mut seen = Vec::new();
    for n in [1, 2, 3, 4, 5, 1, 4] {
        let mut event = event(&tenant(true, 0), &shard.next_offset().to_string(), None, "1");
        event.data.insert(0, ("region".into(), format!("r{n}")));
        let outcome = give(&mut shard, 0, event);
        let calls = outcome.deltas.keys().find(|key| key.meter == meter_key("calls")).unwrap();
        seen.push(calls.dimensions.clone());
        told.push(outcome.alerts.len());
    }
    let other = "{\"other\":\"true\"}";
    let expected = [
        "{\"region\":\"r1\"}",
        "{\"region\":\"r2\"}",
        "{\"region\":\"r3\"}",
        other,
        other,
        "{\"region\":\"r1\"}",
        other,
    ];
    assert_eq!(seen, expected);
    // Two meters with dimensions reach their bounds at the fourth region.
    assert_eq!(told, [0, 0, 0, 2, 0, 0, 0]);
}

#[test]
fn a_total_that_would_overflow_refuses_the_event_whole() {
    let catalogue = support::catalogue();
    let period = catalogue.tenants[&tenant(true, 0)].period_of(at(0)).unwrap();
    let quantity = Quantity::from_nanos(TOTAL_NANOS_MAX).unwrap();
    let total = PeriodTotal {
        tenant: tenant(true, 0),
        meter: meter_key("bytes"),
        period,
        aggregate: Aggregate::Sum { quantity, count: 7 },
    };
    let recovered = Recovered { totals: vec![total], ..Recovered::default() };
    let mut shard = Shard::new(support::config(), support::key(), recovered);
    let outcome = give(&mut shard, 0, event(&tenant(true, 0), "1", None, "1"));
    assert_eq!(verdict(&outcome), Some(Verdict::Rejected(RejectReason::InvalidValue)));
    assert!(outcome.deltas.is_empty() && shard.remembered_ids() == 0 && shard.series() == 0);
    let outcome = give(&mut shard, 0, event(&tenant(true, 0), "1", None, "-1"));
    assert_eq!(verdict(&outcome), None);
}

#[test]
fn hours_are_those_of_the_tenant_and_dimensions_are_canonical() {
    let mut shard = support::shard();
    let mut event = event(&tenant(true, 1), "1", Some(at(HOUR_MS)), "1");
    event.data.insert(0, ("region".into(), "a\"\\ü".into()));
    let outcome = give(&mut shard, HOUR_MS, event);
    let key = outcome.deltas.keys().find(|key| key.meter == meter_key("bytes")).unwrap();
    assert_eq!(key.hour, at(HOUR_MS / 2));
    assert_eq!(key.dimensions, "{\"region\":\"a\\\"\\\\ü\",\"zone\":\"\"}");
}

#[test]
fn values_are_refused_in_words_that_say_how_to_send_them() {
    let catalogue = support::catalogue();
    let check = |name: &str, value: &str, expected: &str| {
        let mut event = event(&tenant(true, 0), "1", None, "1");
        event.data.extend((name == "region").then(|| ("value".into(), "1".into())));
        event.data[0] = (name.to_owned(), value.to_owned());
        assert_eq!(
            catalogue.measure(EventBuffer::of(&event).get(0), at(0)).unwrap_err().to_string(),
            expected
        );
    };
    check("other", "1", "meter bytes needs a value in data.value, and there is none");
    check(
        "value",
        "0.30000000000000004",
        "meter bytes cannot take data.value: more than nine decimals; round it before sending, as text \
         (for example \"0.3\"), or set precision = \"round\" on the meter",
    );
    check("value", "NaN", "meter bytes cannot take data.value: not a decimal number");
    let long = "x".repeat(257);
    check(
        "region",
        &long,
        "meter bytes takes at most 256 bytes in the dimension data.region, and there are 257",
    );
}

#[test]
fn dimensions_together_stay_within_an_index_entry() {
    let names: Vec<String> = (0..16).map(|n| format!("d{n:02}")).collect();
    let wide = Meter { dimensions: names.clone(), ..meter("wide", Aggregation::Count) };
    let catalogue = Catalogue::new(1, vec![wide], HashMap::new(), Homes::new(PARTITIONS));
    let bytes = |length: usize| {
        let mut event = event(&tenant(true, 0), "1", None, "1");
        event.data = names.iter().map(|name| (name.clone(), "x".repeat(length))).collect();
        catalogue
            .measure(EventBuffer::of(&event).get(0), at(0))
            .map(|found| found[0].dimensions().len())
            .map_err(|e| e.to_string())
    };
    assert_eq!(bytes(118), Ok(2033));
    assert!(bytes(119).is_err());
}

#[test]
fn the_events_time_picks_the_version() {
    let version = |version, event_type: &str, begins: Option<i64>| Meter {
        version,
        event_type: event_type.into(),
        begins_at: begins.map(at),
        ..meter("m", Aggregation::Count)
    };
    let versions = vec![version(1, "use", None), version(2, "call", Some(10)), version(3, "use", Some(20))];
    let catalogue = Catalogue::new(1, versions, HashMap::new(), Homes::new(PARTITIONS));
    let taken = |time: Timestamp| {
        let event = event(&tenant(true, 0), "1", None, "1");
        catalogue
            .measure(EventBuffer::of(&event).get(0), time)
            .unwrap()
            .iter()
            .map(|m| m.meter.version)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (taken(at(9)), taken(at(10)), taken(at(19)), taken(at(20))),
        (vec![1], vec![], vec![], vec![3])
    );
    assert_eq!(catalogue.meter_at(&meter_key("m"), at(15)).unwrap().version, 2);
}

#[test]
fn a_new_period_in_the_catalogue_moves_the_level() {
    let mut shard = support::shard();
    let native = tenant(true, 0);
    let of = |version, number| {
        Catalogue::new(version, support::meters(), HashMap::new(), Homes::new(PARTITIONS))
            .with_tenant(native.clone(), facts(0, 0, 1, number))
    };
    let limits = vec![support::limit("calls", 10, &[100])];
    let set = weir_metering::quota::LimitSet { tenant: native.clone(), revision: 1, limits };
    let outcome = apply_one(&mut shard, &of(1, 1), DAY_MS + 1, RecordBody::Limits { set, hops: 0 });
    assert_eq!(outcome.levels[0].period.end, at(DAY_MS));
    let outcome = apply_one(&mut shard, &of(2, 3), DAY_MS + 2, RecordBody::Tick);
    assert_eq!(outcome.levels[0].period.start, at(DAY_MS));
    assert!(apply_one(&mut shard, &of(3, 3), DAY_MS + 3, RecordBody::Tick).levels.is_empty());
}

#[test]
fn unknown_tenants_are_named_before_a_batch_is_applied() {
    let mut shard = support::shard();
    let catalogue = support::catalogue();
    let names_unknown = |shard: &Shard, catalogue: &Catalogue, body| {
        let record = JournalRecord { offset: 0, broker_time: at(0), body };
        shard.names_unknown_tenant(&batch(0, 1, vec![record]), catalogue)
    };
    let of = |event| RecordBody::Event { event, hops: 0 };
    let known = event(&tenant(true, 0), "1", None, "1");
    let nobody = UsageEvent { tenant: "/".into(), ..known.clone() };
    assert!(!names_unknown(&shard, &catalogue, of(known.clone())));
    assert!(names_unknown(&shard, &catalogue, of(event(&tenant(true, 9), "1", None, "1"))));
    assert!(!names_unknown(&shard, &catalogue, of(nobody)));
    assert!(!names_unknown(&shard, &catalogue, RecordBody::Tick));
    // One that was met is known, until a newer catalogue says otherwise.
    give(&mut shard, DAY_MS, known.clone());
    assert!(!names_unknown(&shard, &catalogue, of(known.clone())));
    let emptied = Catalogue::new(catalogue.version + 1, Vec::new(), HashMap::new(), catalogue.homes);
    assert!(names_unknown(&shard, &emptied, of(known)));
}

#[test]
fn an_empty_batch_covers_offsets_without_records() {
    let mut shard = support::shard();
    let outcome = shard.apply(&batch(0, 7, vec![]), &support::catalogue());
    assert_eq!(outcome, Outcome::default());
    assert_eq!(shard.next_offset(), 7);
}

#[test]
#[should_panic(expected = "not its next one")]
fn a_batch_is_never_applied_twice() {
    let mut shard = support::shard();
    let again: Batch = batch(0, 7, vec![]);
    shard.apply(&again, &support::catalogue());
    shard.apply(&again, &support::catalogue());
}
