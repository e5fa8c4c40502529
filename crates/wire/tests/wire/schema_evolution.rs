//! Older and newer writers than ours: the shipped schemas are BACKWARD_TRANSITIVE, a
//! newer writer's fields are skipped, and a schema that cannot be read within bounds is
//! not taken.

use apache_avro::Schema;
use apache_avro::schema_compatibility::{Compatibility, SchemaCompatibility};
use apache_avro::writer::datum::GenericDatumWriter;
use serde::Serialize;
use weir_core::Timestamp;
use weir_metering::outcome::RejectReason;
use weir_wire::avro::{SCHEMA_V1, SCHEMA_V2, SchemaSet, UnusableSchema, decode_event};

use crate::events::sample;

/// A schema of usage events with these types for `time` and the values of `data`, and more fields.
fn writer(time: &str, value: &str, more: &str) -> String {
    format!(
        r#"{{"type": "record", "name": "UsageEvent", "namespace": "dev.weir", "fields": [
            {{"name": "id", "type": "bytes"}}, {more}
            {{"name": "source", "type": "string"}}, {{"name": "type", "type": "string"}},
            {{"name": "subject", "type": "string"}}, {{"name": "time", "type": {time}}},
            {{"name": "data", "type": {{"type": "map", "values": {value}}}}}]}}"#
    )
}

const MILLIS: &str = r#"["null", {"type": "long", "logicalType": "timestamp-millis"}]"#;

/// The frame of a datum that apache-avro wrote with the schema, and a set that knows it.
fn written(schema: &str, datum: &impl Serialize) -> (SchemaSet, Vec<u8>) {
    let mut schemas = SchemaSet::shipped();
    schemas.insert(3, schema).unwrap();
    let schema = Schema::parse_str(schema).unwrap();
    let datum = GenericDatumWriter::builder(&schema).build().unwrap().write_ser_to_vec(datum).unwrap();
    (schemas, [&[0, 0, 0, 0, 3], &datum[..]].concat())
}

#[test]
fn the_newest_schema_reads_all_that_came_before() {
    let versions = [SCHEMA_V1, SCHEMA_V2].map(|json| Schema::parse_str(json).unwrap());
    for (at, reader) in versions.iter().enumerate() {
        for older in &versions[..=at] {
            assert_eq!(SchemaCompatibility::can_read(older, reader).unwrap(), Compatibility::Full);
        }
    }
}

#[test]
fn every_field_is_documented() {
    for json in [SCHEMA_V1, SCHEMA_V2] {
        let Schema::Record(record) = Schema::parse_str(json).unwrap() else { panic!("not a record") };
        assert_eq!(record.name.fullname(None), "dev.weir.UsageEvent");
        for field in &record.fields {
            assert!(field.doc.as_ref().is_some_and(|doc| doc.len() > 20), "{}", field.name);
        }
    }
}

#[test]
fn a_writer_of_version_1_is_read() {
    #[derive(Serialize)]
    struct UsageEvent {
        id: &'static str,
        source: &'static str,
        r#type: &'static str,
        subject: &'static str,
        time: Option<i64>,
        data: std::collections::BTreeMap<&'static str, &'static str>,
    }
    let time = sample().time.map(Timestamp::millis);
    let data = [("bytes", "0.25"), ("region", "eu")].into();
    let datum =
        UsageEvent { id: "e-1", source: "//gateway.eu", r#type: "api.request", subject: "acme", time, data };
    let (schemas, mut bytes) = written(SCHEMA_V1, &datum);
    assert_eq!(decode_event(&schemas, &bytes), Ok(sample()));
    bytes[4] = 1;
    assert_eq!(decode_event(&SchemaSet::shipped(), &bytes), Ok(sample()));
}

/// What a newer writer might add, of every kind of type.
#[derive(Serialize)]
#[serde(rename = "UsageEvent")]
struct NewerEvent<T, V> {
    #[serde(serialize_with = "as_bytes")]
    id: &'static str,
    extra: Extra,
    source: &'static str,
    r#type: &'static str,
    subject: &'static str,
    time: T,
    data: std::collections::BTreeMap<&'static str, V>,
}

#[derive(Serialize)]
struct Extra {
    plan: Plan,
    again: Plan,
    weights: Vec<f64>,
    note: Option<String>,
    ratio: f32,
    flag: bool,
    nothing: (),
    labels: std::collections::BTreeMap<&'static str, i32>,
}

#[derive(Clone, Copy, Serialize)]
enum Plan {
    #[serde(rename = "FREE")]
    Free,
    #[serde(rename = "PAID")]
    Paid,
}

const EXTRA: &str = r#"{"name": "extra", "type": {"type": "record", "name": "Extra", "fields": [
    {"name": "plan", "type": {"type": "enum", "name": "Plan", "symbols": ["FREE", "PAID"]}},
    {"name": "again", "type": "Plan"},
    {"name": "weights", "type": {"type": "array", "items": "double"}},
    {"name": "note", "type": ["null", "string"]}, {"name": "ratio", "type": "float"},
    {"name": "flag", "type": "boolean"}, {"name": "nothing", "type": "null"},
    {"name": "labels", "type": {"type": "map", "values": "int"}}]}},"#;

