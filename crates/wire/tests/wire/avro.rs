//! Avro in Confluent's framing: frames, damaged bytes, and that the writer by hand agrees
//! with apache-avro.

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use proptest::prelude::*;
use weir_metering::event::UsageEvent;
use weir_metering::outcome::RejectReason;
use weir_wire::avro::{
    FrameError, NEWEST_SHIPPED, OWN_NUMBERS, SCHEMA_V2, SchemaId, SchemaSet, decode_event, decode_frame,
    encode_event, parse_frame, parse_frame_with_header,
};

use crate::events::{any_event, sample};

fn refusal(bytes: &[u8]) -> (RejectReason, String) {
    let refused = decode_event(&SchemaSet::shipped(), bytes).unwrap_err();
    (refused.reason, refused.detail)
}

/// A datum that apache-avro wrote from a value, in the prefix form.
fn framed(id: u32, datum: &[u8]) -> Vec<u8> {
    [&[0], &id.to_be_bytes()[..], datum].concat()
}

fn value_of(event: &UsageEvent) -> Value {
    let text = |text: &str| Value::String(text.to_owned());
    let optional = |value: Option<Value>| match value {
        None => Value::Union(0, Box::new(Value::Null)),
        Some(value) => Value::Union(1, Box::new(value)),
    };
    Value::Record(vec![
        ("id".to_owned(), text(&event.id)),
        ("source".to_owned(), text(&event.source)),
        ("type".to_owned(), text(&event.event_type)),
        ("subject".to_owned(), text(&event.tenant)),
        ("time".to_owned(), optional(event.time.map(|time| Value::TimestampMillis(time.millis())))),
        ("data".to_owned(), Value::Map(event.data.iter().map(|(k, v)| (k.clone(), text(v))).collect())),
        ("traceparent".to_owned(), optional(None)),
    ])
}

proptest! {
    #[test]
    fn events_come_back(event in any_event()) {
        prop_assert_eq!(decode_event(&SchemaSet::shipped(), &encode_event(&event)), Ok(event));
    }

    #[test]
    fn what_is_written_by_hand_is_what_apache_avro_reads_and_writes(event in any_event()) {
        let schema = Schema::parse_str(SCHEMA_V2).unwrap();
        let bytes = encode_event(&event);
        let read = GenericDatumReader::builder(&schema).build().unwrap().read_value(&mut &bytes[5..]).unwrap();
        prop_assert_eq!(read, value_of(&event));
        let writer = GenericDatumWriter::builder(&schema).build().unwrap();
        let written = writer.write_value_to_vec(value_of(&event)).unwrap();
        prop_assert_eq!(written.len(), bytes.len() - 5);
        prop_assert_eq!(decode_event(&SchemaSet::shipped(), &framed(NEWEST_SHIPPED, &written)), Ok(event));
    }

    #[test]
    fn bytes_cut_short_are_malformed(event in any_event(), cut in any::<prop::sample::Index>()) {
        let bytes = encode_event(&event);
        let (reason, _) = refusal(&bytes[..cut.index(bytes.len())]);
        prop_assert_eq!(reason, RejectReason::Malformed);
    }

    #[test]
    fn bytes_left_over_are_malformed(event in any_event(), more in prop::collection::vec(any::<u8>(), 1..9)) {
        let (reason, detail) = refusal(&[encode_event(&event), more].concat());
        prop_assert_eq!(reason, RejectReason::Malformed);
        prop_assert!(detail.contains("left over"), "{}", detail);
    }

    #[test]
    fn any_datum_is_read_or_refused(id in 1_u32..3, datum: Vec<u8>) {
        let _ = decode_event(&SchemaSet::shipped(), &framed(id, &datum));
    }
}

/// What the API writes, with another number in its frame.
fn numbered(number: u32) -> Vec<u8> {
    framed(number, &encode_event(&sample())[5..])
}

#[test]
fn what_weir_writes_is_read_whatever_the_registry_says_of_its_numbers() {
    let bytes = encode_event(&sample());
    assert_eq!(bytes[..5], [0, 0x80, 0, 0, 2]);
    let mut schemas = SchemaSet::of_registry();
    assert_eq!(decode_event(&schemas, &bytes), Ok(sample()));
    schemas.refuse(2, "it is of another team").unwrap();
    assert_eq!(decode_event(&schemas, &bytes), Ok(sample()));
    assert_eq!(decode_event(&SchemaSet::shipped(), &bytes), Ok(sample()));
}

