//! A CloudEvent in binary form: attributes as headers of HTTP or of Kafka, data as the body.

use std::collections::HashMap;

use weir_metering::record::RecordBody;
use weir_wire::cloudevents::{decode_binary, http_attribute};
use weir_wire::usage_record::RawRecord;

use crate::Seeds;
use crate::events::{self, SHIPPED, decode_both_ways};
use crate::memory::{bound, within};
use crate::pieces::{Joined, Pieces};

const NAMES: [&str; 8] = ["specversion", "id", "source", "type", "subject", "time", "content-type", "other"];

/// Reads attributes (which, value) and the body.
pub fn check(input: &[u8]) {
    let mut pieces = Pieces(input);
    let mut attributes = HashMap::new();
    for _ in 0..pieces.byte() % 12 {
        attributes.insert(NAMES[usize::from(pieces.byte()) % NAMES.len()], pieces.text());
    }
    let body = pieces.0;
    let content_type = attributes.get("content-type").copied();
    let memory_max = bound(64 << 10, 64, input);
    let decoded =
        within(memory_max, || decode_binary(|name| attributes.get(name).copied(), content_type, body));
    if let Ok(event) = &decoded {
        events::check(event);
    }
    check_as_record(&attributes, body, decoded.map_err(|problem| problem.detail), memory_max);
    attributes.values().for_each(|value| check_http(value));
}

/// Kafka's headers say the same as the attributes.
fn check_as_record(
    attributes: &HashMap<&str, &str>,
    body: &[u8],
    expected: Result<weir_metering::event::UsageEvent, String>,
    memory_max: usize,
) {
    let content_type = attributes.get("content-type").copied().unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    // As a structured event or a batch it would be read otherwise.
    if !attributes.contains_key("specversion") || essence.to_ascii_lowercase().contains("cloudevents") {
        return;
    }
    let name = |name: &str| if name == "content-type" { name.to_owned() } else { format!("ce_{name}") };
    let owned: Vec<_> = attributes.iter().map(|(known, value)| (name(known), value.as_bytes())).collect();
    let headers: Vec<_> = owned.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let record =
        RawRecord { key: None, payload: Some(body), headers: &headers, offset: 7, broker_time_ms: 1_000 };
    let read = match decode_both_ways(&SHIPPED, &record, memory_max).body {
        RecordBody::Event { event, hops: 0 } => Ok(event),
        RecordBody::Unreadable { detail, .. } if detail.contains("that are read") => return,
        RecordBody::Unreadable { detail, .. } => Err(detail),
        other => panic!("read as {other:?}"),
    };
    assert_eq!(read, expected);
}

/// Any text comes through an HTTP header as the binding encodes it.
fn check_http(text: &str) {
    let _ = http_attribute(text);
    let encode = |c: char| {
        let mut bytes = [0; 4];
        let bytes = c.encode_utf8(&mut bytes).as_bytes();
        bytes.iter().map(|byte| format!("%{byte:02X}")).collect::<String>()
    };
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '%' | '"');
    let encoded: String = text.chars().map(|c| if plain(c) { c.to_string() } else { encode(c) }).collect();
    assert_eq!(http_attribute(&encoded).as_deref(), Some(text));
}

/// Events with headers as clients send them.
pub fn seeds() -> Seeds {
    let attributes = |content_type: &str| {
        let values = [
            "1.0",
            "req-1",
            "//gateway.eu",
            "api.requests",
            "hudson-data",
            "2026-11-24T08:00:00Z",
            content_type,
        ];
        let joined = Joined::default().byte(7);
        (0_u8..).zip(values).fold(joined, |joined, (at, value)| joined.byte(at).bytes(value.as_bytes()))
    };
    let json = attributes("application/json");
    vec![
        ("json".to_owned(), json.clone().raw(br#"{"calls":"3","region":"us-east-1"}"#).0),
        ("empty".to_owned(), json.clone().0),
        ("text".to_owned(), attributes("text/plain").raw(b"hello").0),
        ("vendor".to_owned(), attributes("application/vnd.a+json; charset=utf-8").raw(b"{\"a\":1.50}").0),
        ("quoted".to_owned(), attributes("\"a%20\\\"b\"").raw(b"{}").0),
        ("few".to_owned(), Joined::default().byte(1).byte(1).bytes(b"req-1").raw(b"{}").0),
    ]
}
