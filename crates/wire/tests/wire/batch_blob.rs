//! What a batch row keeps: it comes back, equal input gives equal bytes, damage is an
//! error, and the sizes are what the plan counts on.

use std::collections::BTreeMap;

use proptest::prelude::*;
use weir_core::{Hash128, Quantity, TenantId, Timestamp};
use weir_metering::aggregate::{Aggregate, UsageKey};
use weir_metering::meter::MeterKey;
use weir_metering::outcome::{Exception, RejectReason, Verdict};
use weir_wire::batch_blob::{
    CorruptBlob, decode_deltas, decode_exceptions, encode_deltas, encode_exceptions,
};

const VERDICTS: [Verdict; 14] = [
    Verdict::Duplicate,
    Verdict::Conflict,
    Verdict::Forwarded,
    Verdict::Control,
    Verdict::Rejected(RejectReason::Malformed),
    Verdict::Rejected(RejectReason::UnknownSchema),
    Verdict::Rejected(RejectReason::InvalidEvent),
    Verdict::Rejected(RejectReason::InvalidValue),
    Verdict::Rejected(RejectReason::UnknownTenant),
    Verdict::Rejected(RejectReason::TooLate),
    Verdict::Rejected(RejectReason::InFuture),
    Verdict::Rejected(RejectReason::Misrouted),
    Verdict::Rejected(RejectReason::Oversized),
    Verdict::Rejected(RejectReason::RefusedByStore),
];

fn any_exceptions() -> impl Strategy<Value = (i64, Vec<Exception>)> {
    let gap = prop_oneof![4 => Just(0_i64), 4 => 0_i64..300, 1 => 0_i64..1_000_000_000_000];
    let parts = prop::collection::vec((gap, prop::sample::select(VERDICTS.to_vec())), 0..60);
    (0_i64..1 << 50, parts).prop_map(|(from, parts)| {
        let mut offset = from - 1;
        let exceptions = parts.into_iter().map(|(gap, verdict)| {
            offset += 1 + gap;
            Exception { offset, verdict }
        });
        (from, exceptions.collect())
    })
}

fn any_quantity() -> impl Strategy<Value = Quantity> {
    prop_oneof![
        (-99_999_999_999_999_999_999_999_999_999_999_999_999_i128
            ..=99_999_999_999_999_999_999_999_999_999_999_999_999)
            .prop_map(|nanos| Quantity::from_nanos(nanos).unwrap()),
        any::<i64>().prop_map(Quantity::from_units),
    ]
}

fn any_aggregate() -> impl Strategy<Value = Aggregate> {
    let numbers = (any_quantity(), any::<i64>(), 0_i64..253_402_300_800_000, any::<i64>());
    let hashes = prop::collection::btree_set(any::<u128>().prop_map(Hash128), 0..5);
    (0..6, numbers, hashes).prop_map(|(kind, (quantity, count, time, offset), hashes)| match kind {
        0 => Aggregate::Count { count },
        1 => Aggregate::Sum { quantity, count },
        2 => Aggregate::Max { quantity, count },
        3 => Aggregate::Min { quantity, count },
        4 => Aggregate::Latest { time: Timestamp::clamped(time), offset, quantity, count },
        _ => Aggregate::Unique { hashes, count },
    })
}

fn any_deltas() -> impl Strategy<Value = BTreeMap<UsageKey, Aggregate>> {
    let key = ("[a-c][a-z0-9.]{0,2}", "[a-c]", 0_i64..253_402_300_800_000, "\\PC{0,10}").prop_map(
        |(tenant, meter, hour, dimensions)| UsageKey {
            tenant: TenantId::new(&tenant).unwrap(),
            meter: MeterKey::new(&meter).unwrap(),
            hour: Timestamp::clamped(hour),
            dimensions,
        },
    );
    prop::collection::btree_map(key, any_aggregate(), 0..30)
}

proptest! {
    #[test]
    fn exceptions_come_back((from, exceptions) in any_exceptions()) {
        prop_assert_eq!(decode_exceptions(from, &encode_exceptions(from, &exceptions)), Ok(exceptions));
    }

    #[test]
    fn deltas_come_back_and_equal_ones_have_equal_bytes(deltas in any_deltas()) {
        let bytes = encode_deltas(&deltas);
        prop_assert_eq!(&encode_deltas(&deltas.clone()), &bytes);
        prop_assert_eq!(decode_deltas(&bytes), Ok(deltas));
    }

    #[test]
    fn a_changed_byte_is_an_error(
        (from, exceptions) in any_exceptions(),
        deltas in any_deltas(),
        at in any::<prop::sample::Index>(),
        flip in 1_u8..,
    ) {
        let mut bytes = encode_exceptions(from, &exceptions);
        let place = at.index(bytes.len());
        bytes[place] ^= flip;
        prop_assert!(decode_exceptions(from, &bytes).is_err());
        let mut bytes = encode_deltas(&deltas);
        let place = at.index(bytes.len());
        bytes[place] ^= flip;
        prop_assert!(decode_deltas(&bytes).is_err());
    }

    #[test]
    fn bytes_cut_short_and_any_bytes_are_an_error(deltas in any_deltas(), at in any::<prop::sample::Index>(), any: Vec<u8>) {
        let bytes = encode_deltas(&deltas);
        prop_assert!(decode_deltas(&bytes[..at.index(bytes.len())]).is_err());
        prop_assert!(decode_deltas(&any).is_err());
        prop_assert!(decode_exceptions(0, &any).is_err());
    }
}

