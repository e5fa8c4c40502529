//! A topic that is given more partitions while events come, by producers that know of it and by
//! some that do not: every event is counted once, in the home of its tenant, in this history of the
//! ledger and in those that follow when it is restored.

mod support;

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;
use support::{at, event, facts, key, meters};
use weir_core::journal::partition_of;
use weir_core::time::DAY_MS;
use weir_core::{Homes, TenantId};
use weir_metering::catalogue::Catalogue;
use weir_metering::outcome::Verdict;
use weir_metering::record::{Batch, JournalRecord, RecordBody};
use weir_metering::shard::{HOPS_MAX, Recovered, Shard, ShardConfig};

/// Half of the tenants are there before the topic is widened, half are created afterwards.
const TENANTS: usize = 8;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// An event of a tenant, by the old number of partitions, by the new one, or by both.
    Send { tenant: usize, id: usize, old: bool, new: bool },
    /// A partition is counted up to so many records further.
    Count { partition: usize, records: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let send = (0..TENANTS, 0..12_usize, any::<bool>(), any::<bool>());
    let count = (0..8_usize, 1..5_usize);
    prop_oneof![
        3 => send.prop_map(|(tenant, id, old, new)| Step::Send { tenant, id, old, new }),
        1 => count.prop_map(|(partition, records)| Step::Count { partition, records }),
    ]
}

fn name(tenant: usize) -> TenantId {
    TenantId::new(&format!("tenant-{tenant}")).unwrap()
}

/// The journal: records by partition.
type Logs = Vec<Vec<JournalRecord>>;

fn append(logs: &mut Logs, partition: i32, body: RecordBody) {
    let log = &mut logs[usize::try_from(partition).unwrap()];
    let offset = i64::try_from(log.len()).unwrap();
    log.push(JournalRecord { offset, broker_time: at(offset), body });
}

/// What one history of the ledger has counted so far.
struct Ledger {
    shards: Vec<Shard>,
    /// How often each event was counted, and where.
    counted: BTreeMap<(String, String), Vec<i32>>,
    forwarded: usize,
}

impl Ledger {
    fn new(partitions: usize) -> Self {
        let shard = |partition: usize| {
            let config = ShardConfig {
                generation: 1,
                partition: i32::try_from(partition).unwrap(),
                window_ms: 3 * DAY_MS,
                future_ms: DAY_MS,
                series_max: 10,
            };
            Shard::new(config, key(), Recovered::default())
        };
        Self { shards: (0..partitions).map(shard).collect(), counted: BTreeMap::new(), forwarded: 0 }
    }

    /// Counts a partition further; what belongs elsewhere is appended there. Whether there was any.
    fn count(&mut self, logs: &mut Logs, partition: usize, records: usize, homes: &Homes) -> bool {
        let known = (0..TENANTS).map(|tenant| (name(tenant), facts(0, -4, 2, 30)));
        let catalogue = Catalogue::new(1, meters(), known.collect::<HashMap<_, _>>(), homes.clone());
        let shard = &mut self.shards[partition];
        let from = shard.next_offset();
        let start = usize::try_from(from).unwrap();
        let end = (start + records).min(logs[partition].len());
        if start == end {
            return false;
        }
        let part = logs[partition][start..end].to_vec();
        let batch = Batch::of(shard.config().partition, from, i64::try_from(end).unwrap(), part.clone());
        let outcome = shard.apply(&batch, &catalogue);
        assert_eq!(outcome.dead_letters, [], "nothing is lost");
        for one in &outcome.accepted {
            let RecordBody::Event { event, .. } = &part[one.index].body else { panic!("only events") };
            let place = self.counted.entry((event.tenant.clone(), event.id.clone())).or_default();
            place.push(shard.config().partition);
        }
        assert!(
            outcome
                .exceptions
                .iter()
                .all(|one| matches!(one.verdict, Verdict::Duplicate | Verdict::Forwarded))
        );
        self.forwarded += outcome.forwards.len();
        for forward in outcome.forwards {
            let RecordBody::Event { event, .. } = part[forward.index].body.clone() else {
                panic!("only events")
            };
            append(logs, forward.to, RecordBody::Event { event, hops: forward.hops });
        }
        true
    }

