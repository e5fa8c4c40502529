//! Where a key belongs in Kafka: murmur2 as Java's client has it, in this crate's own words.

/// The partition of a key among `partitions`.
pub(crate) fn home_of(key: &[u8], partitions: u32) -> u32 {
    (murmur2(key) & 0x7fff_ffff) % partitions.max(1)
}

fn murmur2(bytes: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    for word in bytes.chunks(4) {
        let value = word.iter().rev().fold(0_u32, |sum, byte| sum << 8 | u32::from(*byte));
        if word.len() == 4 {
            let mixed = value.wrapping_mul(M);
            hash = hash.wrapping_mul(M) ^ (mixed ^ mixed >> 24).wrapping_mul(M);
        } else {
            hash = (hash ^ value).wrapping_mul(M);
        }
    }
    hash = (hash ^ hash >> 13).wrapping_mul(M);
    hash ^ hash >> 15
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values from the tests of Java's client.
    #[test]
    fn it_is_the_hash_of_javas_client() {
        for (text, hash) in [("21", -973_932_308), ("foobar", -790_332_482), ("abc", 479_470_107_i32)] {
            assert_eq!(murmur2(text.as_bytes()), u32::from_ne_bytes(hash.to_ne_bytes()), "{text}");
        }
    }
}
