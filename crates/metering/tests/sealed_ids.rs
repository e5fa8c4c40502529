//! Ids in sealed files, against a plain map: random streams with repetitions across the edges
//! of buckets, broker times that step back and leap, future events and copies with another
//! `time`; buckets sealed whenever; restarts that lose files; ledgers restored to the past,
//! after which the same records are judged otherwise while the old files are still there.

mod support;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::convert::Infallible;

use proptest::prelude::*;
use support::{at, batch, config, event, key, tenant};
use weir_core::time::{DAY_MS, HOUR_MS};
use weir_core::{Homes, Timestamp};
use weir_metering::catalogue::Catalogue;
use weir_metering::event::UsageEvent;
use weir_metering::identity::{MemoryPlan, RememberedId, SealedFile};
use weir_metering::outcome::{Outcome, RejectReason, Verdict};
use weir_metering::record::{Batch, BodyRef, JournalRecord, RecordBody};
use weir_metering::shard::{Recovered, Shard};

/// What happens between records.
#[derive(Clone, Debug)]
enum Step {
    /// The next records are counted in one batch.
    Count(usize),
    /// Complete buckets are sealed, those that the mask names.
    Seal(u8),
    /// The shard is built again, without the files that the mask names.
    Restart { lost: u8 },
    /// The ledger goes back by some batches, and the shard is built again. From then on the
    /// second tenant is known, or is not.
    Restore { batches: usize, second_tenant: bool },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (1_usize..9).prop_map(Step::Count),
        6 => any::<u8>().prop_map(Step::Seal),
        2 => any::<u8>().prop_map(|lost| Step::Restart { lost }),
        1 => Just(Step::Restart { lost: 0 }),
        2 => (0_usize..6, any::<bool>()).prop_map(|(batches, second_tenant)| Step::Restore {
            batches,
            second_tenant,
        }),
    ]
}

fn records() -> impl Strategy<Value = Vec<JournalRecord>> {
    let window = config().window_ms;
    let age_ms = prop_oneof![
        2 => Just(None),
        6 => (0..window).prop_map(Some),
        1 => prop::sample::select(vec![window, window + 1, -HOUR_MS, -HOUR_MS - 1]).prop_map(Some),
    ];
    let step_ms = prop_oneof![
        8 => 0..6 * HOUR_MS,
        2 => prop::sample::select(vec![0, 1, -HOUR_MS, -DAY_MS]),
        1 => prop::sample::select(vec![DAY_MS, 2 * DAY_MS, 4 * DAY_MS]),
    ];
    let draft = (0_u16..40, 0_usize..2, 0_u8..2, age_ms, step_ms, 1_i64..3);
    prop::collection::vec(draft, 1..200).prop_map(|drafts| {
        let (mut now_ms, mut offset) = (0, 0);
        let record = |(id, of, value, age_ms, step_ms, gap): (u16, usize, u8, Option<i64>, i64, i64)| {
            now_ms = (now_ms + step_ms).max(0);
            offset += gap;
            let time = age_ms.map(|age| at(now_ms - age));
            let event = event(&tenant(true, of), &id.to_string(), time, &value.to_string());
            JournalRecord { offset, broker_time: at(now_ms), body: RecordBody::Event { event, hops: 0 } }
        };
        drafts.into_iter().map(record).collect()
    })
}

/// The plain map: what was accepted, with its facts and its day of arrival.
#[derive(Clone, Default)]
struct Model {
    known: BTreeMap<(String, String), (UsageEvent, i64)>,
    now: Timestamp,
}

impl Model {
    fn is_kept(&self, day: i64) -> bool {
        self.now.millis() < (day + 1) * DAY_MS + config().window_ms + config().future_ms
    }

    /// What becomes of a record; `None` when it is accepted.
    fn judge(&mut self, record: &JournalRecord, catalogue: &Catalogue) -> Option<Verdict> {
        self.now = self.now.max(record.broker_time);
        let RecordBody::Event { event, .. } = &record.body else { return Some(Verdict::Control) };
        if catalogue.tenant(&event.tenant).is_none() {
            return Some(Verdict::Rejected(RejectReason::UnknownTenant));
        }
        let id = (event.tenant.clone(), event.id.clone());
        if let Some((first, day)) = self.known.get(&id)
            && self.is_kept(*day)
        {
            return Some(if first == event { Verdict::Duplicate } else { Verdict::Conflict });
        }
        let time = event.time_or(record.broker_time);
        if time < self.now.plus_millis(-config().window_ms) {
            return Some(Verdict::Rejected(RejectReason::TooLate));
        }
        if time > self.now.plus_millis(config().future_ms) {
            return Some(Verdict::Rejected(RejectReason::InFuture));
        }
        self.known.insert(id, (event.clone(), self.now.millis() / DAY_MS));
        None
    }

    fn kept(&self) -> usize {
        self.known.values().filter(|(_, day)| self.is_kept(*day)).count()
    }
}

/// A file, and the name under which the ledger recorded it.
struct File {
    name: u64,
    covers: SealedFile,
    ids: Vec<RememberedId>,
}

