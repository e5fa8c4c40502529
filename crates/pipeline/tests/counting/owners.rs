//! Partitions go from hand to hand, or are in two hands at once.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::answers::proxied;
use crate::house::House;
use crate::scenarios::{ACCEPTED, check, counted, journal, stack};

#[tokio::test(flavor = "multi_thread")]
async fn partitions_move_under_load_and_every_event_is_counted_once() {
    let house = House::build(stack(), "moved").await;
    let one = house.start();
    let done = AtomicBool::new(false);
    let mut all = Vec::new();
    let load = async {
        let mut sent = 0;
        while !done.load(Ordering::SeqCst) {
            let (events, records) = journal(&house, usize::saturating_sub(sent, 20), sent + 200);
            sent += 200;
            all.extend(events);
            house.produce(records).await;
            // Counting keeps up, so that the load lasts as long as the moves do.
            while house.number(ACCEPTED).await + 2_000 < i64::try_from(sent).unwrap() {
                tokio::task::yield_now().await;
            }
        }
        sent
    };
    let moves = async {
        one.until_counting(4).await;
        for is_killed in [true, false] {
            let other = house.start();
            other.until_counting(2).await;
            one.until_counting(2).await;
            if is_killed {
                other.kill().await;
            } else {
                other.stop().await;
            }
            one.until_counting(4).await;
        }
        done.store(true, Ordering::SeqCst);
    };
    let (sent, ()) = tokio::join!(load, moves);
    house.until(ACCEPTED, i64::try_from(sent).unwrap(), 60).await;
    house.expect_whole_chain().await;
    check(&house, &all).await;
    one.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_owners_that_know_nothing_of_each_other_count_every_event_once() {
    let house = House::build(stack(), "twins").await;
    let one = house.start();
    let other = house.start_with(|aggregator| aggregator.kafka.group = "twins.other".to_owned());
    let mut all = Vec::new();
    for round in 0..10 {
        let (events, records) = journal(&house, (round * 200_usize).saturating_sub(20), (round + 1) * 200);
        all.extend(events);
        house.produce(records).await;
        house.until(ACCEPTED, i64::try_from((round + 1) * 200).unwrap(), 60).await;
    }
    house.expect_whole_chain().await;
    check(&house, &all).await;
    one.kill().await;
    other.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_wakes_with_a_commit_on_its_way_is_refused() {
    let house = House::build(stack(), "woken").await;
    let (proxy, pool) = proxied(&house).await;
    let frozen = house.start_with(|aggregator| aggregator.pool = pool);
    let mut all = counted(&house, 300).await;
    house.settle(30).await;
    // Its commits get as far as the proxy.
    proxy.hold();
    let (events, records) = journal(&house, 280, 600);
    all.extend(events);
    house.produce(records).await;
    let other = house.start_with(|aggregator| aggregator.kafka.group = "woken.other".to_owned());
    house.until(ACCEPTED, 600, 60).await;
    proxy.release();
    let (events, records) = journal(&house, 580, 900);
    all.extend(events);
    house.produce(records).await;
    house.until(ACCEPTED, 900, 60).await;
    house.expect_whole_chain().await;
    check(&house, &all).await;
    // The token refused its writes; the ledger's keys, which would have as well, were not asked.
    let partitions = frozen.status.snapshot().partitions;
    let errors: Vec<_> = partitions.values().filter_map(|status| status.last_error.as_ref()).collect();
    assert!(!errors.iter().any(|words| words.contains("duplicate key")), "{errors:?}");
    frozen.kill().await;
    other.kill().await;
}
