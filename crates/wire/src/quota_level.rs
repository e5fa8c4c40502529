//! Records of weir.quota.v1, the compacted topic of quota levels: key `tenant/meter`,
//! value JSON. Of two levels of one key the one with the higher position counts,
//! whatever order they arrive in.

use serde_json::json;
use weir_metering::quota::QuotaLevel;

/// Why a record of the topic cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum UnreadableLevel {
    /// The value is not a level.
    #[error("the value is not a quota level")]
    Value(#[source] serde_json::Error),
    /// The key names another tenant or meter than the value.
    #[error("the key {key:?} does not belong to the level of {tenant}/{meter}")]
    Key {
        /// The record's key.
        key: String,
        /// The level's tenant.
        tenant: String,
        /// The level's meter.
        meter: String,
    },
}

/// The key of a level. Neither part can hold a slash.
pub fn key(level: &QuotaLevel) -> String {
    format!("{}/{}", level.tenant, level.meter)
}

/// The value of a level.
pub fn encode(level: &QuotaLevel) -> Vec<u8> {
    json!(level).to_string().into_bytes()
}

/// Reads a level.
pub fn decode(record_key: &[u8], value: &[u8]) -> Result<QuotaLevel, UnreadableLevel> {
    let level: QuotaLevel = serde_json::from_slice(value).map_err(UnreadableLevel::Value)?;
    if key(&level).as_bytes() == record_key {
        Ok(level)
    } else {
        Err(UnreadableLevel::Key {
            key: String::from_utf8_lossy(record_key).chars().take(160).collect(),
            tenant: level.tenant.to_string(),
            meter: level.meter.to_string(),
        })
    }
}

/// Whether `candidate` replaces `held`: its (generation, offset) is not lower. A level
/// published again at the same position is the same. A tenant has another partition only if it was
/// created again in a ledger that was restored: then the later one counts.
pub fn replaces(candidate: &QuotaLevel, held: &QuotaLevel) -> bool {
    let (new, old) = (candidate.position, held.position);
    let is_later =
        if new.partition == old.partition { new.offset >= old.offset } else { candidate.as_of >= held.as_of };
    new.generation > old.generation || new.generation == old.generation && is_later
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_core::{Position, Quantity, Span, TenantId, Timestamp};
    use weir_metering::meter::MeterKey;
    use weir_metering::quota::{Enforcement, Limit, WhenStale};

    fn level(generation: i32, offset: i64, limited: bool) -> QuotaLevel {
        let meter = MeterKey::new("bandwidth").unwrap();
        QuotaLevel {
            tenant: TenantId::new("acme").unwrap(),
            limit: limited.then(|| Limit {
                meter: meter.clone(),
                limit: Quantity::from_units(1_000),
                enforcement: Enforcement::Hard,
                thresholds_percent: vec![80, 100],
                when_stale: WhenStale::Deny,
            }),
            meter,
            period: Span {
                start: Timestamp::parse("2026-11-01T00:00:00Z").unwrap(),
                end: Timestamp::parse("2026-12-01T00:00:00Z").unwrap(),
            },
            used: Quantity::parse("12.5").unwrap(),
            position: Position { generation, partition: 3, offset },
            as_of: Timestamp::parse("2026-11-24T08:00:00Z").unwrap(),
        }
    }

    #[test]
    fn levels_come_back_under_their_key() {
        for level in [level(1, 2, true), level(1, 2, false)] {
            assert_eq!(key(&level), "acme/bandwidth");
            assert_eq!(decode(b"acme/bandwidth", &encode(&level)).unwrap(), level);
        }
    }

    /// What is in the topic now must be readable by every later version.
    #[test]
    fn the_value_of_version_1_is_still_read() {
        let value = r#"{"tenant":"acme","limit":{"meter":"bandwidth","limit":"1000","enforcement":"hard",
            "thresholds_percent":[80,100],"when_stale":"deny"},"meter":"bandwidth",
            "period":{"start":"2026-11-01T00:00:00.000Z","end":"2026-12-01T00:00:00.000Z"},"used":"12.5",
            "position":{"generation":1,"partition":3,"offset":2},"as_of":"2026-11-24T08:00:00.000Z"}"#;
        assert_eq!(decode(b"acme/bandwidth", value.as_bytes()).unwrap(), level(1, 2, true));
    }

    #[test]
    fn what_a_newer_version_adds_is_passed_over() {
        let mut newer: serde_json::Value = serde_json::from_slice(&encode(&level(1, 2, true))).unwrap();
        newer["limit"]["burst"] = "5".into();
        let newer = serde_json::to_vec(&newer).unwrap();
        assert_eq!(decode(b"acme/bandwidth", &newer).unwrap(), level(1, 2, true));
    }

    #[test]
    fn a_foreign_key_and_bad_bytes_are_refused() {
        assert!(matches!(
            decode(b"acme/calls", &encode(&level(1, 2, true))),
            Err(UnreadableLevel::Key { .. })
        ));
        assert!(matches!(decode(b"acme/bandwidth", b""), Err(UnreadableLevel::Value(_))));
    }

    #[test]
    fn the_highest_generation_then_offset_counts() {
        let ranked = [level(1, 5, true), level(1, 6, true), level(2, 0, true)];
        for (at, higher) in ranked.iter().enumerate() {
            for (other, lower) in ranked.iter().enumerate() {
                assert_eq!(replaces(higher, lower), at >= other);
            }
        }
    }

    /// A ledger was restored, and the tenant created again into another partition.
    #[test]
    fn of_two_partitions_the_later_level_counts() {
        let old = level(1, 5_000, true);
        let mut new = level(1, 3, true);
        new.position.partition = 7;
        new.as_of = old.as_of.plus_millis(1);
        assert!(replaces(&new, &old) && !replaces(&old, &new));
    }
}