#[test]
fn small_numbers_are_versions_without_a_registry_and_the_registrys_with_one() {
    let (without, mut with) = (SchemaSet::shipped(), SchemaSet::of_registry());
    assert_eq!(decode_event(&without, &numbered(2)), Ok(sample()));
    assert_eq!(decode_event(&with, &numbered(2)).unwrap_err().reason, RejectReason::UnknownSchema);
    with.insert(77, SCHEMA_V2).unwrap();
    assert_eq!(decode_event(&with, &numbered(77)), Ok(sample()));
    assert!(with.may_learn(SchemaId::Number(2)) && !with.may_learn(SchemaId::Number(77)));
    assert!(!with.may_learn(SchemaId::Shipped(9)) && !without.may_learn(SchemaId::Number(9)));
}

#[test]
fn a_schema_that_is_not_known_or_not_usable_is_named() {
    let check = |schemas: &SchemaSet, number: u32, words: &str| {
        let refused = decode_event(schemas, &numbered(number)).unwrap_err();
        assert_eq!(refused.reason, RejectReason::UnknownSchema);
        assert_eq!(refused.schema_id, Some(number.into()));
        assert!(refused.detail.contains(words), "{}", refused.detail);
    };
    let mut schemas = SchemaSet::of_registry();
    check(&SchemaSet::shipped(), 77, "no schema is known for id 77; Weir ships versions 1 and 2");
    check(&schemas, 77, "the schema registry has no schema 77");
    for number in [OWN_NUMBERS, OWN_NUMBERS + 3, u32::MAX] {
        check(&schemas, number, &format!("no schema is known for id {number} (version"));
    }
    schemas.refuse(8, "it is of type JSON").unwrap();
    assert!(schemas.insert(9, "{}").is_err());
    check(&schemas, 8, "schema 8 cannot be used: it is of type JSON");
    check(&schemas, 9, "schema 9 cannot be used: not an Avro schema");
}

#[test]
fn a_fetched_schema_is_used_and_never_replaced() {
    let mut schemas = SchemaSet::shipped();
    schemas.insert(77, SCHEMA_V2).unwrap();
    schemas.insert(77, "\"not looked at\"").unwrap();
    schemas.refuse(77, "not looked at").unwrap();
    assert_eq!(decode_event(&schemas, &numbered(77)), Ok(sample()));
}

#[test]
fn the_header_form_is_read() {
    let datum = encode_event(&sample()).split_off(5);
    let guid: [u8; 16] = std::array::from_fn(|at| u8::try_from(at).unwrap());
    let mut schemas = SchemaSet::shipped();
    schemas.insert(SchemaId::Guid(guid), SCHEMA_V2).unwrap();
    for header in [vec![0, 0, 0, 0, 2], vec![0, 0x80, 0, 0, 2], [vec![1], guid.to_vec()].concat()] {
        let frame = parse_frame_with_header(&header, &datum).unwrap();
        assert_eq!(decode_frame(&schemas, frame), Ok(sample()));
    }
    assert_eq!(SchemaId::Guid(guid).to_string(), "00010203-0405-0607-0809-0a0b0c0d0e0f");
    for header in [&b""[..], &[0, 2], &[1, 2], &[2, 0, 0, 0, 2]] {
        assert_eq!(parse_frame_with_header(header, &datum), Err(FrameError::Header));
    }
}

#[test]
fn what_is_no_frame_is_named() {
    assert_eq!(parse_frame(b""), Err(FrameError::TooShort(0)));
    assert_eq!(parse_frame(&[0, 0, 0]), Err(FrameError::TooShort(3)));
    assert_eq!(parse_frame(b"{}"), Err(FrameError::Magic(b'{')));
    assert_eq!(refusal(b"{}").0, RejectReason::Malformed);
}

#[test]
fn rules_of_events_hold_for_avro_too() {
    let check = |change: &dyn Fn(&mut UsageEvent), expected: &str| {
        let mut event = sample();
        change(&mut event);
        let (reason, detail) = refusal(&encode_event(&event));
        assert_eq!(reason, RejectReason::InvalidEvent, "{detail}");
        assert!(detail.contains(expected), "{detail}");
    };
    check(&|event| event.id.clear(), "id is empty");
    check(&|event| event.tenant.clear(), "subject (the tenant) is empty");
    check(&|event| event.data.push(event.data[0].clone()), "data names \"bytes\" twice");
    check(&|event| event.data = vec![("x".to_owned(), String::new()); 65], "more than 64 entries");
}

/// A length of 1 GiB in a datum of a few bytes must not be allocated, nor a map's count believed.
#[test]
fn a_huge_length_is_refused() {
    let huge = [0x80, 0x80, 0x80, 0x80, 0x08];
    assert_eq!(refusal(&framed(2, &huge)).0, RejectReason::Malformed);
    let mut map = vec![2, b'a', 2, b'b', 2, b'c', 2, b'd', 0];
    map.extend_from_slice(&[0xff; 9]);
    assert_eq!(refusal(&framed(2, &map)).0, RejectReason::Malformed);
}