#[test]
fn a_later_layout_is_named() {
    let mut bytes = encode_exceptions(0, &[]);
    bytes[0] = 2;
    assert_eq!(decode_exceptions(0, &bytes), Err(CorruptBlob::UnknownVersion(2)));
}

/// What ledgers hold now must be read by every later version. (Not the bytes of deltas are
/// compared, since another zstd may compress otherwise.)
#[test]
fn bytes_of_version_1_are_still_read() {
    let exceptions = [
        Exception { offset: 100, verdict: Verdict::Control },
        Exception { offset: 105, verdict: Verdict::Duplicate },
        Exception { offset: 106, verdict: Verdict::Duplicate },
        Exception { offset: 107, verdict: Verdict::Rejected(RejectReason::TooLate) },
    ];
    let bytes = hex::decode(EXCEPTIONS_V1).unwrap();
    assert_eq!(hex::encode(encode_exceptions(100, &exceptions)), EXCEPTIONS_V1);
    assert_eq!(decode_exceptions(100, &bytes), Ok(exceptions.to_vec()));
    let deltas = decode_deltas(&hex::decode(DELTAS_V1).unwrap()).unwrap();
    assert_eq!(deltas, small_deltas());
}

const EXCEPTIONS_V1: &str = "0106010e40010b024301001d92cacb1dcd93d9";
const DELTAS_V1: &str = "01017028b52ffd207e3d03006405010461636d65050563616c6c7303637075036d61780573656174730575736572\
    7301027b7d0180d083ced6660500010203040001120405030202010980bcc1960b0dc09ef7fbea01540201000000\
    0000000000000002060040081800a9e2526e05fbdc023d15aafa60b2a606ca";

fn small_deltas() -> BTreeMap<UsageKey, Aggregate> {
    let quantity = Quantity::parse("1.5").unwrap();
    let time = Timestamp::parse("2026-11-24T08:15:00Z").unwrap();
    let hashes = [Hash128(1), Hash128(2)].into();
    let aggregates = [
        ("calls", Aggregate::Count { count: 3 }),
        ("cpu", Aggregate::Sum { quantity, count: 2 }),
        ("max", Aggregate::Max { quantity: Quantity::from_units(-7), count: 2 }),
        ("seats", Aggregate::Latest { time, offset: 42, quantity, count: 1 }),
        ("users", Aggregate::Unique { hashes, count: 9 }),
    ];
    aggregates.into_iter().map(|(meter, aggregate)| (key("acme", meter, 8), aggregate)).collect()
}

fn key(tenant: &str, meter: &str, hour: i64) -> UsageKey {
    UsageKey {
        tenant: TenantId::new(tenant).unwrap(),
        meter: MeterKey::new(meter).unwrap(),
        hour: Timestamp::clamped(1_763_942_400_000 + hour * 3_600_000),
        dimensions: "{}".to_owned(),
    }
}

/// One in a hundred a duplicate, at random places: about 1.5 bytes each.
#[test]
fn an_exception_takes_about_a_byte_and_a_half() {
    let mut state = 7_u64;
    let mut exceptions = Vec::new();
    for offset in 0..1_000_000 {
        if random(&mut state).is_multiple_of(100) {
            exceptions.push(Exception { offset, verdict: Verdict::Duplicate });
        }
    }
    let bytes = encode_exceptions(0, &exceptions).len();
    println!("{} exceptions in {bytes} bytes", exceptions.len());
    assert!(bytes * 10 < exceptions.len() * 17);
}

/// 10,000 tenants with 5 meters in one hour: at most the 10 bytes a key that the plan counts on.
#[test]
fn a_key_takes_at_most_ten_bytes() {
    let mut state = 7_u64;
    let mut deltas = BTreeMap::new();
    for tenant in 0..10_000 {
        for (at, meter) in ["bandwidth", "calls", "compute", "seats", "storage"].into_iter().enumerate() {
            let count = i64::try_from(1 + random(&mut state) % 40).unwrap();
            let value = i64::try_from(random(&mut state) % 5_000_000).unwrap();
            let fine = Quantity::from_nanos(i128::from(value) * 1_000_000).unwrap();
            let aggregate = match at {
                1 => Aggregate::Count { count },
                2 => Aggregate::Sum { quantity: fine, count },
                3 => Aggregate::Max { quantity: Quantity::from_units(value % 500), count },
                _ => Aggregate::Sum { quantity: Quantity::from_units(value), count },
            };
            deltas.insert(key(&format!("tenant-{tenant:05}"), meter, 0), aggregate);
        }
    }
    let bytes = encode_deltas(&deltas);
    println!("{} keys in {} bytes", deltas.len(), bytes.len());
    assert_eq!(decode_deltas(&bytes).unwrap(), deltas);
    assert!(bytes.len() <= deltas.len() * 10);
}

/// Knuth's MMIX generator, high bits.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}