struct House {
    records: Vec<JournalRecord>,
    shard: Shard,
    bucket_ids: usize,
    catalogue: Catalogue,
    files: Vec<File>,
    names: u64,
    /// The ledger: committed batches with the accepted offsets and the running maximum after
    /// each, how the model stood then, and which files were recorded up to then.
    chain: Vec<(Batch, BTreeSet<i64>, Timestamp, Model)>,
    recorded: Vec<(u64, usize)>,
    suspects: usize,
}

fn catalogue(second_tenant: bool) -> Catalogue {
    let all = support::catalogue();
    let known = all.tenants.into_iter().filter(|(id, _)| second_tenant || *id != tenant(true, 1));
    Catalogue::new(1, support::meters(), known.collect::<HashMap<_, _>>(), Homes::new(support::PARTITIONS))
}

fn new_shard(recovered: Recovered, bucket_ids: usize) -> Shard {
    let mut shard = Shard::new(config(), key(), recovered);
    shard.bound_buckets(bucket_ids);
    shard
}

impl House {
    fn new(records: Vec<JournalRecord>, bucket_ids: usize) -> Self {
        Self {
            records,
            shard: new_shard(Recovered::default(), bucket_ids),
            bucket_ids,
            catalogue: catalogue(true),
            files: vec![],
            names: 0,
            chain: vec![],
            recorded: vec![],
            suspects: 0,
        }
    }

    fn model(&self) -> Model {
        self.chain.last().map(|(_, _, _, model)| model.clone()).unwrap_or_default()
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Count(records) => self.count(records),
            Step::Seal(mask) => self.seal(mask),
            Step::Restart { lost } => {
                let mut number = 0;
                self.files.retain(|_| {
                    number += 1;
                    lost >> (number % 8) & 1 == 0
                });
                self.restart();
            }
            Step::Restore { batches, second_tenant } => {
                self.chain.truncate(self.chain.len() - batches.min(self.chain.len()));
                self.recorded.retain(|(_, batches)| *batches <= self.chain.len());
                self.catalogue = catalogue(second_tenant);
                self.restart();
            }
        }
    }

    fn count(&mut self, records: usize) {
        let from = self.shard.next_offset();
        let rest = self.records.iter().filter(|record| record.offset >= from).take(records);
        let rest: Vec<_> = rest.cloned().collect();
        let Some(last) = rest.last() else { return };
        let batch = batch(from, last.offset + 1, rest);
        let suspects = self.shard.suspects(&batch);
        self.suspects += suspects.list().len();
        let found = suspects.list().iter().map(|suspect| {
            let file =
                self.files.iter().find(|f| f.covers.from == suspect.file_from && self.has(f.name)).unwrap();
            let at = file.ids.binary_search_by_key(&suspect.key, |id| id.key).ok()?;
            Some(file.ids[at].fingerprint)
        });
        let found: Vec<_> = found.collect();
        let answers = suspects.settled(&found);
        let outcome = self.shard.apply_settled(&batch, &self.catalogue, answers);
        self.commit(batch, &outcome);
    }

    fn commit(&mut self, batch: Batch, outcome: &Outcome) {
        let mut model = self.model();
        let mut excepted = outcome.exceptions.iter().map(|e| (e.offset, e.verdict)).peekable();
        let mut accepted = BTreeSet::new();
        for record in batch.to_records() {
            let expected = model.judge(&record, &self.catalogue);
            let found = excepted.next_if(|(offset, _)| *offset == record.offset).map(|(_, verdict)| verdict);
            assert_eq!(found, expected, "offset {}", record.offset);
            if found.is_none() {
                accepted.insert(record.offset);
            }
        }
        assert_eq!(self.shard.remembered_ids(), model.kept());
        self.chain.push((batch, accepted, outcome.broker_time_max, model));
    }

    fn has(&self, name: u64) -> bool {
        self.recorded.iter().any(|(known, _)| *known == name)
    }

    fn seal(&mut self, mask: u8) {
        let before = self.shard.remembered_ids();
        for (number, covers) in self.shard.complete_buckets(self.shard.next_offset()).into_iter().enumerate()
        {
            if mask >> (number % 8) & 1 == 0 {
                continue;
            }
            let ids: Vec<_> = self.shard.ids_of(&covers).collect();
            assert!(ids.is_sorted() && ids.len() == usize::try_from(covers.ids).unwrap());
            self.names += 1;
            self.files.push(File { name: self.names, covers, ids });
            self.recorded.push((self.names, self.chain.len()));
            assert!(self.shard.seal(&covers) && self.shard.sealed_files().contains(&covers));
        }
        assert_eq!(self.shard.remembered_ids(), before);
        assert_eq!(
            self.shard.id_memory().hot_ids + self.shard.id_memory().sealed_ids,
            before.try_into().unwrap()
        );
    }

    /// Builds the shard from the ledger, the journal and the files that the ledger knows.
    fn restart(&mut self) {
        let (next_offset, broker_time_max) =
            self.chain.last().map_or((0, Timestamp::EPOCH), |(batch, _, now, _)| (batch.to, *now));
        let recovered = Recovered { next_offset, broker_time_max, ..Recovered::default() };
        self.shard = new_shard(recovered, self.bucket_ids);
        let since = broker_time_max.plus_millis(-(config().window_ms + config().future_ms + DAY_MS));
        let first = self.chain.iter().find(|(_, _, now, _)| *now >= since);
        let from = first.map_or(next_offset, |(batch, ..)| batch.from);
        let ours = self.files.iter().filter(|file| self.has(file.name));
        let plan = MemoryPlan::new(from, next_offset, ours.clone().map(|file| file.covers));
        let files = plan.files.iter().map(|covers| {
            let file = ours.clone().find(|file| file.covers == *covers).unwrap();
            (*covers, file.ids.iter().map(|id| Ok::<_, Infallible>(id.key.high)))
        });
        let Ok(()) = self.shard.add_files(files.collect());
        for (from, to) in plan.gaps {
            self.shard.begin_recall(from, to);
            let mut running = Timestamp::EPOCH;
            for (batch, accepted, ..) in &self.chain {
                for record in batch.records() {
                    running = running.max(record.broker_time);
                    if let BodyRef::Event(event, _) = record.body
                        && (from..to).contains(&record.offset)
                        && accepted.contains(&record.offset)
                    {
                        self.shard.recall(event, record.offset, running);
                    }
                }
            }
        }
        assert_eq!(self.shard.remembered_ids(), self.model().kept());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn sealed_ids_are_counted_as_by_a_plain_map(
        records in records(),
        steps in prop::collection::vec(step(), 1..120),
        bucket_ids in prop_oneof![1_usize..20, Just(usize::MAX)],
    ) {
        let mut house = House::new(records, bucket_ids);
        for step in steps {
            house.take(step);
        }
    }
}

