//! A record of the topic of quota levels, and the answers that follow from it.

use weir_core::{Position, Quantity, Span, TenantId, Timestamp};
use weir_metering::meter::MeterKey;
use weir_metering::quota::{Enforcement, Limit, QuotaLevel, WhenStale, answer};
use weir_wire::quota_level::{decode, encode, key, replaces};

use crate::Seeds;
use crate::memory::{bound, within};
use crate::pieces::{Joined, Pieces};

/// Reads a key and a value; a value whose key is wrong is read again under its own.
pub fn check(input: &[u8]) {
    let mut pieces = Pieces(input);
    let record_key = pieces.bytes();
    let value = pieces.0;
    let read = within(bound(64 << 10, 64, input), || decode(record_key, value));
    let own = serde_json::from_slice::<QuotaLevel>(value).ok();
    let Some(own) = own else {
        assert!(read.is_err());
        return;
    };
    assert_eq!(read.is_ok(), key(&own).as_bytes() == record_key);
    let level = decode(key(&own).as_bytes(), value).expect("its own key");
    assert_eq!(decode(key(&level).as_bytes(), &encode(&level)).as_ref().ok(), Some(&level));
    assert!(replaces(&level, &level));
    for now in [Timestamp::EPOCH, level.as_of, level.period.end, Timestamp::clamped(i64::MAX)] {
        let answer = answer(&level, now, 5_000);
        assert!(answer.remaining.is_none_or(|left| left >= Quantity::ZERO));
        if let (Some(limit), Some(left), Some(_)) = (answer.limit, answer.remaining, answer.resets_at) {
            let expected = limit.nanos().checked_sub(answer.used.nanos()).and_then(Quantity::from_nanos);
            assert_eq!(left, expected.unwrap_or_default().max(Quantity::ZERO), "what is left is exact");
        }
    }
}

/// A level with a limit and one without.
pub fn seeds() -> Seeds {
    let meter = MeterKey::new("bandwidth").expect("a meter");
    let level = |limited: bool| QuotaLevel {
        tenant: TenantId::new("acme").expect("a tenant"),
        limit: limited.then(|| Limit {
            meter: meter.clone(),
            limit: Quantity::from_units(1_000),
            enforcement: Enforcement::Hard,
            thresholds_percent: vec![80, 100],
            when_stale: WhenStale::Deny,
        }),
        meter: meter.clone(),
        period: Span {
            start: Timestamp::clamped(1_788_000_000_000),
            end: Timestamp::clamped(1_790_700_000_000),
        },
        used: Quantity::parse("12.5").expect("a quantity"),
        position: Position { generation: 1, partition: 3, offset: 2 },
        as_of: Timestamp::clamped(1_790_000_000_000),
    };
    let seed = |level: &QuotaLevel, key: &str| Joined::default().bytes(key.as_bytes()).raw(&encode(level)).0;
    vec![
        ("limited".to_owned(), seed(&level(true), "acme/bandwidth")),
        ("unlimited".to_owned(), seed(&level(false), "acme/bandwidth")),
        ("foreign".to_owned(), seed(&level(true), "acme/calls")),
    ]
}
