//! A record of the journal as an owned copy, and the fingerprint by which it is known
//! again. It decodes nothing.

use bytes::Bytes;
use weir_core::Timestamp;

/// What a record costs in memory beside its bytes.
const OVERHEAD_BYTES: usize = 128;

/// A record, copied out of librdkafka's buffers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedRecord {
    /// Its offset.
    pub offset: i64,
    /// The broker's time (LogAppendTime) in milliseconds since 1970.
    pub broker_time_ms: i64,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value. Records that came together may share their memory.
    pub payload: Option<Bytes>,
    /// Its headers, in order.
    pub headers: Vec<(String, Vec<u8>)>,
}

/// By what a record is known again: a topic that was cut and refilled holds another
/// record at the same offset (invariant 2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// Its offset.
    pub offset: i64,
    /// The broker's time.
    pub broker_time: Timestamp,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// CRC-32 (IEEE) of its value; of no bytes where it has none.
    pub crc: i64,
}

/// The record's time is not the broker's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the record at offset {offset} does not carry the broker's time; set message.timestamp.type=LogAppendTime on the topic"
)]
pub struct NotBrokerTime {
    /// Which record.
    pub offset: i64,
}

impl OwnedRecord {
    /// About how many bytes of memory it holds.
    pub fn bytes_about(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len() + 48).sum();
        let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        OVERHEAD_BYTES + length(&self.key) + length(&self.payload) + headers
    }

    /// By what it is known again.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint {
            offset: self.offset,
            broker_time: Timestamp::clamped(self.broker_time_ms),
            key: self.key.as_ref().map(|key| key.to_vec()),
            crc: i64::from(crc32(self.payload.as_deref().unwrap_or_default())),
        }
    }
}

/// CRC-32 as zlib computes it. One record a batch: a table would not pay.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    #[test]
    fn crc_is_zlibs() {
        assert_eq!(super::crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(super::crc32(b""), 0);
    }
}
