//! A batch that was judged by one catalogue is committed under a newer one only where the newer
//! one would judge it alike; then both outcomes are the same indeed.

mod support;

use support::{PARTITIONS, at, batch, catalogue, config, event, facts, filter, meters, shard, tenant};
use weir_core::time::{DAY_MS, HOUR_MS};
use weir_core::{Homes, Timestamp};
use weir_metering::catalogue::Catalogue;
use weir_metering::meter::{FilterOperator, Meter};
use weir_metering::record::{Batch, JournalRecord, RecordBody};

/// Two events: of a tenant that is known from the beginning, and of one that is not.
fn two_events() -> Batch {
    let tenants = [tenant(true, 0), tenant(true, 4)];
    let records = tenants.iter().enumerate().map(|(offset, tenant)| {
        let offset = i64::try_from(offset).unwrap();
        let event = event(tenant, &offset.to_string(), None, "1");
        JournalRecord { offset, broker_time: at(HOUR_MS), body: RecordBody::Event { event, hops: 0 } }
    });
    batch(0, 2, records.collect())
}

/// The tests' catalogue as another version.
fn second() -> Catalogue {
    Catalogue::new(2, meters(), catalogue().tenants, catalogue().homes)
}

/// The same with more partitions, among which the batch's unknown tenant would live here or not.
/// Those that are known keep their homes.
fn widened(stays: bool) -> Catalogue {
    let unknown = tenant(true, 4);
    let would_live = |width: &i32| Homes::new(*width).of(unknown.as_str());
    let here = would_live(&PARTITIONS);
    let to = (PARTITIONS + 1..).find(|width| (would_live(width) == here) == stays).unwrap();
    let mut newer = second();
    newer.homes = newer.tenants.keys().fold(Homes::new(to), |all, known| all.with(known.clone(), PARTITIONS));
    newer
}

fn with_meters(change: impl FnOnce(&mut Vec<Meter>)) -> Catalogue {
    let mut changed = meters();
    change(&mut changed);
    Catalogue::new(2, changed, catalogue().tenants, catalogue().homes)
}

#[test]
fn only_what_the_batch_used_matters() {
    let newer = |of, facts| second().with_tenant(tenant(true, of), facts);
    let mut elsewhere = second();
    elsewhere.homes = Homes::new(PARTITIONS).with(tenant(true, 3), PARTITIONS + 1);
    let cases = [
        ("nothing changed", true, second()),
        ("another tenant is created", true, newer(7, facts(0, -4, 2, 30))),
        ("the batch's unknown tenant is created", false, newer(4, facts(0, -4, 2, 30))),
        ("periods are added far ahead", true, newer(0, facts(0, -4, 2, 31))),
        ("a tenant without periods gets some", false, newer(3, facts(0, 0, 1, 3))),
        ("periods are other ones", false, newer(0, facts(0, -4, 1, 60))),
        ("hours begin elsewhere", false, newer(2, facts(30, 1, 1, 4))),
        ("the topic is widened, and the batch's unknown tenant would stay", true, widened(true)),
        ("the topic is widened, and the batch's unknown tenant would move", false, widened(false)),
        ("a known tenant lives elsewhere", false, elsewhere),
        ("a meter goes", false, with_meters(|meters| meters.truncate(6))),
        (
            "a meter chooses otherwise",
            false,
            with_meters(|meters| meters[0].filters.push(filter("region", FilterOperator::In, &["r9"]))),
        ),
    ];
    let (batch, old) = (two_events(), catalogue());
    let horizon: Timestamp = at(HOUR_MS).plus_millis(config().future_ms);
    for (words, alike, newer) in cases {
        assert_eq!(old.judges_alike(&newer, &batch, horizon), alike, "{words}");
        if alike {
            assert_eq!(shard().apply(&batch, &old), shard().apply(&batch, &newer), "{words}");
        }
    }
}

#[test]
fn added_periods_matter_where_the_known_ones_end_too_early() {
    let batch = two_events();
    let known = catalogue().with_tenant(tenant(true, 0), facts(0, -1, 1, 2));
    let newer = second().with_tenant(tenant(true, 0), facts(0, -1, 1, 9));
    assert!(known.judges_alike(&newer, &batch, at(DAY_MS - 1)));
    assert!(!known.judges_alike(&newer, &batch, at(DAY_MS)));
}

#[test]
fn a_tenant_that_is_gone_matters() {
    let mut newer = second();
    newer.tenants.remove(&tenant(true, 2));
    assert!(!catalogue().judges_alike(&newer, &two_events(), at(DAY_MS)));
}