    fn count_all(&mut self, logs: &mut Logs, homes: &Homes) {
        while (0..logs.len()).any(|partition| self.count(logs, partition, 3, homes)) {}
    }

    /// Each event once, at home.
    fn check(&self, sent: &BTreeMap<(String, String), ()>, homes: &Homes) {
        assert!(self.counted.keys().eq(sent.keys()), "{:?}", self.counted);
        for ((tenant, id), places) in &self.counted {
            assert_eq!(*places, [homes.of(tenant)], "{tenant}/{id}");
        }
    }
}

/// Where tenants are at home when those of `later` were created among `to` partitions.
fn homes((from, to): (i32, i32), later: impl Fn(usize) -> bool) -> Homes {
    (0..TENANTS)
        .filter(|tenant| !later(*tenant))
        .fold(Homes::new(to), |all, tenant| all.with(name(tenant), from))
}

proptest! {
    #[test]
    fn every_event_is_counted_once_at_home(
        from in 1..=4_i32,
        more in 1..=4_i32,
        before in prop::collection::vec(step(), 0..40),
        after in prop::collection::vec(step(), 0..60),
        restorations in prop::collection::vec(prop::collection::vec(any::<bool>(), TENANTS), 0..=2),
    ) {
        let to = from + more;
        let partitions = usize::try_from(to).unwrap();
        let mut logs: Logs = vec![Vec::new(); partitions];
        let mut ledger = Ledger::new(partitions);
        let mut sent = BTreeMap::new();
        let is_new = |tenant: usize| tenant >= TENANTS / 2;
        let (narrow, wide) = (Homes::new(from), homes((from, to), is_new));
        for (steps, widened) in [(before, false), (after, true)] {
            for step in steps {
                match step {
                    Step::Count { partition, records } => {
                        let homes = if widened { &wide } else { &narrow };
                        ledger.count(&mut logs, partition % partitions, records, homes);
                    }
                    Step::Send { tenant, .. } if is_new(tenant) && !widened => {}
                    Step::Send { tenant, id, old, new } => {
                        let event = event(&name(tenant), &id.to_string(), Some(at(0)), "1");
                        sent.insert((event.tenant.clone(), event.id.clone()), ());
                        let by = |width| partition_of(event.tenant.as_bytes(), width);
                        let places = [(!new || old).then(|| by(from)), (new && widened).then(|| by(to))];
                        for partition in places.into_iter().flatten() {
                            append(&mut logs, partition, RecordBody::Event { event: event.clone(), hops: 0 });
                        }
                        if new && !old && !widened {
                            append(&mut logs, by(from), RecordBody::Event { event, hops: 0 });
                        }
                    }
                }
            }
        }
        ledger.count_all(&mut logs, &wide);
        ledger.check(&sent, &wide);
        // Restored to before the first record, with some of the tenants created again among fewer
        // partitions than before, or among more.
        prop_assert!(restorations.len() < usize::from(HOPS_MAX));
        for created_wide in restorations {
            let homes = homes((from, to), |tenant| created_wide[tenant]);
            let mut restored = Ledger::new(partitions);
            restored.count_all(&mut logs, &homes);
            restored.check(&sent, &homes);
        }
    }
}

/// By hand: what goes where when a topic of three partitions gets four.
#[test]
fn an_old_tenant_stays_and_a_new_one_does_not_depend_on_who_sends() {
    let is_new = |tenant: usize| tenant >= TENANTS / 2;
    let (narrow, wide) = (Homes::new(3), homes((3, 4), is_new));
    let moving = (0..TENANTS / 2)
        .find(|tenant| Homes::new(4).of(name(*tenant).as_str()) != narrow.of(name(*tenant).as_str()));
    let tenant = name(moving.expect("one of four would move"));
    let mut logs: Logs = vec![Vec::new(); 4];
    let mut ledger = Ledger::new(4);
    for width in [3, 4] {
        let event = event(&tenant, "1", Some(at(0)), "1");
        append(&mut logs, partition_of(event.tenant.as_bytes(), width), RecordBody::Event { event, hops: 0 });
    }
    ledger.count_all(&mut logs, &wide);
    assert_eq!(ledger.forwarded, 1);
    assert_eq!(ledger.counted.into_values().collect::<Vec<_>>(), [vec![narrow.of(tenant.as_str())]]);
}