fn as_bytes<S: serde::Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(text.as_bytes())
}

fn newer<T, V>(time: T, value: V) -> NewerEvent<T, V> {
    NewerEvent {
        id: "e-1",
        extra: Extra {
            plan: Plan::Paid,
            again: Plan::Free,
            weights: vec![1.5, 2.5],
            note: Some("skipped".to_owned()),
            ratio: 0.5,
            flag: true,
            nothing: (),
            labels: [("a", 1), ("b", -1)].into(),
        },
        source: "//gateway.eu",
        r#type: "api.request",
        subject: "acme",
        time,
        data: [("bytes", value)].into(),
    }
}

#[test]
fn a_newer_writer_with_further_fields_and_a_promoted_id_is_read() {
    let millis = sample().time.map(Timestamp::millis);
    let (schemas, bytes) = written(&writer(MILLIS, r#""string""#, EXTRA), &newer(millis, "0.25"));
    let event = decode_event(&schemas, &bytes).unwrap();
    assert_eq!((event.id.as_str(), event.time), ("e-1", sample().time));
    assert_eq!(event.data, [("bytes".to_owned(), "0.25".to_owned())]);
}

#[test]
fn time_is_read_in_every_unit_and_width() {
    let micros = r#"{"type": "long", "logicalType": "timestamp-micros"}"#;
    let nanos = r#"{"type": "long", "logicalType": "timestamp-nanos"}"#;
    let check = |schema: &str, time: i64, expected: i64| {
        let (schemas, bytes) = written(&writer(schema, r#""string""#, EXTRA), &newer(time, "1"));
        assert_eq!(
            decode_event(&schemas, &bytes).unwrap().time.map(Timestamp::millis),
            Some(expected),
            "{schema}"
        );
    };
    check(r#""long""#, 1_700_000_000_123, 1_700_000_000_123);
    check(micros, 1_700_000_000_123_999, 1_700_000_000_123);
    check(nanos, 1_700_000_000_123_999_999, 1_700_000_000_123);
    let (schemas, bytes) =
        written(&writer(r#"["null", "int"]"#, r#""string""#, EXTRA), &newer(Some(5_i32), "1"));
    assert_eq!(decode_event(&schemas, &bytes).unwrap().time, Some(Timestamp::clamped(5)));
}

#[test]
fn a_time_before_1970_is_an_invalid_event() {
    let (schemas, bytes) = written(&writer(r#""long""#, r#""string""#, EXTRA), &newer(-1_i64, "1"));
    assert_eq!(decode_event(&schemas, &bytes).unwrap_err().reason, RejectReason::InvalidEvent);
}

#[test]
fn whole_numbers_in_data_are_taken_and_floats_refused_by_name() {
    #[derive(Serialize)]
    #[serde(untagged)]
    enum Loose {
        Long(i64),
        Double(f64),
    }
    let schema = writer(MILLIS, r#"["string", "long", "double"]"#, EXTRA);
    let millis = sample().time.map(Timestamp::millis);
    let (schemas, bytes) = written(&schema, &newer(millis, Loose::Long(-12)));
    assert_eq!(decode_event(&schemas, &bytes).unwrap().data[0].1, "-12");
    let (schemas, bytes) = written(&schema, &newer(millis, Loose::Double(0.1)));
    let refused = decode_event(&schemas, &bytes).unwrap_err();
    assert!(refused.detail.contains("send decimals as text"), "{}", refused.detail);
}

#[test]
fn schemas_that_cannot_be_used_are_refused_by_name() {
    let check = |schema: &str, expected: &str| {
        let error = SchemaSet::shipped().insert(9, schema).unwrap_err();
        let words = error.to_string();
        assert!(words.contains(expected), "{words}");
    };
    let with = |more: &str| writer(MILLIS, r#""string""#, more);
    check("{", "not an Avro schema");
    check(r#""string""#, "cannot be read as dev.weir.UsageEvent");
    check(&with("").replace("\"subject\"", "\"customer\""), "cannot be read");
    check(
        &writer(r#"{"type": "int", "logicalType": "date"}"#, r#""string""#, ""),
        "time is not a UTC timestamp",
    );
    check(&writer(MILLIS, r#""double""#, ""), "cannot be read");
    check(&with(r#"{"name": "x", "type": {"type": "array", "items": "null"}},"#), "no bytes");
    check(
        &with(
            r#"{"name": "x", "type": ["null", {"type": "record", "name": "Node", "fields": [
                {"name": "next", "type": ["null", "Node"]}]}]},"#,
        ),
        "holds itself",
    );
    check(&with(r#"{"name": "x", "type": {"type": "fixed", "name": "F", "size": 1000000000}},"#), "64 KiB");
}

/// Found by fuzzing: apache-avro keeps attributes that it does not know, and panics over those
/// that bear a name of Avro's own when it writes the schema's canonical form.
#[test]
fn attributes_that_only_bear_avros_names_are_refused() {
    for (odd, name) in [
        (r#""precision": "high""#, "precision"),
        (r#""scale": 0.5"#, "scale"),
        (r#""size": 18446744073709551615"#, "size"),
        (r#""order": 7"#, "order"),
        (r#""symbols": [null]"#, "symbols"),
        (r#""items": {"values": true}"#, "values"),
    ] {
        let field = format!(r#"{{"name": "x", "type": "string", {odd}}},"#);
        let whole = writer(MILLIS, r#""string""#, "").replacen('{', &format!("{{{odd},"), 1);
        for schema in [writer(MILLIS, r#""string""#, &field), whole] {
            let error = SchemaSet::of_registry().insert(9, &schema).unwrap_err();
            assert!(error.to_string().contains(&format!("attribute {name:?}")), "{odd}: {error}");
        }
    }
    let harmless = r#"{"name": "x", "type": "string", "precision": "9", "unit": 7, "order": "ignore"},"#;
    SchemaSet::of_registry().insert(9, &writer(MILLIS, r#""string""#, harmless)).unwrap();
}

/// Read as text, the bytes of a decimal would be another number: 49 would become "1".
#[test]
fn bytes_that_are_no_text_are_refused_with_their_schema() {
    let decimal = r#"{"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}"#;
    let fixed = r#"{"type": "fixed", "name": "Sum", "size": 4, "logicalType": "decimal", "precision": 9}"#;
    let uuid = r#"{"type": "fixed", "name": "U", "size": 16, "logicalType": "uuid"}"#;
    for value in [decimal, fixed, uuid, r#"{"type": "fixed", "name": "F", "size": 1}"#] {
        for value in [value.to_owned(), format!(r#"["null", "string", {value}]"#)] {
            let error = SchemaSet::shipped().insert(9, &writer(MILLIS, &value, "")).unwrap_err();
            assert!(matches!(error, UnusableSchema::Incompatible(_)), "{value}: {error}");
        }
    }
    let named = format!(r#"{{"name": "x", "type": {fixed}}},"#);
    let error = SchemaSet::shipped().insert(9, &writer(MILLIS, r#"["string", "Sum"]"#, &named)).unwrap_err();
    assert!(error.to_string().contains("data may hold bytes that are no text"), "{error}");
    let id =
        writer(MILLIS, r#""string""#, "").replace(r#""type": "bytes""#, &format!(r#""type": {decimal}"#));
    let error = SchemaSet::shipped().insert(9, &id).unwrap_err();
    assert!(error.to_string().contains("id may hold bytes that are no text"), "{error}");
}

#[test]
fn a_schema_that_doubles_at_every_level_is_refused_quickly() {
    let mut more = r#"{"name": "r0", "type": {"type": "record", "name": "R0", "fields": []}},"#.to_owned();
    for level in 1..30 {
        let below = level - 1;
        more += &format!(
            r#"{{"name": "r{level}", "type": {{"type": "record", "name": "R{level}", "fields": [
                {{"name": "a", "type": "R{below}"}}, {{"name": "b", "type": "R{below}"}}]}}}},"#
        );
    }
    let error = SchemaSet::shipped().insert(9, &writer(MILLIS, r#""string""#, &more)).unwrap_err();
    assert!(matches!(error, UnusableSchema::Unbounded("it has too many types")), "{error}");
}

#[test]
fn the_number_of_schemas_is_bounded() {
    let mut schemas = SchemaSet::of_registry();
    let mut ids = 0..20_000;
    let refused = ids.find_map(|id| schemas.refuse(id, "of another team").err());
    assert!(matches!(refused, Some(UnusableSchema::TooMany { max: 10_000 })), "{refused:?}");
    assert!(matches!(schemas.insert(20_000, SCHEMA_V2), Err(UnusableSchema::TooMany { .. })));
    schemas.insert(0, SCHEMA_V2).unwrap();
}
