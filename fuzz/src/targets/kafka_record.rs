//! A record of the usage topic with any key, headers, value, offset and time: which format it
//! is read as, control records, hops, the marks of a replay.

use std::collections::HashMap;
use std::sync::LazyLock;

use weir_core::{Hash128, HashKey, HourAlignment, Position, Quantity, TenantId, Timestamp};
use weir_metering::adjustment::{Adjustment, Change, Entry, void_id};
use weir_metering::catalogue::Catalogue;
use weir_metering::event::UsageEvent;
use weir_metering::meter::{Aggregation, Meter, MeterKey, Precision};
use weir_metering::outcome::RejectReason;
use weir_metering::quota::{Enforcement, Limit, LimitSet, WhenStale};
use weir_metering::record::RecordBody;
use weir_wire::adjustment::{decode, encode};
use weir_wire::avro::{SchemaSet, encode_event};
use weir_wire::cloudevents::{CONTENT_TYPE, CONTENT_TYPE_BATCH, encode_structured};
use weir_wire::replay::ReplayOrigin;
use weir_wire::usage_record::{
    CONTROL_ADJUSTMENT, CONTROL_LIMITS, CONTROL_TICK, HEADER_CONTENT_TYPE, HEADER_CONTROL, HEADER_HOP,
    HEADER_SCHEMA_ID, RECORD_BYTES_MAX, RawRecord, encode_limits, needed_schema,
};

use crate::Seeds;
use crate::events::{OF_REGISTRY, SHIPPED, decode_both_ways, samples};
use crate::memory::bound;
use crate::pieces::{Joined, Pieces};

/// Names of headers that mean something; further ones are free text.
const NAMES: [&str; 16] = [
    HEADER_CONTENT_TYPE,
    HEADER_CONTROL,
    HEADER_HOP,
    HEADER_SCHEMA_ID,
    "weir-replay-position",
    "weir-replay-time",
    "ce_specversion",
    "ce_id",
    "ce_source",
    "ce_type",
    "ce_subject",
    "ce_time",
    "traceparent",
    "Content-Type",
    "WEIR-HOP",
    "ce_Time",
];

/// The number of the free text among the names.
const FREE: u8 = 16;

/// Reads flags, offset, time, key, headers and the value.
pub fn check(input: &[u8]) {
    let mut pieces = Pieces(input);
    let flags = pieces.byte();
    let (offset, broker_time_ms) = (pieces.number() & i64::MAX, pieces.number());
    let key = pieces.bytes();
    let mut headers = Vec::new();
    for _ in 0..pieces.byte() % 20 {
        let name = NAMES.get(usize::from(pieces.byte())).copied();
        let name = name.unwrap_or_else(|| pieces.text());
        headers.push((name, pieces.bytes()));
    }
    let record = RawRecord {
        key: (flags & 1 == 0).then_some(key),
        payload: (flags & 2 == 0).then_some(pieces.0),
        headers: &headers,
        // The largest of all has no offset after it.
        offset: offset.min(i64::MAX - 1),
        broker_time_ms,
    };
    let schemas = if flags & 4 == 0 { &*SHIPPED } else { &*OF_REGISTRY };
    check_record(schemas, &record, bound(3 << 20, 64, input));
}

