//! Usage events as Avro in Confluent's framing, written by hand from the documented schema
//! (schemas/avro/usage_event.v2.avsc), as a foreign producer would.

use crate::events::Event;

/// The id of the second shipped schema where no registry is configured.
const SCHEMA_ID: u32 = 2;

/// The bytes of a record's value.
pub fn framed(event: &Event) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend(SCHEMA_ID.to_be_bytes());
    for text in [&event.id, &event.source, &event.event_type, &event.tenant] {
        put_text(&mut bytes, text);
    }
    match event.time {
        None => put_long(&mut bytes, 0),
        Some(time) => {
            put_long(&mut bytes, 1);
            put_long(&mut bytes, time.timestamp_millis());
        }
    }
    if !event.data.is_empty() {
        put_length(&mut bytes, event.data.len());
        for (name, value) in &event.data {
            put_text(&mut bytes, name);
            put_text(&mut bytes, value);
        }
    }
    put_long(&mut bytes, 0);
    // No traceparent.
    put_long(&mut bytes, 0);
    bytes
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    put_length(bytes, text.len());
    bytes.extend(text.as_bytes());
}

fn put_length(bytes: &mut Vec<u8>, length: usize) {
    put_long(bytes, i64::try_from(length).unwrap_or(i64::MAX));
}

/// Zigzag, then seven bits a byte, lowest first.
fn put_long(bytes: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    loop {
        let low = u8::try_from(rest & 0x7f).unwrap_or_default();
        rest >>= 7;
        if rest == 0 {
            bytes.push(low);
            return;
        }
        bytes.push(low | 0x80);
    }
}
