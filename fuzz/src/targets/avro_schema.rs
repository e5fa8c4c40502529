//! Any text as a schema of a registry, and any bytes as an event written with it.

use weir_core::Timestamp;
use weir_metering::outcome::RejectReason;
use weir_metering::record::RecordBody;
use weir_wire::avro::{SCHEMA_V1, SCHEMA_V2, SchemaId, encode_event};
use weir_wire::usage_record::{RECORD_BYTES_MAX, RawRecord, needed_schema};

use crate::Seeds;
use crate::events::{OF_REGISTRY, decode_both_ways, samples};
use crate::memory::{bound, within};
use crate::pieces::{Joined, Pieces};

/// The number that the registry gave.
const NUMBER: u32 = 7;

/// Reads a schema and a datum.
pub fn check(input: &[u8]) {
    let mut pieces = Pieces(input);
    let schema = pieces.text();
    let payload = [&[0][..], &NUMBER.to_be_bytes(), pieces.0].concat();
    let record =
        RawRecord { key: None, payload: Some(&payload), headers: &[], offset: 0, broker_time_ms: 1_000 };
    let mut schemas = OF_REGISTRY.clone();
    let asked = needed_schema(&schemas, &record, RECORD_BYTES_MAX);
    assert_eq!(asked, Some(SchemaId::Number(NUMBER)), "a registry is asked for what is not known");
    let taken = within(bound(1 << 20, 8_192, input), || schemas.insert(NUMBER, schema));
    assert_eq!(needed_schema(&schemas, &record, RECORD_BYTES_MAX), None, "and only once");
    let decoded = decode_both_ways(&schemas, &record, bound(4 << 20, 256, input));
    match (taken, decoded.body) {
        (Err(_), RecordBody::Unreadable { reason, .. }) => assert_eq!(reason, RejectReason::UnknownSchema),
        (Err(error), body) => panic!("{body:?} was read with a schema that is refused: {error}"),
        (Ok(()), RecordBody::Unreadable { reason, .. }) => {
            assert!(matches!(reason, RejectReason::Malformed | RejectReason::InvalidEvent));
        }
        (Ok(()), RecordBody::Event { event, hops }) => {
            assert_eq!(hops, 0);
            assert!(event.time.is_none_or(|time| time >= Timestamp::EPOCH));
        }
        (Ok(()), body) => panic!("{body:?} is no event"),
    }
}

/// Schemas of producers who know the shipped ones, with an event each.
pub fn seeds() -> Seeds {
    let micros = SCHEMA_V2.replace("timestamp-millis", "timestamp-micros");
    let typed = r#"{"type":"record","name":"UsageEvent","namespace":"dev.weir","fields":[
        {"name":"id","type":"string"},{"name":"source","type":"string"},{"name":"type","type":"string"},
        {"name":"subject","type":"string"},{"name":"time","type":["null","long"],"default":null},
        {"name":"data","type":{"type":"map","values":["null","string","long","boolean"]}},
        {"name":"more","type":{"type":"array","items":{"type":"record","name":"More","fields":[
          {"name":"kind","type":{"type":"enum","name":"Kind","symbols":["A","B"]}},
          {"name":"sum","type":{"type":"fixed","name":"Sum","size":16}}]}},"default":[]}]}"#;
    let recursive = r#"{"type":"record","name":"A","fields":[{"name":"a","type":["null","A"]}]}"#;
    let (_, event) = &samples()[0];
    let datum = encode_event(event)[5..].to_vec();
    let first = &datum[..datum.len() - 1];
    let schemas = [
        ("v1", SCHEMA_V1, first),
        ("v2", SCHEMA_V2, &datum),
        ("micros", &micros, &datum),
        ("typed", typed, first),
        ("recursive", recursive, first),
        // Attributes that bear Avro's names and mean something else.
        ("attribute", &typed.replacen('{', r#"{"precision":"high","order":7,"#, 1), first),
        ("word", "\"string\"", first),
    ];
    let seed = |(name, schema, datum): (&str, &str, &[u8])| {
        (name.to_owned(), Joined::default().bytes(schema.as_bytes()).raw(datum).0)
    };
    schemas.into_iter().map(seed).collect()
}
