//! Positions in the journal, and which partition a tenant's events belong to.

use serde::{Deserialize, Serialize};

/// Which life of the topic a position belongs to. Raised by the commands that
/// accept a recreated, trimmed or restored topic; never otherwise.
pub type Generation = i32;

/// The number of a partition of the usage topic.
pub type Partition = i32;

/// Where a record stands in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// Which life of the topic.
    pub generation: Generation,
    /// Which partition.
    pub partition: Partition,
    /// Offset inside the partition.
    pub offset: i64,
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.generation, self.partition, self.offset)
    }
}

/// A text that is no position.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a position such as 1/3/4711 (generation, partition, offset)")]
pub struct InvalidPosition(String);

impl std::str::FromStr for Position {
    type Err = InvalidPosition;

    /// Reads what [`Position`]'s display writes.
    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        let invalid = || InvalidPosition(text.chars().take(64).collect());
        let mut parts = text.split('/');
        let mut next = || parts.next().ok_or_else(invalid);
        let (generation, partition, offset) = (next()?, next()?, next()?);
        let position = Self {
            generation: generation.parse().map_err(|_| invalid())?,
            partition: partition.parse().map_err(|_| invalid())?,
            offset: offset.parse().map_err(|_| invalid())?,
        };
        // What reads otherwise than it is written ("+1", "01", a fourth part) is somebody else's.
        if position.to_string() == text { Ok(position) } else { Err(invalid()) }
    }
}

/// The partition that a key belongs to among `partitions`, as Java's Kafka client
/// and librdkafka's `murmur2_random` choose it: murmur2, sign bit cleared, modulo.
pub fn partition_of(key: &[u8], partitions: i32) -> Partition {
    let positive = murmur2(key) & 0x7fff_ffff;
    let count = u32::try_from(partitions.max(1)).unwrap_or(1);
    i32::try_from(positive % count).unwrap_or(0)
}

/// MurmurHash2, 32 bits, with the seed that Kafka uses.
fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
    let mut hash = SEED ^ length;
    let mut chunks = data.chunks_exact(4);
    for chunk in &mut chunks {
        let mut k = u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        for (index, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * index);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_reads_as_it_is_written() {
        let position = Position { generation: 2, partition: 7, offset: 1_234_567 };
        assert_eq!(position.to_string().parse(), Ok(position));
        for text in ["", "1/2", "1/2/3/4", "1/2/x", " 1/2/3", "+1/2/3", "01/2/3"] {
            assert!(text.parse::<Position>().is_err(), "{text}");
        }
    }

    /// Values from Kafka's own `UtilsTest.testMurmur2`.
    #[test]
    fn murmur2_is_kafkas() {
        let known: [(&str, i32); 6] = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ];
        for (text, hash) in known {
            assert_eq!(murmur2(text.as_bytes()), u32::from_ne_bytes(hash.to_ne_bytes()), "{text}");
        }
    }
}
