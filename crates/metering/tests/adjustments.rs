//! Adjustments: an event and its void leave usage and levels as if it had never come, and end the
//! alert that it began; entries count whenever they come; each counts once, and only those that
//! Weir has sealed.

mod support;

use std::collections::BTreeMap;

use proptest::prelude::*;
use support::streams::journal;
use support::{adjustment_record, apply_one, at, catalogue, entry, event, limit, meter_key, tenant, void};
use weir_core::time::{DAY_MS, HOUR_MS};
use weir_core::{Hash128, Quantity, Timestamp};
use weir_metering::adjustment::{Adjustment, Change, Entry};
use weir_metering::aggregate::{Aggregate, UsageKey};
use weir_metering::catalogue::Catalogue;
use weir_metering::event::UsageEvent;
use weir_metering::meter::{Aggregation, Meter};
use weir_metering::outcome::{Alert, AlertKind, Direction, Forward, Outcome, RejectReason, Verdict};
use weir_metering::quota::{LimitSet, QuotaLevel};
use weir_metering::record::{JournalRecord, RecordBody};
use weir_metering::shard::{HOPS_MAX, Shard};

/// The catalogue of the tests with only those meters that can be adjusted.
fn additive() -> Catalogue {
    let full = support::catalogue();
    let additive = |meter: &&Meter| matches!(meter.aggregation, Aggregation::Count | Aggregation::Sum);
    Catalogue::new(
        1,
        full.meters().filter(additive).cloned().collect(),
        full.tenants.clone(),
        full.homes.clone(),
    )
}

