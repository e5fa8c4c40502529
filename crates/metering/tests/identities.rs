//! The memory of ids against plain models: a map with a rule of expiry of its own, and a
//! set that never forgets anything.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use support::{at, event, key, tenant};
use weir_core::Timestamp;
use weir_core::time::{DAY_MS, HOUR_MS};
use weir_metering::event::UsageEvent;
use weir_metering::identity::{EventHashes, Identities, Seen, content_hash};
use weir_metering::record::{JournalRecord, RecordBody};

/// Ids with the facts and the end (in milliseconds) of the UTC day of their arrival.
#[derive(Default)]
struct Model(BTreeMap<String, (String, i64)>);

impl Model {
    fn seen(&self, id: &str, value: &str, now: Timestamp) -> Seen {
        let day_end = |arrival_day_end: i64| arrival_day_end + support::config().window_ms + HOUR_MS;
        match self.0.get(id) {
            Some((_, arrived)) if day_end(*arrived) <= now.millis() => Seen::New,
            Some((known, _)) if known == value => Seen::Same,
            Some(_) => Seen::OtherFacts,
            None => Seen::New,
        }
    }

    fn remember(&mut self, id: &str, value: &str, now: Timestamp) {
        let day_end = now.to_chrono().date_naive().succ_opt().unwrap().and_hms_opt(0, 0, 0).unwrap();
        self.0.insert(id.to_owned(), (value.to_owned(), day_end.and_utc().timestamp_millis()));
    }
}

proptest! {
    #[test]
    fn memory_is_a_map_that_forgets_by_day_of_arrival(
        steps in prop::collection::vec((0_u8..20, 0_u8..2, 0_i64..DAY_MS / 2), 1..200),
    ) {
        let config = support::config();
        let mut identities = Identities::new(config.window_ms, config.future_ms, 0);
        let mut model = Model::default();
        let mut now = at(0);
        for (id, value, step_ms) in steps {
            now = now.plus_millis(step_ms);
            identities.advance(now);
            let (id, value) = (id.to_string(), value.to_string());
            let hashes = EventHashes::of(&key(), &event(&tenant(true, 0), &id, None, &value), now);
            let seen = identities.seen(&hashes);
            prop_assert_eq!(seen, model.seen(&id, &value, now));
            if seen == Seen::New {
                identities.remember(&hashes, now);
                model.remember(&id, &value, now);
            }
            let kept = model.0.keys().filter(|id| model.seen(id, "0", now) != Seen::New).count();
            prop_assert_eq!(identities.remembered(), kept);
        }
    }

    /// Copies with the same `time` are counted as by a plain set of ids, although the shard
    /// forgets: what it has forgotten is too late.
    #[test]
    fn copies_are_counted_as_by_a_set_that_never_forgets(
        steps in prop::collection::vec((0_usize..40, 0_i64..5 * DAY_MS, 0_i64..DAY_MS), 1..150),
    ) {
        let config = support::config();
        let mut first_times = BTreeMap::new();
        let (mut records, mut expected) = (Vec::new(), Vec::new());
        let (mut counted, mut now) = (BTreeSet::new(), at(0));
        for (index, (id, age_ms, step_ms)) in steps.into_iter().enumerate() {
            now = now.plus_millis(step_ms);
            let time = *first_times.entry(id).or_insert(now.plus_millis(HOUR_MS - age_ms));
            let late = time < now.plus_millis(-config.window_ms);
            if !late && counted.insert(id) {
                expected.push(index);
            }
            let event = event(&tenant(true, 0), &id.to_string(), Some(time), "1");
            let offset = i64::try_from(index).unwrap();
            records.push(JournalRecord { offset, broker_time: now, body: RecordBody::Event { event, hops: 0 } });
        }
        let catalogue = support::catalogue();
        let outcome = support::apply_all(&mut support::shard(), &support::cut(&records, vec![]), &catalogue);
        let accepted: Vec<_> = outcome.accepted.iter().map(|accepted| accepted.index).collect();
        prop_assert_eq!(accepted, expected);
    }
}

#[test]
fn hashes_tell_facts_apart() {
    let base = event(&tenant(true, 0), "1", Some(at(5)), "1");
    let change = |change: &dyn Fn(&mut UsageEvent)| {
        let mut other = base.clone();
        change(&mut other);
        let (a, b) = (EventHashes::of(&key(), &base, at(9)), EventHashes::of(&key(), &other, at(9)));
        (a.identity == b.identity, a.facts == b.facts, a.content == b.content)
    };
    assert_eq!(change(&|_| {}), (true, true, true));
    assert_eq!(change(&|e| e.time = Some(at(6))), (true, false, false));
    assert_eq!(change(&|e| e.time = None), (true, false, false));
    assert_eq!(change(&|e| e.event_type = "u".into()), (true, false, false));
    assert_eq!(change(&|e| e.data[0].1 = "2".into()), (true, false, false));
    assert_eq!(change(&|e| e.data.clear()), (true, false, false));
    assert_eq!(change(&|e| e.id = "2".into()), (false, false, false));
    assert_eq!(change(&|e| (e.source, e.id) = ("test1".into(), String::new())), (false, false, false));
}

#[test]
fn an_event_without_time_has_the_content_of_its_arrival_and_the_same_facts_whenever() {
    let timeless = event(&tenant(true, 0), "1", None, "1");
    let timed = UsageEvent { time: Some(at(5)), ..timeless.clone() };
    let (early, late) =
        (EventHashes::of(&key(), &timeless, at(5)), EventHashes::of(&key(), &timeless, at(6)));
    assert_eq!(early.facts, late.facts);
    assert_eq!(early.content, EventHashes::of(&key(), &timed, at(6)).content);
    assert_eq!(early.content, content_hash(&key(), &timeless, at(5)));
    assert_ne!(early.content, late.content);
}