/// Counts `ids` new ids over `days` days and seals each day, then repeats them all: only
/// suspects are asked for, and few of those that are new.
#[test]
fn the_filter_finds_every_repetition_and_suspects_few_others() {
    let (days, ids_a_day) = (3, 3_000_u32);
    let record = |number: u32, offset: u32, day: i64| {
        let event = event(&tenant(true, 0), &number.to_string(), None, "1");
        let broker_time = at(day * DAY_MS + i64::from(offset % ids_a_day));
        JournalRecord { offset: i64::from(offset), broker_time, body: RecordBody::Event { event, hops: 0 } }
    };
    let all: Vec<_> = (0..days * ids_a_day).map(|n| record(n, n, i64::from(n / ids_a_day))).collect();
    let (first_new, count) = (days * ids_a_day, days * ids_a_day);
    let again = (0..count).map(|n| record(n, first_new + n, 3));
    let others = (0..count).map(|n| record(first_new + n, 2 * first_new + n, 3));
    let mut house = House::new(all.into_iter().chain(again).chain(others).collect(), usize::MAX);
    let each = usize::try_from(ids_a_day).unwrap();
    for _ in 0..days {
        house.take(Step::Count(each));
        house.take(Step::Seal(u8::MAX));
    }
    assert_eq!((house.files.len(), house.suspects), (2, 0), "the third day is not over yet");
    house.take(Step::Count(3 * each));
    let repeated = 2 * each;
    assert!((repeated..repeated + 5).contains(&house.suspects), "{} suspects", house.suspects);
    house.take(Step::Seal(u8::MAX));
    house.take(Step::Restart { lost: 0 });
    house.suspects = 0;
    house.take(Step::Count(3 * each));
    assert!(house.suspects < 10, "{} of 9000 new ids are suspects", house.suspects);
}

#[test]
fn a_day_is_complete_when_it_is_over_although_no_event_follows() {
    let event = RecordBody::Event { event: event(&tenant(true, 0), "1", None, "1"), hops: 0 };
    let record = |offset, ms, body| JournalRecord { offset, broker_time: at(ms), body };
    let records =
        [record(4, 0, event), record(7, DAY_MS - 1, RecordBody::Tick), record(9, DAY_MS, RecordBody::Tick)];
    let mut house = House::new(records.into(), usize::MAX);
    house.take(Step::Count(2));
    assert_eq!(house.shard.complete_buckets(100), []);
    house.take(Step::Count(1));
    assert_eq!(house.shard.complete_buckets(8), [], "the ledger has not counted so far");
    let complete = house.shard.complete_buckets(9);
    assert_eq!(
        complete.iter().map(|bucket| (bucket.from, bucket.to, bucket.ids)).collect::<Vec<_>>(),
        [(0, 9, 1)]
    );
}

#[test]
#[should_panic(expected = "answers that it did not ask for")]
fn answers_of_another_batch_are_refused() {
    let mut house = House::new(vec![], usize::MAX);
    let other = house.shard.suspects(&batch(0, 4, vec![])).settled(&[]);
    house.shard.apply_settled(&batch(0, 5, vec![]), &house.catalogue, other);
}
