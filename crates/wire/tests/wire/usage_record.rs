//! Records of the usage topic: how headers choose the format, what bad input becomes,
//! and that nothing at all makes decoding panic.

use proptest::prelude::*;
use weir_core::{Quantity, TenantId, Timestamp};
use weir_metering::meter::MeterKey;
use weir_metering::outcome::RejectReason;
use weir_metering::quota::{Enforcement, Limit, LimitSet, WhenStale};
use weir_metering::record::{Batch, RecordBody};
use weir_wire::avro::{SchemaId, SchemaSet, encode_event};
use weir_wire::cloudevents::encode_structured;
use weir_wire::usage_record::{
    RECORD_BYTES_MAX, RawRecord, decode_into, decode_record, encode_limits, needed_schema,
};

use crate::events::{any_event, sample};

type Headers<'a> = &'a [(&'a str, &'a [u8])];

const STRUCTURED: Headers<'static> = &[("content-type", b"application/cloudevents+json; charset=UTF-8")];
const BINARY: Headers<'static> = &[
    ("ce_specversion", b"1.0"),
    ("ce_id", b"e-1"),
    ("ce_source", b"//gateway.eu"),
    ("ce_type", b"api.request"),
    ("ce_subject", b"acme"),
    ("ce_time", b"2026-11-24T08:00:00.123Z"),
    ("content-type", b"application/json"),
];

fn record<'a>(headers: Headers<'a>, payload: &'a [u8]) -> RawRecord<'a> {
    RawRecord { key: Some(b"acme"), payload: Some(payload), headers, offset: 7, broker_time_ms: 1_000 }
}

fn body(headers: Headers<'_>, payload: &[u8]) -> RecordBody {
    let decoded = decode_record(&SchemaSet::shipped(), &record(headers, payload), RECORD_BYTES_MAX);
    assert_eq!((decoded.offset, decoded.broker_time), (7, Timestamp::clamped(1_000)));
    decoded.body
}

fn check_unreadable(headers: Headers<'_>, payload: &[u8], expected: RejectReason, words: &str) {
    match body(headers, payload) {
        RecordBody::Unreadable { reason, detail } => {
            assert!(reason == expected && detail.contains(words), "{reason:?}: {detail}");
        }
        other => panic!("read as {other:?}"),
    }
}

fn limits() -> LimitSet {
    let limit = |meter: &str| Limit {
        meter: MeterKey::new(meter).unwrap(),
        limit: Quantity::parse("1000.5").unwrap(),
        enforcement: Enforcement::Hard,
        thresholds_percent: vec![50, 100],
        when_stale: WhenStale::Deny,
    };
    LimitSet {
        tenant: TenantId::new("acme").unwrap(),
        revision: 3,
        limits: vec![limit("bandwidth"), limit("calls")],
    }
}

#[test]
fn a_replayed_event_without_a_time_happened_when_it_first_arrived() {
    let arrived: Headers<'_> =
        &[("weir-replay-position", b"1/3/4711"), ("weir-replay-time", b"2026-11-24T08:00:00.123Z")];
    let time = |headers: Headers<'_>, payload: &[u8]| match body(headers, payload) {
        RecordBody::Event { event, .. } => event.time,
        other => panic!("read as {other:?}"),
    };
    let at = Timestamp::parse("2026-11-24T08:00:00.123Z").unwrap();
    let mut event = sample();
    event.time = None;
    for (event, with, without) in [(event, Some(at), None), (sample(), sample().time, sample().time)] {
        let avro = encode_event(&event);
        assert_eq!(
            (time(arrived, &avro), time(&[], &avro), time(&arrived[1..], &avro)),
            (with, without, without)
        );
        assert_eq!(body(arrived, &avro), body_in_batch(arrived, &avro));
        let headers = [STRUCTURED, arrived].concat();
        assert_eq!(time(&headers, &encode_structured(&event)), with);
    }
}

/// The same record, read into a batch.
fn body_in_batch(headers: Headers<'_>, payload: &[u8]) -> RecordBody {
    let mut batch = Batch::new(0, 7);
    decode_into(&SchemaSet::shipped(), &record(headers, payload), RECORD_BYTES_MAX, &mut batch);
    assert_eq!((batch.len(), batch.to), (1, 8));
    batch.record(0).to_record().body
}

proptest! {
    #[test]
    fn a_batch_reads_what_a_record_reads(
        event in any_event(),
        swap in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        cut in 0_usize..3,
    ) {
        let mut event = event;
        if !event.data.is_empty() {
            // Members in any order, and sometimes one twice.
            let at = swap.index(event.data.len());
            event.data.swap(0, at);
            if cut == 2 { event.data.push(event.data[at].clone()); }
        }
        let mut bytes = encode_event(&event);
        prop_assert_eq!(body_in_batch(&[], &bytes), body(&[], &bytes));
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(bytes.len() - cut.min(1));
        prop_assert_eq!(body_in_batch(&[("weir-hop", b"1")], &bytes), body(&[("weir-hop", b"1")], &bytes));
    }
}

