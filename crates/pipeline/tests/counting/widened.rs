//! A topic that is given more partitions while events come, of producers that know of it and of
//! some that do not. Nothing is lost or doubled, tenants stay where they are, and those that are
//! created afterwards are spread over all.

use weir_backends::journal::OutgoingRecord;
use weir_backends::ledger::width::{self, Widened};
use weir_backends::postgres;
use weir_core::TenantId;
use weir_core::journal::partition_of;
use weir_metering::event::UsageEvent;
use weir_metering::quota::LimitSet;
use weir_metering::shard::SERIES_MAX;
use weir_pipeline::{ledger_check, widen_topic};
use weir_wire::usage_record::{CONTROL_LIMITS, HEADER_CONTROL, encode_limits};

use crate::admin;
use crate::house::{House, PARTITIONS, TENANTS};
use crate::restored;
use crate::scenarios::{ACCEPTED, check, counted, stack};

const FORWARDED: &str = "SELECT COALESCE(sum(forwarded_count), 0)::bigint FROM batch";
const READ: &str = "SELECT COALESCE(sum(next_offset), 0)::bigint FROM journal_partition";
const LIMITED: &str = "SELECT count(*) FROM limit_in_force WHERE revision = 7";
const OF_TWO_PARTITIONS: &str = "SELECT count(*) FROM (SELECT tenant FROM usage GROUP BY tenant
    HAVING count(DISTINCT partition) > 1) AS t";

/// Says it as the command does: looks, then widens.
async fn widen(house: &House, to: i32) -> Widened {
    let seen = widen_topic::look(&house.pool, &house.kafka, to).await.unwrap();
    assert_eq!((seen.counted, seen.is_needless()), (PARTITIONS, false));
    widen_topic::widen(&house.pool, &house.kafka, &seen, house.now).await.unwrap()
}

/// Tenants that are created among `to` partitions, all of whose hours begin with UTC's.
fn new_tenants() -> Vec<String> {
    (0..TENANTS).map(|nth| format!("t{}", 100 + 2 * nth)).collect()
}

/// An event to where a producer puts it that believes in so many partitions.
fn by(house: &House, event: &UsageEvent, partitions: i32) -> OutgoingRecord {
    let partition = Some(partition_of(event.tenant.as_bytes(), partitions));
    OutgoingRecord { partition, ..house.record(event, 1) }
}

/// Each event by the old number of partitions, by the new one, or by both.
fn by_both(house: &House, events: &[UsageEvent], to: i32) -> Vec<OutgoingRecord> {
    let records = events.iter().enumerate().flat_map(|(nth, event)| match nth % 3 {
        0 => vec![by(house, event, PARTITIONS)],
        1 => vec![by(house, event, to)],
        _ => vec![by(house, event, to), by(house, event, PARTITIONS)],
    });
    records.collect()
}

/// How many of the records stand where their tenant does not live.
fn foreign(records: &[OutgoingRecord], width: impl Fn(&str) -> i32) -> i64 {
    let is_foreign = |record: &&OutgoingRecord| {
        let tenant = std::str::from_utf8(record.key.as_deref().unwrap()).unwrap();
        record.partition.is_some_and(|partition| partition != partition_of(tenant.as_bytes(), width(tenant)))
    };
    i64::try_from(records.iter().filter(is_foreign).count()).unwrap()
}

/// A tenant that would live elsewhere if it were created among six partitions.
fn one_that_would_move() -> String {
    let moves =
        |tenant: &String| partition_of(tenant.as_bytes(), PARTITIONS) != partition_of(tenant.as_bytes(), 6);
    (100..).step_by(2).map(|nth| format!("t{nth}")).find(moves).unwrap()
}

/// Limits of an event's tenant, where a producer puts them that believes in so many partitions.
fn limits(house: &House, event: &UsageEvent, partitions: i32) -> OutgoingRecord {
    let limits = LimitSet { tenant: TenantId::new(&event.tenant).unwrap(), revision: 7, limits: vec![] };
    OutgoingRecord {
        value: Some(encode_limits(&limits)),
        headers: vec![(HEADER_CONTROL.into(), CONTROL_LIMITS.into())],
        ..by(house, event, partitions)
    }
}

async fn home_width(house: &House, tenant: &str) -> i32 {
    let width = sqlx::query_scalar("SELECT home_width FROM tenant WHERE id = $1").bind(tenant);
    width.fetch_one(&house.pool).await.unwrap()
}

async fn sound(house: &House) {
    let key = postgres::installation(&house.pool, &house.kafka).await.unwrap().identity_key;
    for found in ledger_check::check(&house.pool, &house.clickhouse, &key, SERIES_MAX, &()).await.unwrap() {
        assert_eq!((found.differences, found.notes), (vec![], vec![]));
    }
}