/// Usage that is not nothing.
fn left(deltas: &BTreeMap<UsageKey, Aggregate>) -> Vec<(&UsageKey, &Aggregate)> {
    let something = |usage: &Aggregate| usage.count() != 0 || usage.quantity() != Quantity::ZERO;
    deltas.iter().filter(|(_, usage)| something(usage)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Some accepted events are voided at the end: what is left is what the others make.
    #[test]
    fn voided_events_leave_usage_and_levels_as_if_they_had_never_come(
        records in journal(120),
        chosen in prop::collection::vec(any::<bool>(), 120),
    ) {
        let catalogue = additive();
        let is_limits = |record: &JournalRecord| matches!(record.body, RecordBody::Limits { .. });
        let is_event = |record: &JournalRecord| matches!(record.body, RecordBody::Event { .. });
        let mut records: Vec<JournalRecord> =
            records.into_iter().filter(|record| is_event(record) || is_limits(record)).collect();
        // Series past the bound depend on which came first, so all stay below it.
        for record in &mut records {
            let RecordBody::Event { event, .. } = &mut record.body else { continue };
            event.data.retain(|(name, value)| name != "region" || value < &"r2".to_owned());
        }
        let batches = support::cut(&records, vec![]);
        let all = support::apply_all(&mut support::shard(), &batches, &catalogue);
        let is_chosen = |index: usize| chosen[index % chosen.len()];
        let accepted: Vec<usize> = all.accepted.iter().map(|one| one.index).collect();
        let kept: Vec<JournalRecord> = accepted.iter().copied().filter(|index| !is_chosen(*index))
            .map(|index| records[index].clone()).collect();

        let mut shard = support::shard();
        let mut whole = support::apply_all(&mut shard, &batches, &catalogue);
        let last = records.last().map_or(Timestamp::EPOCH, |record| record.broker_time);
        for index in accepted.into_iter().filter(|index| is_chosen(*index)) {
            let record = &records[index];
            let RecordBody::Event { event, .. } = &record.body else { continue };
            let Some(adjustment) = void(record.offset, record.broker_time, event) else { continue };
            let offset = shard.next_offset();
            let body = adjustment_record(adjustment);
            let batch = support::batch(offset, offset + 1, vec![JournalRecord { offset, broker_time: last, body }]);
            let next = shard.apply(&batch, &catalogue);
            prop_assert_eq!(next.counts.control, 1, "{:?}", next.dead_letters);
            prop_assert_eq!(next.adjustments.len(), 1);
            whole = support::join([(0, whole), (0, next)]);
        }
        // What is forgotten, and what is late, depends on time alone: the same ticks pass.
        let mut never = support::shard();
        let ticks = records.iter().map(|record| match kept.iter().find(|kept| kept.offset == record.offset) {
            Some(kept) => kept.clone(),
            None if is_limits(record) => record.clone(),
            None => JournalRecord { body: RecordBody::Tick, ..record.clone() },
        });
        let without = support::apply_all(&mut never, &support::cut(&ticks.collect::<Vec<_>>(), vec![]), &catalogue);
        prop_assert_eq!(left(&whole.deltas), left(&without.deltas));
        prop_assert_eq!(levels(&shard, &catalogue), levels(&never, &catalogue));
    }
}

/// Where every limited meter stands, whenever that was seen.
fn levels(shard: &Shard, catalogue: &Catalogue) -> Vec<impl PartialEq + std::fmt::Debug> {
    let of = |level: QuotaLevel| (level.tenant, level.meter, level.limit, level.period, level.used);
    shard.levels(catalogue).into_iter().map(of).collect()
}

fn adjust(shard: &mut Shard, broker_ms: i64, adjustment: Adjustment) -> Outcome {
    apply_one(shard, &support::catalogue(), broker_ms, adjustment_record(adjustment))
}

fn of(meter: &str, at: Timestamp, quantity: &str, event_count: i64) -> Entry {
    let quantity = Quantity::parse(quantity).unwrap();
    Entry { meter: meter_key(meter), dimensions: vec![], at, quantity, event_count }
}

/// Verdict and words of the only record of an outcome.
fn refusal(outcome: &Outcome) -> (Verdict, &str) {
    let detail = outcome.dead_letters.first().map_or("", |letter| letter.detail.as_str());
    (outcome.exceptions[0].verdict, detail)
}

#[test]
fn history_comes_in_whatever_its_age_and_counts_once() {
    let mut shard = support::shard();
    let old = at(-300 * DAY_MS + 5);
    let first = adjust(&mut shard, 0, entry(&tenant(true, 0), "import-1", of("bytes", old, "1000.5", 40)));
    assert_eq!(refusal(&first), (Verdict::Control, ""));
    let (key, usage) = first.deltas.iter().next().unwrap();
    assert_eq!((key.hour, key.meter.as_str()), (at(-300 * DAY_MS), "bytes"));
    assert_eq!(key.dimensions, r#"{"region":"","zone":""}"#);
    assert_eq!(*usage, Aggregate::Sum { quantity: Quantity::parse("1000.5").unwrap(), count: 40 });
    assert_eq!(first.adjustments[0].usage, first.deltas);
    let again = adjust(&mut shard, 1, entry(&tenant(true, 0), "import-1", of("bytes", old, "7", 1)));
    assert_eq!((refusal(&again), again.deltas.len()), ((Verdict::Control, ""), 0));
    assert!(again.adjustments.is_empty());
    // An id is one tenant's.
    let other = adjust(&mut shard, 2, entry(&tenant(true, 1), "import-1", of("bytes", old, "7", 1)));
    assert_eq!(other.adjustments.len(), 1);
}

#[test]
fn a_void_ends_the_alert_that_the_event_began_and_keeps_its_id() {
    let mut shard = support::shard();
    let catalogue = additive();
    let name = tenant(true, 0);
    let set = LimitSet { tenant: name.clone(), revision: 1, limits: vec![limit("bytes", 10, &[100])] };
    apply_one(&mut shard, &catalogue, 0, RecordBody::Limits { set, hops: 0 });
    let sent = event(&name, "1", Some(at(1)), "12");
    let offset = shard.next_offset();
    let reached = apply_one(&mut shard, &catalogue, 1, RecordBody::Event { event: sent.clone(), hops: 0 });
    let directions = |outcome: &Outcome| -> Vec<Direction> {
        let of = |alert: &Alert| match alert.kind {
            AlertKind::Quota { direction, .. } => Some(direction),
            _ => None,
        };
        outcome.alerts.iter().filter_map(of).collect()
    };
    assert_eq!(directions(&reached), [Direction::Reached]);
    let voiding = void(offset, at(1), &sent).unwrap();
    let voided = apply_one(&mut shard, &catalogue, 2, adjustment_record(voiding.clone()));
    assert_eq!(directions(&voided), [Direction::Resolved]);
    assert_eq!(voided.levels[0].used, Quantity::ZERO);
    let counts: Vec<i64> = voided.deltas.values().map(Aggregate::count).collect();
    assert_eq!(counts, [-1, -1], "calls and bytes");
    // Once, and the id stays taken.
    let twice = apply_one(&mut shard, &catalogue, 3, adjustment_record(voiding));
    assert!(twice.deltas.is_empty() && twice.levels.is_empty());
    let again = apply_one(&mut shard, &catalogue, 4, RecordBody::Event { event: sent, hops: 0 });
    assert_eq!(again.counts.duplicate, 1);
}

#[test]
fn what_cannot_be_adjusted_is_refused_in_words() {
    let mut shard = support::shard();
    let name = tenant(true, 0);
    let mut check = |adjustment: Adjustment, reason: RejectReason, words: &str| {
        let outcome = adjust(&mut shard, 0, adjustment);
        let (verdict, detail) = refusal(&outcome);
        assert_eq!(verdict, Verdict::Rejected(reason), "{detail}");
        assert!(detail.contains(words), "{detail:?} should say {words:?}");
        assert!(outcome.deltas.is_empty() && outcome.adjustments.is_empty());
    };
    let now = at(0);
    let one = |meter: &str, quantity: &str, count| entry(&name, "1", of(meter, now, quantity, count));
    check(one("peak", "1", 1), RejectReason::InvalidValue, "meter peak keeps the largest value");
    check(one("users", "1", 1), RejectReason::InvalidValue, "meter users keeps the different value");
    check(one("nothing", "1", 1), RejectReason::InvalidValue, "no version of a meter nothing");
    check(one("calls", "2", 1), RejectReason::InvalidValue, "is the event_count");
    check(one("calls", "0", 0), RejectReason::InvalidEvent, "changes nothing");
    check(one("calls", "1", 1_000_000_000_001), RejectReason::InvalidEvent, "10^12");
    let ahead = of("bytes", at(HOUR_MS + 1), "1", 0);
    check(entry(&name, "1", ahead), RejectReason::InFuture, "too far ahead");
    let region = vec![("country".to_owned(), "x".to_owned())];
    let beside = Entry { dimensions: region, ..of("calls", now, "1", 1) };
    check(entry(&name, "1", beside), RejectReason::InvalidValue, "no dimension \"country\"");
    check(entry(&tenant(true, 4), "1", of("calls", now, "1", 1)), RejectReason::UnknownTenant, "no tenant");
    check(entry(&name, "void-1", of("calls", now, "1", 1)), RejectReason::InvalidEvent, "those of voids");
    let long = "i".repeat(100_000);
    let shortened = format!("adjustment {}: id must have 1 to 128 bytes", "i".repeat(64));
    check(entry(&name, &long, of("calls", now, "1", 1)), RejectReason::InvalidEvent, &shortened);
    let gauge = UsageEvent { event_type: "gauge".into(), ..event(&name, "1", None, "1") };
    check(void(0, now, &gauge).unwrap(), RejectReason::InvalidValue, "smallest value");
    let mut of_other = void(0, now, &event(&name, "1", None, "1")).unwrap();
    let Change::Void { event, .. } = &mut of_other.change else { panic!("a void") };
    event.tenant = tenant(true, 1).to_string();
    check(of_other, RejectReason::InvalidEvent, "another tenant's");
}

/// The tenant is created too late: the same record counts when it is delivered again.
#[test]
fn what_was_refused_counts_when_it_comes_again() {
    let mut shard = support::shard();
    let name = tenant(true, 4);
    let voiding = void(0, at(0), &event(&name, "1", None, "12")).unwrap();
    let refused = adjust(&mut shard, 0, voiding.clone());
    assert_eq!(refusal(&refused).0, Verdict::Rejected(RejectReason::UnknownTenant));
    let mut created = additive();
    created.tenants.insert(name, support::facts(0, -4, 2, 30));
    let counted = apply_one(&mut shard, &created, 1, adjustment_record(voiding.clone()));
    assert_eq!((refusal(&counted), counted.adjustments.len()), ((Verdict::Control, ""), 1));
    let twice = apply_one(&mut shard, &created, 2, adjustment_record(voiding));
    assert!(twice.deltas.is_empty() && twice.adjustments.is_empty());
}

#[test]
fn nobody_else_can_write_one() {
    let mut shard = support::shard();
    let adjustment = entry(&tenant(true, 0), "1", of("calls", at(0), "-5", -5));
    let seal = adjustment.seal(&support::key());
    let dearer = Adjustment { change: Change::Entry(of("calls", at(0), "-50", -50)), ..adjustment };
    let forged = RecordBody::Adjustment { adjustment: dearer, seal, hops: 0 };
    let outcome = apply_one(&mut shard, &support::catalogue(), 0, forged);
    let (verdict, detail) = refusal(&outcome);
    assert_eq!(verdict, Verdict::Rejected(RejectReason::InvalidEvent));
    assert!(detail.contains("seal"), "{detail}");
}

#[test]
fn one_in_a_foreign_partition_is_sent_home_as_limits_are() {
    let (mut shard, name) = (support::shard(), tenant(false, 0));
    let adjustment = entry(&name, "1", of("calls", at(0), "1", 1));
    let seal = adjustment.seal(&support::key());
    let limits = LimitSet { tenant: name.clone(), revision: 1, limits: vec![limit("bytes", 10, &[100])] };
    let home = catalogue().homes.of(name.as_str());
    for hops in [0, HOPS_MAX - 1, HOPS_MAX] {
        let bodies = [
            RecordBody::Adjustment { adjustment: adjustment.clone(), seal, hops },
            RecordBody::Limits { set: limits.clone(), hops },
        ];
        for body in bodies {
            let outcome = apply_one(&mut shard, &catalogue(), 0, body);
            assert!(outcome.adjustments.is_empty() && outcome.limits.is_empty());
            if hops < HOPS_MAX {
                assert_eq!(outcome.forwards, [Forward { index: 0, to: home, hops: hops + 1 }]);
                assert_eq!(refusal(&outcome), (Verdict::Forwarded, ""));
            } else {
                assert_eq!(refusal(&outcome).0, Verdict::Rejected(RejectReason::Misrouted));
            }
        }
    }
    // What is forged travels nowhere.
    let forged = RecordBody::Adjustment { adjustment, seal: Hash128(seal.0 ^ 1), hops: 0 };
    let outcome = apply_one(&mut shard, &catalogue(), 0, forged);
    assert_eq!(
        (refusal(&outcome).0, outcome.forwards.len()),
        (Verdict::Rejected(RejectReason::InvalidEvent), 0)
    );
}
