//! Adjustments as control records: what is written is read again, whatever it holds, and what
//! is no adjustment is refused in words.

use std::collections::BTreeMap;

use proptest::prelude::*;
use weir_core::{HashKey, Position, Quantity, TenantId, Timestamp};
use weir_metering::adjustment::{Adjustment, Change, Entry, void_id};
use weir_metering::event::UsageEvent;
use weir_metering::meter::MeterKey;
use weir_metering::outcome::RejectReason;
use weir_metering::record::RecordBody;
use weir_wire::adjustment::{decode, encode};
use weir_wire::avro::SchemaSet;
use weir_wire::usage_record::{RECORD_BYTES_MAX, RawRecord, decode_record};

fn key() -> HashKey {
    HashKey::new([3; 16])
}

fn of(id: &str, change: Change) -> Adjustment {
    let tenant = TenantId::new("acme").unwrap();
    let (who, why) = ("key \"1\"".to_owned(), "“history” of 2025 \\ ü".to_owned());
    Adjustment { id: id.to_owned(), tenant, who, why, change }
}

fn pairs() -> impl Strategy<Value = Vec<(String, String)>> {
    prop::collection::btree_map("[a-z]{1,3}", "\\PC{0,8}", 0..4).prop_map(|map| map.into_iter().collect())
}

fn any_adjustment() -> impl Strategy<Value = Adjustment> {
    let entry = (pairs(), 0_i64..253_402_300_800_000, any::<i64>(), any::<i64>()).prop_map(
        |(dimensions, at, nanos, event_count)| {
            let (meter, at) = (MeterKey::new("calls").unwrap(), Timestamp::clamped(at));
            let quantity = Quantity::from_nanos(i128::from(nanos)).unwrap();
            of("1", Change::Entry(Entry { meter, dimensions, at, quantity, event_count }))
        },
    );
    let void = (pairs(), 0_i64..253_402_300_800_000, 0_i64..i64::MAX, "\\PC{1,9}").prop_map(
        |(data, time, offset, id)| {
            let position = Position { generation: 2, partition: 3, offset };
            let ids = ("acme".to_owned(), "//gateway".to_owned(), id);
            let time = Some(Timestamp::clamped(time));
            let event = UsageEvent::new(ids, "call".to_owned(), time, data).unwrap();
            of(&void_id(position), Change::Void { position, event })
        },
    );
    prop_oneof![entry, void]
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(adjustment in any_adjustment()) {
        let seal = adjustment.seal(&key());
        let value = encode(&adjustment, seal).to_string();
        let headers: &[(&str, &[u8])] = &[("weir-control", b"adjustment")];
        let record = RawRecord { key: None, payload: Some(value.as_bytes()), headers, offset: 1, broker_time_ms: 5 };
        let body = decode_record(&SchemaSet::shipped(), &record, RECORD_BYTES_MAX).body;
        prop_assert_eq!(body, RecordBody::Adjustment { adjustment, seal, hops: 0 });
    }
}

fn an_entry() -> Entry {
    let (name, value) = ("region".to_owned(), "eu".to_owned());
    Entry {
        meter: MeterKey::new("calls").unwrap(),
        dimensions: vec![(name, value)],
        at: Timestamp::clamped(1),
        quantity: Quantity::from_units(2),
        event_count: 3,
    }
}

fn a_void() -> (Position, UsageEvent) {
    let position = Position { generation: 2, partition: 3, offset: 4 };
    let ids = ("acme".to_owned(), "//gateway".to_owned(), "e-1".to_owned());
    let data = vec![("region".to_owned(), "eu".to_owned())];
    (position, UsageEvent::new(ids, "call".to_owned(), Some(Timestamp::clamped(5)), data).unwrap())
}

