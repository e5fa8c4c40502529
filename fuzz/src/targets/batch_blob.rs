//! The blobs of a batch row: exceptions and deltas. The checksum is put right first, since no
//! mutation gets through it by itself.

use std::collections::BTreeMap;

use weir_core::digest::Digest;
use weir_core::{Hash128, HashKey, Quantity, TenantId, Timestamp};
use weir_metering::aggregate::{Aggregate, UsageKey};
use weir_metering::meter::MeterKey;
use weir_metering::outcome::{Exception, RejectReason, Verdict};
use weir_wire::batch_blob::{decode_deltas, decode_exceptions, encode_deltas, encode_exceptions};

use crate::Seeds;
use crate::memory::{bound, within};
use crate::pieces::{Joined, Pieces};

/// What 16,777,216 exceptions take, while they are pushed and sorted: the most that any blob
/// may make of itself, however few bytes it has.
const EXCEPTIONS_MEMORY: usize = 1 << 30;
/// What a compressed section may claim, and a column in memory.
const SECTION_MEMORY: usize = 256 << 20;

/// Reads the rest of the input as one blob or the other.
pub fn check(input: &[u8]) {
    let mut pieces = Pieces(input);
    let kind = pieces.byte();
    let blob = if kind & 4 == 0 { sealed(pieces.0) } else { pieces.0.to_vec() };
    if kind & 1 == 0 { check_exceptions(&blob, i64::from(kind >> 3)) } else { check_deltas(&blob) }
}

fn sealed(inner: &[u8]) -> Vec<u8> {
    let hash = Digest::new(&HashKey::new(*b"weir batch blob."), "batch blob").field(inner).finish();
    [inner, &hash.to_bytes()[..8]].concat()
}

fn check_exceptions(blob: &[u8], from: i64) {
    let read = within(bound(EXCEPTIONS_MEMORY, 64, blob), || decode_exceptions(from, blob));
    let Ok(exceptions) = read else { return };
    assert!(exceptions.is_sorted_by(|a, b| a.offset < b.offset));
    assert!(exceptions.first().is_none_or(|first| first.offset >= from));
    let again = encode_exceptions(from, &exceptions);
    assert_eq!(decode_exceptions(from, &again).as_ref(), Ok(&exceptions));
}

fn check_deltas(blob: &[u8]) {
    let Ok(deltas) = within(bound(SECTION_MEMORY, 1_024, blob), || decode_deltas(blob)) else { return };
    let again = encode_deltas(&deltas);
    assert_eq!(decode_deltas(&again).as_ref(), Ok(&deltas));
    assert_eq!(encode_deltas(&deltas), again, "equal deltas have equal bytes");
    for aggregate in deltas.values() {
        if let Aggregate::Sum { quantity, .. } | Aggregate::Latest { quantity, .. } = aggregate {
            assert_eq!(Quantity::parse_total(&quantity.to_string()), Ok(*quantity));
        }
    }
}

/// Blobs as batches leave them.
pub fn seeds() -> Seeds {
    let exception = |offset, verdict| Exception { offset, verdict };
    let exceptions = [
        exception(8, Verdict::Duplicate),
        exception(9, Verdict::Rejected(RejectReason::Malformed)),
        exception(10, Verdict::Rejected(RejectReason::Malformed)),
        exception(12, Verdict::Forwarded),
    ];
    let key = |tenant: &str, meter: &str, dimensions: &str| UsageKey {
        tenant: TenantId::new(tenant).expect("a tenant"),
        meter: MeterKey::new(meter).expect("a meter"),
        hour: Timestamp::clamped(1_789_999_200_000),
        dimensions: dimensions.to_owned(),
    };
    let quantity = Quantity::parse("-0.5").expect("a quantity");
    let time = Timestamp::clamped(1_789_999_200_001);
    let deltas = BTreeMap::from([
        (key("acme", "calls", "{}"), Aggregate::Count { count: 3 }),
        (key("acme", "bytes", r#"{"region":"eu"}"#), Aggregate::Sum { quantity, count: 2 }),
        (key("bolt", "peak", "{}"), Aggregate::Max { quantity: Quantity::from_units(5), count: 1 }),
        (key("bolt", "least", "{}"), Aggregate::Min { quantity, count: 1 }),
        (key("bolt", "seats", "{}"), Aggregate::Latest { time, offset: 7, quantity, count: 1 }),
        (key("bolt", "users", "{}"), Aggregate::Unique { hashes: [Hash128(1), Hash128(2)].into(), count: 3 }),
    ]);
    // As adjustments leave them.
    let below_zero = BTreeMap::from([
        (key("acme", "calls", "{}"), Aggregate::Count { count: -3 }),
        (key("acme", "bytes", "{}"), Aggregate::Sum { quantity, count: -1 }),
        (key("bolt", "bytes", "{}"), Aggregate::Sum { quantity, count: 2 }),
    ]);
    let open = |blob: &[u8]| blob[..blob.len() - 8].to_vec();
    let packed = open(&encode_deltas(&deltas));
    // Version, kind, length, columns: without compression the columns can be changed one by one.
    let frame = packed.iter().skip(2).position(|byte| *byte == 0x28).map_or(3, |at| at + 2);
    let columns = zstd::decode_all(&packed[frame..]).expect("a frame");
    let short = u8::try_from(columns.len() & 0x7f).expect("seven bits") | 0x80;
    let plain = Joined::default()
        .byte(1)
        .byte(1)
        .byte(0)
        .byte(short)
        .byte(u8::try_from(columns.len() >> 7).expect("a length"));
    vec![
        (
            "exceptions".to_owned(),
            Joined::default().byte(7 << 3).raw(&open(&encode_exceptions(7, &exceptions))).0,
        ),
        ("no-exceptions".to_owned(), Joined::default().byte(0).raw(&open(&encode_exceptions(0, &[]))).0),
        ("deltas".to_owned(), Joined::default().byte(1).raw(&packed).0),
        ("below-zero".to_owned(), Joined::default().byte(1).raw(&open(&encode_deltas(&below_zero))).0),
        ("columns".to_owned(), plain.raw(&columns).0),
        ("sealed".to_owned(), Joined::default().byte(5).raw(&encode_deltas(&deltas)).0),
    ]
}
