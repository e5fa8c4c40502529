//! One CloudEvent as JSON. Numbers keep the digits that they were sent with.

use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::value::RawValue;
use weir_metering::event::UsageEvent;
use weir_metering::record::RecordBody;
use weir_wire::cloudevents::{CONTENT_TYPE, decode_structured, encode_structured};
use weir_wire::usage_record::RawRecord;

use crate::Seeds;
use crate::events::{self, SHIPPED, decode_both_ways, samples};
use crate::memory::{bound, within};

/// Reads the input as an event by itself, and as a record's value.
pub fn check(input: &[u8]) {
    let decoded = within(bound(64 << 10, 64, input), || decode_structured(input));
    let headers: &[(&str, &[u8])] = &[("Content-Type", CONTENT_TYPE.as_bytes())];
    let record = RawRecord { key: None, payload: Some(input), headers, offset: 7, broker_time_ms: 1_000 };
    let read = decode_both_ways(&SHIPPED, &record, bound(64 << 10, 64, input));
    match (decoded, read.body) {
        (Ok(event), RecordBody::Event { event: read, hops: 0 }) => {
            assert_eq!(event, read);
            events::check(&event);
            check_values(input, &event);
        }
        (Err(problem), RecordBody::Unreadable { reason, detail }) => {
            assert_eq!((problem.reason, problem.detail), (reason, detail));
            assert!(problem.id.is_none_or(|id| id.chars().count() <= 256) && problem.index.is_none());
        }
        (decoded, body) => panic!("{decoded:?} by itself, {body:?} as a record"),
    }
}

/// Every value of `data` is what another reader of JSON finds there, digit by digit.
fn check_values(input: &[u8], event: &UsageEvent) {
    let members: BTreeMap<String, Box<RawValue>> =
        serde_json::from_slice(input).expect("what was decoded is an object");
    let Some(data) = members.get("data").filter(|data| data.get() != "null") else { return };
    let data: BTreeMap<String, Box<RawValue>> =
        serde_json::from_str(data.get()).expect("what was decoded is an object");
    let sent: BTreeMap<_, _> = data.iter().filter(|(_, raw)| raw.get() != "null").collect();
    assert_eq!(sent.len(), event.data.len(), "all members but nulls");
    for (name, value) in &event.data {
        let raw = sent[name].get();
        match raw.as_bytes()[0] {
            b'"' => assert_eq!(serde_json::from_str::<String>(raw).as_ref().ok(), Some(value)),
            b'{' | b'[' => {
                // Objects are kept as they were sent, white space aside: what another reader cannot
                // take (half of a surrogate pair) stays so.
                let (sent, kept) = (serde_json::from_str::<Value>(raw), serde_json::from_str::<Value>(value));
                assert_eq!(sent.ok(), kept.ok(), "{name}");
            }
            _ => assert_eq!(raw, value, "a number keeps its digits"),
        }
    }
}

/// Events of each shape that clients send.
pub fn seeds() -> Seeds {
    let head = r#""specversion":"1.0","id":"1","source":"s","type":"t","subject":"acme""#;
    let mut seeds: Seeds =
        samples().into_iter().map(|(name, event)| (name.to_owned(), encode_structured(&event))).collect();
    let texts = [
        (
            "numbers",
            r#""time":"2026-11-24T09:00:00+01:00","data":{"a":0.1,"b":-12e-7,"c":true,"d":null,"e":[1,{"f":2.50}]}"#,
        ),
        ("base64", r#""datacontenttype":"application/json","data_base64":"eyJieXRlcyI6IDF9""#),
        ("extension", r#""traceparent":"00-1","data":null"#),
        ("twice", r#""id":"2","data":{"a":1,"a":2}"#),
        ("escapes", r#""data":{"\u0061\ud83d\ude00":"\"\\\n\u0000"}"#),
        ("float", r#""data":{"n":1e400,"m":123456789012345678901234567890.123456789}"#),
    ];
    seeds.extend(texts.map(|(name, rest)| (name.to_owned(), format!("{{{head},{rest}}}").into_bytes())));
    seeds.push((
        "nested".to_owned(),
        format!("{{{head},\"data\":{{\"a\":{}1{}}}}}", "[".repeat(40), "]".repeat(40)).into_bytes(),
    ));
    seeds
}