#[test]
fn headers_choose_the_format() {
    let event = RecordBody::Event { event: sample(), hops: 0 };
    let avro = encode_event(&sample());
    assert_eq!(body(STRUCTURED, &encode_structured(&sample())), event);
    assert_eq!(body(BINARY, br#"{"bytes":0.25,"region":"eu"}"#), event);
    assert_eq!(body(&[], &avro), event);
    assert_eq!(body(&[("traceparent", b"00-x")], &avro), event);
    assert_eq!(body(&[("__value_schema_id", &[0, 0, 0, 0, 2])], &avro[5..]), event);
    assert_eq!(body(&[("weir-control", b"tick")], b""), RecordBody::Tick);
    assert_eq!(
        body(&[("weir-control", b"limits")], &encode_limits(&limits())),
        RecordBody::Limits { set: limits(), hops: 0 }
    );
}

#[test]
fn a_record_without_value_or_headers_is_empty() {
    let record = RawRecord { key: None, payload: None, headers: &[], offset: 1, broker_time_ms: -5 };
    let decoded = decode_record(&SchemaSet::shipped(), &record, RECORD_BYTES_MAX);
    assert_eq!(decoded.broker_time, Timestamp::EPOCH);
    assert!(matches!(decoded.body, RecordBody::Unreadable { reason: RejectReason::Malformed, .. }));
    let tick = RawRecord { headers: &[("weir-control", b"tick")], ..record };
    assert_eq!(decode_record(&SchemaSet::shipped(), &tick, RECORD_BYTES_MAX).body, RecordBody::Tick);
}

#[test]
fn hops_are_counted() {
    let avro = encode_event(&sample());
    for (value, hops) in [(&b"0"[..], 0), (b"1", 1), (b"2", 2), (b"", 1), (b"999", 1), (b"\xff", 1)] {
        assert_eq!(body(&[("weir-hop", value)], &avro), RecordBody::Event { event: sample(), hops });
    }
}

#[test]
fn bad_input_is_named() {
    let avro = encode_event(&sample());
    let unknown = [&[0, 0, 0, 0, 77], &avro[5..]].concat();
    let huge = vec![0; 10 * 1_048_576];
    use RejectReason::{InvalidEvent, Malformed, Oversized, UnknownSchema};
    check_unreadable(&[], b"", Malformed, "empty");
    check_unreadable(&[], &[0; 4_096], Malformed, "4096 zero bytes");
    check_unreadable(&[], &huge, Oversized, "10485760 bytes, more than the 1048576");
    check_unreadable(STRUCTURED, &huge, Oversized, "10485760 bytes");
    check_unreadable(&[("weir-control", b"limits")], &huge, Oversized, "10485760 bytes");
    let long = vec![b'x'; 65_536];
    let words = "key and headers have 65547 bytes, more than the 65536";
    check_unreadable(&[("x-trace", &long)], &avro, Oversized, words);
    check_unreadable(&[], &avro[..avro.len() - 1], Malformed, "version 2 of Weir's own");
    check_unreadable(&[], &[&avro[..], b"x"].concat(), Malformed, "1 bytes are left over");
    check_unreadable(&[], &unknown, UnknownSchema, "no schema is known for id 77");
    check_unreadable(&[("__value_schema_id", &[0, 0x80, 0, 0, 3])], &avro[5..], UnknownSchema, "version 3");
    check_unreadable(&[], b"{\"id\":1}", Malformed, "no known format");
    check_unreadable(STRUCTURED, b"", Malformed, "not a CloudEvent");
    check_unreadable(STRUCTURED, b"{}", InvalidEvent, "specversion is missing");
    check_unreadable(&BINARY[..4], b"{}", InvalidEvent, "subject is missing");
    check_unreadable(BINARY, b"12", InvalidEvent, "data must be a JSON object");
    let batch: Headers<'_> = &[("content-type", b"application/cloudevents-batch+json")];
    check_unreadable(batch, b"[]", Malformed, "one event a record");
    check_unreadable(&[("weir-control", b"stop")], b"", Malformed, "none of limits, adjustment and tick");
    check_unreadable(&[("__value_schema_id", b"?")], &avro, Malformed, "__value_schema_id");
}

/// Left out, a time would be the broker's, and of two ids one would be taken at random.
#[test]
fn attributes_that_cannot_be_read_or_are_doubled_are_refused() {
    let check = |name: &'static str, value: &'static [u8], words: &str| {
        let first: Headers<'_> = &[(name, value)];
        let headers = [first, BINARY].concat();
        check_unreadable(&headers, b"{}", RejectReason::InvalidEvent, words);
    };
    for (name, _) in &BINARY[..6] {
        check(name, b"\xff", &format!("{name} is not UTF-8"));
        check(name, b"again", &format!("{name} is given twice"));
    }
    let extensions: Headers<'_> = &[("ce_extension", b"\xff"), ("ce_extension", b"2")];
    let extended = [extensions, BINARY].concat();
    assert_eq!(
        body(&extended, br#"{"bytes":0.25,"region":"eu"}"#),
        RecordBody::Event { event: sample(), hops: 0 }
    );
}

#[test]
fn words_and_ids_are_cut_to_what_a_dead_letter_keeps() {
    let text = format!("\"{}\"", "x".repeat(100_000));
    match body(STRUCTURED, text.as_bytes()) {
        RecordBody::Unreadable { detail, .. } => assert!(detail.len() <= 1_024, "{} bytes", detail.len()),
        other => panic!("read as {other:?}"),
    }
    let event = format!(r#"{{"specversion": "2", "id": {text}}}"#);
    let problem = weir_wire::cloudevents::decode_structured(event.as_bytes()).unwrap_err();
    assert_eq!(problem.id.unwrap().len(), 256);
}

/// What the shard refuses must reach it as it was sent.
#[test]
fn control_characters_and_long_values_pass_through_to_the_shard() {
    let mut event = sample();
    event.id = "a\0b".to_owned();
    event.data[1].1 = "x".repeat(5_000);
    let expected = RecordBody::Event { event: event.clone(), hops: 0 };
    assert_eq!(body(&[], &encode_event(&event)), expected);
    assert_eq!(body(STRUCTURED, &encode_structured(&event)), expected);
}

#[test]
fn limits_that_cannot_come_into_force_are_refused() {
    let check = |change: &dyn Fn(&mut LimitSet), words: &str| {
        let mut limits = limits();
        change(&mut limits);
        let headers: Headers<'_> = &[("weir-control", b"limits")];
        check_unreadable(headers, &encode_limits(&limits), RejectReason::InvalidEvent, words);
    };
    check(&|set| set.limits[1] = set.limits[0].clone(), "two limits");
    check(&|set| set.limits[0].limit = Quantity::ZERO, "above zero");
    check(&|set| set.limits[0].thresholds_percent = vec![100, 80], "must rise");
    let headers: Headers<'_> = &[("weir-control", b"limits")];
    check_unreadable(headers, b"{}", RejectReason::Malformed, "missing field");
    check_unreadable(headers, b"", RejectReason::Malformed, "EOF");
}

#[test]
fn the_schema_to_ask_for_is_named_for_both_forms_and_for_avro_alone() {
    let schemas = SchemaSet::of_registry();
    let avro = encode_event(&sample());
    let unknown = [&[0, 0, 0, 0, 77], &avro[5..]].concat();
    let guid = [1; 17];
    let with_guid: Headers<'_> = &[("__value_schema_id", &guid)];
    let check = |headers: Headers<'_>, payload: &[u8], expected: Option<SchemaId>| {
        assert_eq!(needed_schema(&schemas, &record(headers, payload), 4_096), expected);
    };
    check(&[], &unknown, Some(SchemaId::Number(77)));
    check(with_guid, &avro[5..], Some(SchemaId::Guid([1; 16])));
    check(&[], &avro, None);
    check(&[], &[0; 64], None);
    check(STRUCTURED, &unknown, None);
    check(&[("weir-control", b"tick")], &unknown, None);
    check(&[], &[&unknown[..], &[0; 4_096]].concat(), None);
    assert_eq!(needed_schema(&SchemaSet::shipped(), &record(&[], &unknown), 4_096), None);
}

fn any_headers() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
    let name = prop_oneof![
        prop::sample::select(vec![
            "content-type",
            "weir-control",
            "weir-hop",
            "ce_specversion",
            "ce_id",
            "ce_time",
            "ce_",
            "__value_schema_id"
        ])
        .prop_map(str::to_owned),
        "\\PC{0,8}",
    ];
    let value = prop_oneof![
        prop::sample::select(vec![
            "application/cloudevents+json",
            "application/cloudevents-batch+json",
            "limits",
            "tick",
            "1.0"
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..20),
    ];
    prop::collection::vec((name, value), 0..6)
}

fn decode_any(headers: &[(String, Vec<u8>)], payload: &[u8], bytes_max: usize) {
    let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
    let record = record(&headers, payload);
    let schemas = SchemaSet::shipped();
    let _ = needed_schema(&SchemaSet::of_registry(), &record, bytes_max);
    let _ = decode_record(&schemas, &record, bytes_max);
}

proptest! {
    #[test]
    fn any_record_is_read_or_refused(headers in any_headers(), payload: Vec<u8>, bytes_max in 0_usize..200) {
        decode_any(&headers, &payload, bytes_max);
    }

    #[test]
    fn a_good_record_with_changed_bytes_is_read_or_refused(
        form in 0_usize..3,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let structured = ("content-type".to_owned(), b"application/cloudevents+json".to_vec());
        let control = ("weir-control".to_owned(), b"limits".to_vec());
        let (headers, mut payload) = match form {
            0 => (vec![], encode_event(&sample())),
            1 => (vec![structured], encode_structured(&sample())),
            _ => (vec![control], encode_limits(&limits())),
        };
        for (at, byte) in changes {
            let at = at.index(payload.len());
            payload[at] = byte;
        }
        decode_any(&headers, &payload, RECORD_BYTES_MAX);
    }
}