/// Under load, with a process killed before and after, and one that goes on all the while.
async fn widened_under_load(name: &str, to: i32) {
    let house = House::build(stack(), name).await;
    let running = house.start();
    let old: Vec<UsageEvent> = (0..1_200).map(|nth| house.event(nth)).collect();
    let narrow: Vec<_> = old.iter().map(|event| by(&house, event, PARTITIONS)).collect();
    let (first, rest) = narrow.split_at(600);
    house.produce(first.to_vec()).await;
    house.until(ACCEPTED, 600, 60).await;
    running.kill().await;
    let running = house.start();
    // One that starts between Kafka's widening and the ledger's ends, and is started again.
    running.until_counting(4).await;

    let producing = async {
        for part in rest.chunks(20) {
            house.produce(part.to_vec()).await;
        }
    };
    let (widened, ()) = tokio::join!(widen(&house, to), producing);
    assert_eq!(widened, Widened::To(to));
    for tenant in new_tenants() {
        house.add_tenant(&tenant, "now() + interval '20 days'").await;
    }
    running.until_counting(usize::try_from(to).unwrap()).await;

    let old_again: Vec<UsageEvent> = (1_000..2_000).map(|nth| house.event(nth)).collect();
    let tenants = new_tenants();
    let of_new = |nth: usize| UsageEvent { tenant: tenants[nth % TENANTS].clone(), ..house.event(nth) };
    let new: Vec<UsageEvent> = (0..900).map(of_new).collect();
    let mut records = by_both(&house, &old_again, to);
    records.extend(by_both(&house, &new, to));
    // Kafka's clients learn of new partitions in their own time.
    house.produce_patiently(records[..1_000].to_vec()).await;
    running.kill().await;
    let running = house.start();
    house.produce_patiently(records[1_000..].to_vec()).await;

    let width = |tenant: &str| if tenants.iter().any(|new| new == tenant) { to } else { PARTITIONS };
    house.until(ACCEPTED, 2_000 + 900, 90).await;
    house.until(FORWARDED, foreign(&records, width), 30).await;
    check(&house, &[old, old_again, new].concat()).await;
    assert_eq!(house.number(OF_TWO_PARTITIONS).await, 0);
    let homes: Vec<(String, i32)> =
        sqlx::query_as("SELECT DISTINCT tenant, partition FROM usage").fetch_all(&house.pool).await.unwrap();
    for (tenant, home) in homes {
        assert_eq!(home, partition_of(tenant.as_bytes(), width(&tenant)), "{tenant}");
    }
    assert_eq!(house.number("SELECT COALESCE(sum(rejected_count), 0)::bigint FROM batch").await, 0);
    house.expect_whole_chain().await;
    sound(&house).await;
    assert!(running.status.problems().is_empty(), "{:?}", running.status.problems());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn widened_to_a_multiple_under_load_every_event_is_counted_once() {
    widened_under_load("widened_double", 2 * PARTITIONS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn widened_by_one_under_load_every_event_is_counted_once() {
    widened_under_load("widened_by_one", PARTITIONS + 1).await;
}

/// Kafka's own tool has widened the topic, or a run of the command ended in between. Who counted
/// before waits for the command, and so does who starts meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_somebody_widened_is_held_until_the_command_was_given() {
    let house = House::build(stack(), "widened_by_tool").await;
    let running = house.start();
    let mut all = counted(&house, 300).await;
    admin::widen(&house.kafka, 6).await;
    running.until_problems("`weir ledger widen --to 6` counts all", 6).await;
    let started = house.start();
    started.until_said("`weir ledger widen --to 6` counts all", 30).await;
    let read = house.number(READ).await;
    let events: Vec<_> = (300..600).map(|nth| house.event(nth)).collect();
    house.produce_patiently(by_both(&house, &events, 6)).await;
    all.extend(events);
    let refused = async |to| widen_topic::look(&house.pool, &house.kafka, to).await.unwrap_err().to_string();
    assert!(refused(3).await.contains("cannot be narrowed"));
    assert!(refused(5).await.contains("say --to 6") && refused(8).await.contains("say --to 6"));
    assert_eq!(house.number(READ).await, read, "nothing is counted meanwhile");

    // Two say it at once, from what both have seen before.
    let seen = widen_topic::look(&house.pool, &house.kafka, 6).await.unwrap();
    assert_eq!((seen.counted, seen.found, seen.partitions.len()), (4, 6, 2));
    let run = || widen_topic::widen(&house.pool, &house.kafka, &seen, house.now);
    let (one, other) = tokio::join!(run(), run());
    let mut done = [one.unwrap(), other.unwrap()];
    done.sort_by_key(|done| matches!(done, Widened::Already(_)));
    assert_eq!(done, [Widened::To(6), Widened::Already(6)]);
    assert!(widen_topic::look(&house.pool, &house.kafka, 6).await.unwrap().is_needless());
    assert_eq!(width::widen(&house.pool, 4, 8, house.now).await.unwrap(), Widened::Already(6));

    house.until(ACCEPTED, 600, 60).await;
    check(&house, &all).await;
    running.stop().await;
    started.until_counting(6).await;
    sound(&house).await;
    started.stop().await;
}

/// The tenant of a restored ledger is created again before the topic is widened again, so it is at
/// home elsewhere than what was written of it believes.
#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_restored_to_before_the_widening_loses_nothing() {
    let mut house = House::build(stack(), "widened_restored").await;
    let running = house.start();
    let mut all = counted(&house, 300).await;
    house.settle(30).await;
    running.stop().await;
    restored::copy(&mut house, "widened_restored_copy").await;

    let running = house.start();
    running.until_counting(4).await;
    assert_eq!(widen(&house, 6).await, Widened::To(6));
    let tenant = one_that_would_move();
    house.add_tenant(&tenant, "now() + interval '20 days'").await;
    let mut events: Vec<_> = (300..600).map(|nth| house.event(nth)).collect();
    events.extend((0..200).map(|nth| UsageEvent { tenant: tenant.clone(), ..house.event(nth) }));
    house.produce_patiently(by_both(&house, &events, 6)).await;
    house.produce_patiently(vec![limits(&house, &events[300], 6)]).await;
    all.extend(events);
    house.until(ACCEPTED, 800, 90).await;
    house.until(LIMITED, 1, 30).await;
    check(&house, &all).await;
    running.stop().await;

    restored::open(&mut house, "widened_restored_copy").await;
    let running = house.start();
    running.until_said("weir ledger widen --to 6", 30).await;
    house.add_tenant(&tenant, "now() + interval '20 days'").await;
    assert_eq!(widen(&house, 6).await, Widened::To(6));
    assert_eq!(home_width(&house, &tenant).await, PARTITIONS);
    let moved = sqlx::query("UPDATE tenant SET home_width = 6 WHERE id = $1").bind(&tenant);
    assert!(moved.execute(&house.pool).await.unwrap_err().to_string().contains("keeps the partition"));
    house.until(ACCEPTED, 800, 90).await;
    house.until(LIMITED, 1, 30).await;
    check(&house, &all).await;
    assert_eq!(house.number(OF_TWO_PARTITIONS).await, 0);
    assert_eq!(house.number("SELECT COALESCE(sum(rejected_count), 0)::bigint FROM batch").await, 0);
    house.expect_whole_chain().await;
    sound(&house).await;
    running.stop().await;
}

/// A restored ledger reads limits again of a tenant that it has lost; the topic is widened before
/// the tenant is there again.
#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_is_created_to_where_its_limits_are() {
    let house = House::build(stack(), "widened_limits").await;
    let running = house.start();
    let tenant = one_that_would_move();
    let of_it = |nth| UsageEvent { tenant: tenant.clone(), ..house.event(nth) };
    house.produce(vec![limits(&house, &of_it(0), PARTITIONS)]).await;
    house.until(LIMITED, 1, 60).await;
    assert_eq!(widen(&house, 6).await, Widened::To(6));
    running.until_counting(6).await;
    house.add_tenant(&tenant, "now() + interval '20 days'").await;
    assert_eq!(home_width(&house, &tenant).await, PARTITIONS);
    let events: Vec<_> = (0..200).map(of_it).collect();
    house.produce_patiently(by_both(&house, &events, 6)).await;
    house.until(ACCEPTED, 200, 60).await;
    let together = "SELECT count(*) FROM limit_in_force l
        WHERE ARRAY[l.partition] = (SELECT array_agg(DISTINCT u.partition) FROM usage u WHERE u.tenant = l.tenant)";
    house.until(together, 1, 30).await;
    check(&house, &events).await;
    sound(&house).await;
    running.stop().await;
}

/// What Kafka has deleted of a new partition before the ledger counted it is not passed over.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_partition_that_was_trimmed_before_it_was_counted_is_refused() {
    let house = House::build(stack(), "widened_trimmed").await;
    let running = house.start();
    running.until_counting(4).await;
    running.stop().await;
    admin::widen(&house.kafka, 5).await;
    let records: Vec<_> =
        (0..8).map(|nth| OutgoingRecord { partition: Some(4), ..by(&house, &house.event(nth), 4) }).collect();
    house.produce_patiently(records).await;
    admin::trim_below(&house.kafka, 4, 3).await;
    let seen = widen_topic::look(&house.pool, &house.kafka, 5).await.unwrap();
    assert_eq!(seen.partitions[0].held, Some((3, 8)));
    assert_eq!(widen(&house, 5).await, Widened::To(5));
    let running = house.start();
    running.until_problems("the journal was trimmed to offset 3, but only 0 is counted", 1).await;
    running.stop().await;
}
