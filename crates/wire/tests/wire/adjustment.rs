//! Adjustments as control records: what is written is read again, whatever it holds, and what
//! is no adjustment is refused in words.

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
        prop_assert_eq!(body, RecordBody::Adjustment { adjustment, seal });
    }

    #[test]
    fn the_seal_covers_all_of_it(one in any_adjustment(), other in any_adjustment()) {
        prop_assert_eq!(one == other, one.seal(&key()) == other.seal(&key()));
        let of_others = Adjustment { tenant: TenantId::new("acme2").unwrap(), ..one.clone() };
        prop_assert_ne!(one.seal(&key()), of_others.seal(&key()));
        prop_assert_ne!(one.seal(&key()), one.seal(&HashKey::new([4; 16])));
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
