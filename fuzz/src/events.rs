//! What must hold of every event that was decoded, whatever it came in; and events for seeds.

use std::sync::LazyLock;

use weir_core::{Quantity, Timestamp};
use weir_metering::event::{EventBuffer, UsageEvent};
use weir_metering::record::{Batch, JournalRecord, RecordBody};
use weir_wire::avro::{SchemaSet, decode_event, encode_event};
use weir_wire::cloudevents::{decode_structured, encode_structured};
use weir_wire::dead_letter::MESSAGE_BYTES_MAX;
use weir_wire::usage_record::{RECORD_BYTES_MAX, RawRecord, decode_into, decode_record};

use crate::memory::within;

/// The schemas that ship with Weir, without a registry.
pub static SHIPPED: LazyLock<SchemaSet> = LazyLock::new(SchemaSet::shipped);
/// The same beside a registry.
pub static OF_REGISTRY: LazyLock<SchemaSet> = LazyLock::new(SchemaSet::of_registry);

/// Memory that one record may take to be decoded, for the largest that is read.
const RECORD_MEMORY_MAX: usize = 16 << 20;

/// Reads a record by itself and into a batch, which must be the same, and checks the event.
pub fn decode_both_ways(schemas: &SchemaSet, record: &RawRecord<'_>, memory_max: usize) -> JournalRecord {
    let memory_max = memory_max.min(RECORD_MEMORY_MAX);
    let alone = within(memory_max, || decode_record(schemas, record, RECORD_BYTES_MAX));
    let mut batch = Batch::new(3, record.offset);
    within(memory_max, || decode_into(schemas, record, RECORD_BYTES_MAX, &mut batch));
    assert_eq!(batch.to_records(), [alone.clone()], "a batch reads what a record reads");
    assert_eq!(alone.offset, record.offset);
    assert_eq!(alone.broker_time, Timestamp::clamped(record.broker_time_ms));
    match &alone.body {
        RecordBody::Event { event, .. } => check(event),
        RecordBody::Unreadable { detail, .. } => assert!(detail.len() <= MESSAGE_BYTES_MAX, "{detail}"),
        RecordBody::Limits { .. } | RecordBody::Adjustment { .. } | RecordBody::Tick => {}
    }
    alone
}

/// An event that was decoded is the same after every format that Weir writes, and what it
/// says in numbers is read exactly or refused.
pub fn check(event: &UsageEvent) {
    assert!(!event.id.is_empty() && !event.source.is_empty());
    assert!(!event.event_type.is_empty() && !event.tenant.is_empty());
    assert!(event.data.is_sorted_by(|a, b| a.0 < b.0), "data is sorted, each name once");
    assert_eq!(decode_event(&SHIPPED, &encode_event(event)).as_ref(), Ok(event), "as Avro");
    assert_eq!(decode_event(&OF_REGISTRY, &encode_event(event)).as_ref(), Ok(event), "beside a registry");
    assert_eq!(decode_structured(&encode_structured(event)).as_ref(), Ok(event), "as a CloudEvent");
    let buffer = EventBuffer::of(event);
    assert_eq!(buffer.get(0).to_event(), *event, "in a buffer");
    let valid = buffer.get(0).validate().is_ok();
    for (name, value) in &event.data {
        assert_eq!(event.value(name), Some(value.as_str()));
        if valid {
            crate::targets::numbers::check_quantity(value);
        }
    }
}

/// Events as customers send them.
pub fn samples() -> Vec<(&'static str, UsageEvent)> {
    let event = |id: &str, time: Option<&str>, data: &[(&str, &str)]| UsageEvent {
        tenant: "hudson-data".to_owned(),
        source: "//gateway.eu/7".to_owned(),
        id: id.to_owned(),
        event_type: "api.requests".to_owned(),
        time: time.map(|text| Timestamp::parse(text).expect("a time of a seed")),
        data: data.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
    };
    let at = Some("2026-11-24T08:00:00.123Z");
    vec![
        ("plain", event("req-1", at, &[("calls", "3"), ("region", "us-east-1")])),
        ("bare", event("req-2", None, &[])),
        (
            "decimals",
            event("req-3", at, &[("bytes", "-0.000000001"), ("cpu_hours", "12.5e3"), ("x", "1e-7")]),
        ),
        ("words", event("ü \u{1f600}\u{85}", at, &[("", "a\"b\\c\n"), ("n\u{e9}", "{\"a\":[1,2.50]}")])),
        ("large", event("req-5", at, &[("units", &Quantity::from_units(1_000_000_000_000_000).to_string())])),
    ]
}
