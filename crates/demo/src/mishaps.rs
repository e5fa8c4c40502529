//! What goes wrong at producers: records that no meter can take, and some odd ones that one can.

use std::sync::Arc;

use anyhow::Result;
use chrono::{DateTime, Duration, Utc};

use crate::event::{Event, framed};
use crate::script::Cargo;

/// A schema id that nobody published.
const UNKNOWN_SCHEMA: u32 = 4_242;
/// More than Weir reads of one record.
const TOO_LARGE_BYTES: usize = 1_500_000;

/// Mishaps of a producer that writes to Kafka as Weir asks for.
pub fn in_kafka(now: DateTime<Utc>) -> Result<Vec<Cargo>> {
    let good = bytes_event("spree-werke", "cut-short", now, "1");
    let avro = good.to_avro()?;
    let junk = |value: Vec<u8>, wrong| Cargo::Bytes { key: "spree-werke".to_owned(), value, wrong };
    let mut cargo = vec![
        junk(b"POST /api/v1/events HTTP/1.1".to_vec(), "malformed"),
        junk(Vec::new(), "malformed"),
        junk(avro[..avro.len() / 2].to_vec(), "malformed"),
        junk([&avro[..], b"left over"].concat(), "malformed"),
        junk(framed(UNKNOWN_SCHEMA, &avro[5..]), "unknown_schema"),
        junk(vec![0; TOO_LARGE_BYTES], "oversized"),
    ];
    let values = [
        ("exponent", "1e-07"),
        ("forty-digits", "1234567890123456789012345678901234567890"),
        ("not-a-number", "NaN"),
        ("float-noise", "0.30000000000000004"),
        ("negative", "-5"),
    ];
    let odd = values.map(|(id, value)| bytes_event("spree-werke", id, now, value));
    cargo.extend(odd.into_iter().map(event));
    let mut with_nul = bytes_event("nimbus-labs", "nul", now, "1");
    with_nul.id = "a\0b".to_owned();
    let mut too_long = bytes_event("nimbus-labs", "long", now, "1");
    too_long.data.push(("note".to_owned(), "x".repeat(5_000)));
    cargo.extend([event(with_nul), event(too_long)]);
    for day in 0..20 {
        let id = format!("too-late-{day}");
        cargo.push(event(bytes_event("himal-net", &id, now - Duration::days(36 + day), "4096")));
    }
    for hour in 2..6 {
        let id = format!("in-future-{hour}");
        cargo.push(event(bytes_event("himal-net", &id, now + Duration::hours(hour), "4096")));
    }
    Ok(cargo)
}

/// Mishaps of a producer with another partitioner.
pub fn elsewhere(now: DateTime<Utc>) -> Vec<Cargo> {
    let unknown = (0..15).map(|index| {
        let tenant = format!("nobody-{}", index % 5);
        event(bytes_event(&tenant, &format!("unknown-{index}"), now, "512"))
    });
    unknown.collect()
}

/// Mishaps inside HTTP batches: one bad event among good ones.
pub fn over_http(now: DateTime<Utc>) -> Vec<Cargo> {
    let mut no_id = bytes_event("nimbus-labs", "", now, "1");
    no_id.id.clear();
    let mut no_source = bytes_event("nimbus-labs", "no-source", now, "1");
    no_source.source.clear();
    let exponent = bytes_event("nimbus-labs", "exponent", now, "2.5E3");
    vec![event(no_id), event(no_source), event(exponent)]
}

fn event(event: Event) -> Cargo {
    Cargo::Event(Arc::new(event))
}

fn bytes_event(tenant: &str, id: &str, at: DateTime<Utc>, bytes: &str) -> Event {
    Event {
        tenant: tenant.to_owned(),
        source: "//mishaps".to_owned(),
        id: id.to_owned(),
        event_type: "disk.write".to_owned(),
        time_ms: at.timestamp_millis(),
        data: vec![("bytes".to_owned(), bytes.to_owned())],
    }
}
