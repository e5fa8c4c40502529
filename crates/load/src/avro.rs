//! An event as a record's value: Avro in Confluent's framing, as schemas/avro/README.md asks for.
//! Written by hand into a buffer that is used again, with nothing allocated.

use crate::profile::Kind;
use crate::stream::Event;

/// Byte 0 and the number of version 2 (2^31 + 2), big-endian.
const HEAD: [u8; 5] = [0, 0x80, 0, 0, 2];
const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Appends the event's value.
pub fn write_avro(event: &Event, out: &mut Vec<u8>) {
    out.extend_from_slice(&HEAD);
    put_length(out, 24);
    put_id(out, event);
    put_length(out, 15);
    put_source(out, event);
    put_counted(out, |out| put_meter(out, event.meter));
    put_length(out, 12);
    put_tenant(out, event.tenant);
    put_long(out, 1);
    put_long(out, event.time_ms);
    put_data(out, event);
    put_long(out, 0); // traceparent: null
}

fn put_data(out: &mut Vec<u8>, event: &Event) {
    let sum = event.kind == Kind::Sum;
    let entries = usize::from(sum) + usize::from(event.region.is_some());
    if entries > 0 {
        put_length(out, entries);
    }
    if sum {
        put_length(out, 8);
        out.extend_from_slice(b"quantity");
        put_counted(out, |out| put_quantity(out, event.thousandths));
    }
    if let Some(region) = event.region {
        put_length(out, 6);
        out.extend_from_slice(b"region");
        put_counted(out, |out| put_region(out, region));
    }
    put_long(out, 0);
}

/// The id: seed and serial in 24 hexadecimal digits.
pub(crate) fn put_id(out: &mut Vec<u8>, event: &Event) {
    let number = u128::from(event.seed) << 64 | u128::from(event.serial);
    for at in (0..24).rev() {
        out.push(DIGITS[usize::try_from(number >> (4 * at) & 15).unwrap_or(0)]);
    }
}

/// The source, 15 bytes.
pub(crate) fn put_source(out: &mut Vec<u8>, event: &Event) {
    out.extend_from_slice(b"//load/gateway");
    put_decimal(out, event.gateway);
}

/// The meter's key, which is the event's type.
pub(crate) fn put_meter(out: &mut Vec<u8>, meter: u32) {
    out.extend_from_slice(b"load_");
    put_decimal(out, meter);
}

/// The tenant's id, 12 bytes.
pub(crate) fn put_tenant(out: &mut Vec<u8>, tenant: u32) {
    out.extend_from_slice(b"load-");
    put_padded(out, tenant, 1_000_000);
}

/// A quantity without needless zeros behind its point.
pub(crate) fn put_quantity(out: &mut Vec<u8>, thousandths: u32) {
    put_decimal(out, thousandths / 1_000);
    let mut rest = thousandths % 1_000;
    if rest > 0 {
        out.push(b'.');
        let mut unit = 100;
        while rest > 0 {
            put_padded(out, rest / unit, 1);
            rest %= unit;
            unit /= 10;
        }
    }
}

/// A value of the dimension.
pub(crate) fn put_region(out: &mut Vec<u8>, region: u32) {
    out.extend_from_slice(b"region-");
    put_decimal(out, region);
}

fn put_decimal(out: &mut Vec<u8>, number: u32) {
    let mut unit = 1;
    while number / unit >= 10 {
        unit *= 10;
    }
    put_padded(out, number, unit);
}

/// Digits from the one that `unit` stands for.
fn put_padded(out: &mut Vec<u8>, number: u32, mut unit: u32) {
    while unit > 0 {
        out.push(DIGITS[usize::try_from(number / unit % 10).unwrap_or(0)]);
        unit /= 10;
    }
}

/// A text behind its length, which is below 64 and so one byte.
fn put_counted(out: &mut Vec<u8>, text: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.push(0);
    text(out);
    out[at] = u8::try_from(2 * (out.len() - at - 1)).unwrap_or(0);
}

fn put_length(out: &mut Vec<u8>, length: usize) {
    put_long(out, i64::try_from(length).unwrap_or(0));
}

/// Avro's long: zigzag in seven bits a byte, the lowest first.
fn put_long(out: &mut Vec<u8>, value: i64) {
    let mut rest = (value << 1 ^ value >> 63).cast_unsigned();
    while rest > 0x7f {
        out.push(u8::try_from(rest & 0x7f).unwrap_or(0) | 0x80);
        rest >>= 7;
    }
    out.push(u8::try_from(rest).unwrap_or(0));
}
