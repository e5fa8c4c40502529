//! The answer to COMMIT is lost: a proxy between the aggregator and Postgres loses it, or
//! the request. What became of the commit is found out, and the batch is counted once.

use std::sync::atomic::{AtomicBool, Ordering};

use local_stack::{Moment, Proxy};
use weir_backends::config::PostgresConfig;
use weir_backends::postgres::{self, Pool};

use crate::house::House;
use crate::scenarios::{ACCEPTED, check, counted, journal, stack};

/// Only the request of a commit holds it: the version of the code that judged the batch.
const COMMIT: &[u8] = concat!("weir ", env!("CARGO_PKG_VERSION")).as_bytes();
/// Who has taken each partition; another token means that it was taken again.
const OWNERS: &str = "SELECT string_agg(encode(owner, 'hex'), ' ' ORDER BY partition) FROM journal_partition";
const MOMENTS: [Moment; 3] = [Moment::BeforeRequest, Moment::AfterRequest, Moment::BeforeAnswer];

/// A proxy before the stack's Postgres, and a pool of the house's database through it.
pub(crate) async fn proxied(house: &House) -> (Proxy, Pool) {
    let options = house.pool.connect_options();
    let target = format!("{}:{}", options.get_host(), options.get_port());
    let proxy = Proxy::before(&target).unwrap_or_else(|error| panic!("{error}"));
    let database = options.get_database().unwrap();
    let url = format!("postgres://{}@{}/{database}", options.get_username(), proxy.address());
    let pool = postgres::connect(&PostgresConfig { url, connections_max: 24 }).await.unwrap();
    (proxy, pool)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_is_lost_is_found_out_and_counted_once() {
    let house = House::build(stack(), "answers").await;
    let (proxy, pool) = proxied(&house).await;
    let running = house.start_with(|aggregator| aggregator.pool = pool);
    let mut all = counted(&house, 300).await;
    let owners = house.text(OWNERS).await;
    for (round, moment) in (1..).zip(MOMENTS.into_iter().cycle().take(9)) {
        proxy.cut_at(COMMIT, moment);
        let (events, records) = journal(&house, round * 300 - 20, (round + 1) * 300);
        all.extend(events);
        house.produce(records).await;
        house.until(ACCEPTED, i64::try_from((round + 1) * 300).unwrap(), 30).await;
        assert!(!proxy.is_armed(), "{moment:?} has not come");
        // Nothing was built again: the outcome was found out.
        assert_eq!(house.text(OWNERS).await, owners, "{moment:?}");
    }
    assert_eq!(proxy.cuts(), 9);
    house.expect_whole_chain().await;
    check(&house, &all).await;
    assert!(running.status.problems().is_empty(), "{:?}", running.status.problems());
    running.stop().await;
}

/// Numbers that look random and are the same for a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_cut_at_random_moments_and_every_event_is_counted_once() {
    const ROUNDS: usize = 40;
    let seed = std::env::var("WEIR_SEED").ok().map_or_else(rand_seed, |text| text.parse().unwrap());
    eprintln!("WEIR_SEED={seed}");
    let mut dice = Dice(seed);
    let house = House::build(stack(), "cuts").await;
    let (proxy, pool) = proxied(&house).await;
    let running = house.start_with(|aggregator| {
        aggregator.pool = pool;
        aggregator.settings.batch_interval_ms = 5;
    });
    let mut all = Vec::new();
    let done = AtomicBool::new(false);
    let load = async {
        for round in 0..ROUNDS {
            let (events, records) = journal(&house, (round * 100).saturating_sub(10), (round + 1) * 100);
            all.extend(events);
            house.produce(records).await;
            // Not far ahead of counting, so that each round is cut.
            let least = i64::try_from(round * 100).unwrap() - 300;
            while house.number(ACCEPTED).await < least {
                tokio::task::yield_now().await;
            }
        }
        done.store(true, Ordering::SeqCst);
    };
    let cuts = async {
        while !done.load(Ordering::SeqCst) {
            match dice.roll(4) {
                3 => {
                    proxy.cut();
                }
                moment => proxy.cut_at(COMMIT, MOMENTS[usize::try_from(moment).unwrap()]),
            }
            for _ in 0..dice.roll(400) {
                // A question to the ledger takes about a millisecond.
                house.number("SELECT 1::bigint").await;
            }
        }
    };
    tokio::join!(load, cuts);
    house.until(ACCEPTED, i64::try_from(ROUNDS * 100).unwrap(), 60).await;
    eprintln!("{} connections were cut", proxy.cuts());
    assert!(proxy.cuts() > 10, "{} cuts", proxy.cuts());
    house.expect_whole_chain().await;
    check(&house, &all).await;
    running.stop().await;
}

fn rand_seed() -> u64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()
}