fn check_record(schemas: &SchemaSet, record: &RawRecord<'_>, memory_max: usize) {
    let decoded = decode_both_ways(schemas, record, memory_max);
    if let Some(id) = needed_schema(schemas, record, RECORD_BYTES_MAX) {
        let unknown =
            matches!(&decoded.body, RecordBody::Unreadable { reason: RejectReason::UnknownSchema, .. });
        assert!(schemas.may_learn(id) && unknown, "{id} is asked for, and was needed");
    }
    match &decoded.body {
        RecordBody::Event { event, hops } => {
            let hop = record.headers.iter().rev().find(|(name, _)| name.eq_ignore_ascii_case(HEADER_HOP));
            assert_eq!(*hops == 0, hop.is_none_or(|(_, value)| is_zero(value)), "{hop:?}");
            if let (Some(origin), None) = (ReplayOrigin::parse(record.headers), event.time) {
                panic!("a replayed event has no time, although it arrived at {}", origin.broker_time);
            }
        }
        RecordBody::Limits { set: limits, .. } => check_limits(schemas, limits, memory_max),
        // Whether Weir wrote it is the shard's to say, by its seal.
        RecordBody::Adjustment { adjustment, seal, .. } => check_adjustment(adjustment, *seal),
        RecordBody::Tick | RecordBody::Unreadable { .. } => {}
    }
    // Headers of others change nothing.
    let known = |name: &str| NAMES.iter().any(|known| known.eq_ignore_ascii_case(name));
    let few: Vec<_> = record.headers.iter().filter(|(name, _)| known(name)).copied().collect();
    let foreign = matches!(&decoded.body, RecordBody::Unreadable { reason: RejectReason::Oversized, .. });
    if !foreign && few.len() < record.headers.len() {
        let bare = RawRecord { headers: &few, ..*record };
        assert_eq!(decode_both_ways(schemas, &bare, memory_max), decoded, "without foreign headers");
    }
}

/// Whether a hop header says that the record was never forwarded.
fn is_zero(value: &[u8]) -> bool {
    std::str::from_utf8(value).ok().and_then(|text| text.parse::<u8>().ok()) == Some(0)
}

fn check_limits(schemas: &SchemaSet, limits: &LimitSet, memory_max: usize) {
    assert_eq!(limits.validate(), Ok(()));
    let payload = encode_limits(limits);
    let headers: &[(&str, &[u8])] = &[(HEADER_CONTROL, CONTROL_LIMITS.as_bytes())];
    let again = RawRecord { key: None, payload: Some(&payload), headers, offset: 1, broker_time_ms: 1 };
    let memory_max = memory_max.max(bound(64 << 10, 64, &payload));
    assert_eq!(
        decode_both_ways(schemas, &again, memory_max).body,
        RecordBody::Limits { set: limits.clone(), hops: 0 }
    );
}

/// What is read is written as the same again, and may be judged whatever it holds.
fn check_adjustment(adjustment: &Adjustment, seal: Hash128) {
    let again = decode(encode(adjustment, seal).to_string().as_bytes());
    assert_eq!(again, Ok((adjustment.clone(), seal)));
    let valid = adjustment.validate().is_ok();
    for alignment in
        [0, 15, 30, 45].map(|minutes| HourAlignment::from_minutes(minutes).expect("an alignment"))
    {
        let usage = adjustment.usage(&METERS, alignment);
        if let (true, Ok(usage)) = (valid, usage) {
            assert!(usage.keys().all(|key| key.tenant == adjustment.tenant && key.hour <= adjustment.at()));
        }
    }
}

/// Meters that the seeds' adjustments change.
static METERS: LazyLock<Catalogue> = LazyLock::new(|| {
    let meter = |key: &str, aggregation, value: Option<&str>| Meter {
        key: MeterKey::new(key).expect("a meter"),
        version: 1,
        description: String::new(),
        unit: "units".to_owned(),
        event_type: "api.requests".to_owned(),
        aggregation,
        value_property: value.map(str::to_owned),
        dimensions: vec!["region".to_owned()],
        filters: Vec::new(),
        precision: Precision::Exact,
        allow_negative: true,
        begins_at: None,
    };
    let calls = meter("calls", Aggregation::Count, None);
    let bandwidth = meter("bandwidth", Aggregation::Sum, Some("bytes"));
    Catalogue::new(1, vec![calls, bandwidth], HashMap::new(), weir_core::Homes::new(1))
});

/// An adjustment's record, under a seal that no installation gave.
fn sealed(id: &str, change: Change) -> Vec<u8> {
    let tenant = TenantId::new("hudson-data").expect("a tenant");
    let (who, why) = ("ada".to_owned(), "history of the former system".to_owned());
    let adjustment = Adjustment { id: id.to_owned(), tenant, who, why, change };
    encode(&adjustment, adjustment.seal(&HashKey::new([7; 16]))).to_string().into_bytes()
}

fn entry() -> Vec<u8> {
    let entry = Entry {
        meter: MeterKey::new("bandwidth").expect("a meter"),
        dimensions: vec![("region".to_owned(), "eu".to_owned())],
        at: Timestamp::clamped(1_760_000_000_000),
        quantity: Quantity::parse("-12.5").expect("a quantity"),
        event_count: -3,
    };
    sealed("import-1", Change::Entry(entry))
}