/// Changes of one field each: none leaves the seal as it was.
#[test]
fn the_seal_covers_every_field() {
    let pair = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
    let entry = |change: &dyn Fn(&mut Entry)| {
        let mut entry = an_entry();
        change(&mut entry);
        of("1", Change::Entry(entry))
    };
    let void = |change: &dyn Fn(&mut Position, &mut UsageEvent)| {
        let (mut position, mut event) = a_void();
        change(&mut position, &mut event);
        of("1", Change::Void { position, event })
    };
    let whole = |name: &'static str, change: &dyn Fn(&mut Adjustment)| {
        [entry(&|_| {}), void(&|_, _| {})].map(|mut adjustment| {
            change(&mut adjustment);
            (name, adjustment)
        })
    };
    let of_all = [
        whole("nothing", &|_| {}),
        whole("id", &|all| all.id.push('0')),
        whole("tenant", &|all| all.tenant = TenantId::new("acme2").unwrap()),
        whole("who", &|all| all.who.push('0')),
        whole("why", &|all| all.why.push('0')),
        // What ends one text begins the next one.
        whole("who and why", &|all| all.why.insert(0, all.who.pop().unwrap())),
    ];
    let of_entries = [
        ("meter", entry(&|entry| entry.meter = MeterKey::new("call").unwrap())),
        ("at", entry(&|entry| entry.at = Timestamp::clamped(2))),
        ("quantity", entry(&|entry| entry.quantity = Quantity::from_nanos(2_000_000_001).unwrap())),
        ("sign of the quantity", entry(&|entry| entry.quantity = Quantity::from_units(-2))),
        ("event_count", entry(&|entry| entry.event_count = -3)),
        ("dimensions, none", entry(&|entry| entry.dimensions.clear())),
        ("dimensions, a name", entry(&|entry| entry.dimensions = pair("regio", "eu"))),
        ("dimensions, a value", entry(&|entry| entry.dimensions = pair("region", "e"))),
        ("dimensions, name and value", entry(&|entry| entry.dimensions = pair("regione", "u"))),
        ("dimensions, one more", entry(&|entry| entry.dimensions.extend(pair("zone", "")))),
    ];
    let of_voids = [
        ("generation", void(&|position, _| position.generation = 1)),
        ("partition", void(&|position, _| position.partition = 1)),
        ("offset", void(&|position, _| position.offset = 1)),
        ("the event's tenant", void(&|_, event| event.tenant.push('0'))),
        ("the event's source", void(&|_, event| event.source.push('0'))),
        ("the event's id", void(&|_, event| event.id.push('0'))),
        ("the event's type", void(&|_, event| event.event_type.push('0'))),
        ("the event's time", void(&|_, event| event.time = Some(Timestamp::clamped(6)))),
        ("no time", void(&|_, event| event.time = None)),
        ("the event's data, none", void(&|_, event| event.data.clear())),
        ("the event's data, a name", void(&|_, event| event.data = pair("regio", "eu"))),
        ("the event's data, a value", void(&|_, event| event.data = pair("region", "e"))),
        ("the event's data, one more", void(&|_, event| event.data.extend(pair("zone", "")))),
    ];
    let mut names: BTreeMap<u128, &str> = BTreeMap::new();
    for (name, adjustment) in of_all.into_iter().flatten().chain(of_entries).chain(of_voids) {
        let earlier = names.insert(adjustment.seal(&key()).0, name);
        assert_eq!(earlier, None, "another {name} has the same seal");
        assert_ne!(adjustment.seal(&key()), adjustment.seal(&HashKey::new([4; 16])), "{name}");
    }
}

#[test]
fn what_is_none_is_refused_in_words() {
    let seal = "0123456789abcdef0123456789abcdef";
    let check = |value: &str, words: &str| {
        let problem = decode(value.replace("SEAL", seal).as_bytes()).unwrap_err();
        assert_eq!(problem.reason, RejectReason::Malformed);
        assert!(problem.detail.contains(words), "{}", problem.detail);
    };
    let all = r#""id":"1","tenant":"acme","who":"w","why":"y""#;
    check("{", "not an adjustment");
    check(&format!(r#"{{{all},"seal":"SEAL"}}"#), "an entry or a void");
    check(&format!(r#"{{{all},"seal":"short"}}"#), "32 hex digits");
    check(&format!(r#"{{{all},"seal":"SEAL","more":1}}"#), "unknown field");
    let entry = r#""entry":{"meter":"calls","dimensions":{},"at":"2026-01-01T00:00:00Z","quantity":"1","event_count":1}"#;
    check(&format!(r#"{{{all},{entry},"seal":"+123456789abcdef0123456789abcdef"}}"#), "32 hex digits");
    assert!(decode(format!(r#"{{{all},{entry},"seal":"{seal}"}}"#).as_bytes()).is_ok());
}