fn void() -> Vec<u8> {
    let position = Position { generation: 1, partition: 3, offset: 4_710 };
    let ids = ("hudson-data".to_owned(), "//gw".to_owned(), "e-1".to_owned());
    let data = vec![("bytes".to_owned(), "512".to_owned()), ("region".to_owned(), "eu".to_owned())];
    let time = Some(Timestamp::clamped(1_789_999_999_000));
    let event = UsageEvent::new(ids, "api.requests".to_owned(), time, data).expect("an event");
    sealed(&void_id(position), Change::Void { position, event })
}

/// A record of each kind.
pub fn seeds() -> Seeds {
    let (_, event) = &samples()[0];
    let (_, timeless) = &samples()[1];
    let limit = |meter: &str| Limit {
        meter: MeterKey::new(meter).expect("a meter"),
        limit: Quantity::parse("1000.5").expect("a quantity"),
        enforcement: Enforcement::Hard,
        thresholds_percent: vec![50, 100],
        when_stale: WhenStale::Deny,
    };
    let limits = LimitSet {
        tenant: TenantId::new("hudson-data").expect("a tenant"),
        revision: 3,
        limits: vec![limit("bandwidth"), limit("calls")],
    };
    let time = Timestamp::clamped(1_790_000_000_000).to_string();
    let replayed: &[(u8, &[u8])] = &[(4, b"1/3/4711"), (5, time.as_bytes())];
    let binary: &[(u8, &[u8])] = &[
        (6, b"1.0"),
        (7, b"e-1"),
        (8, b"//gw"),
        (9, b"api.requests"),
        (10, b"hudson-data"),
        (11, time.as_bytes()),
    ];
    let batch: &[(u8, &[u8])] = &[(0, CONTENT_TYPE_BATCH.as_bytes())];
    let seeds: [(&str, u8, &[(u8, &[u8])], Vec<u8>); 16] = [
        ("avro", 0, &[], encode_event(event)),
        ("registry", 4, &[], [&[0, 0, 0, 0, 9], &encode_event(event)[5..]].concat()),
        ("header", 4, &[(3, &[0, 0, 0, 0, 9])], encode_event(event)[5..].to_vec()),
        ("guid", 4, &[(3, &[1; 17])], encode_event(event)[5..].to_vec()),
        ("forwarded", 0, &[(2, b"1")], encode_event(event)),
        ("hop", 0, &[(14, b"many")], encode_event(event)),
        ("replayed", 0, replayed, encode_event(timeless)),
        ("structured", 0, &[(13, CONTENT_TYPE.as_bytes())], encode_structured(event)),
        ("binary", 0, binary, br#"{"calls":"3"}"#.to_vec()),
        ("batch", 0, batch, [&b"["[..], &encode_structured(event), b"]"].concat()),
        ("limits", 0, &[(1, CONTROL_LIMITS.as_bytes())], encode_limits(&limits)),
        ("entry", 0, &[(1, CONTROL_ADJUSTMENT.as_bytes())], entry()),
        ("void", 0, &[(1, CONTROL_ADJUSTMENT.as_bytes())], void()),
        ("tick", 1, &[(1, CONTROL_TICK.as_bytes())], Vec::new()),
        ("tombstone", 2, &[(12, b"00-1-2-01")], Vec::new()),
        ("foreign", 0, &[], b"hello".to_vec()),
    ];
    seeds.map(|(name, flags, headers, value)| (name.to_owned(), joined(flags, headers, &value))).into()
}

fn joined(flags: u8, headers: &[(u8, &[u8])], value: &[u8]) -> Vec<u8> {
    let joined = Joined::default().byte(flags).number(4_711).number(1_790_000_000_000).bytes(b"hudson-data");
    let joined = joined.byte(u8::try_from(headers.len() + 1).expect("few headers"));
    let joined = joined.byte(FREE).bytes(b"x-request-id").bytes(b"abc");
    headers.iter().fold(joined, |joined, (name, value)| joined.byte(*name).bytes(value)).raw(value).0
}
