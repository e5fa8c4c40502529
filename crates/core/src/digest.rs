//! Keyed 128-bit hashes and the order-free sum of them.
//!
//! A digest covers length-prefixed fields, so no two different lists of fields
//! have the same bytes. The key is random, made once per installation and kept in
//! the ledger: ids come from tenants, and an unkeyed hash could be collided.

use std::fmt;
use std::hash::Hasher;

use serde::{Deserialize, Serialize};
use siphasher::sip128::{Hasher128, SipHasher24};

/// The installation's secret key for event identities and content sums.
#[derive(Clone, Copy)]
pub struct HashKey([u8; 16]);

impl HashKey {
    /// A key from its 16 bytes.
    pub fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey(…)")
    }
}

/// A 128-bit digest. Shown as 32 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hash128(pub u128);

impl Hash128 {
    /// Big-endian bytes, as stored.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// From stored bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }
}

impl fmt::Display for Hash128 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Hash128 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Collects fields, length-prefixed unless their lengths are known, into a [`Hash128`] (SipHash-2-4-128, keyed).
#[derive(Clone, Debug)]
pub struct Digest(SipHasher24);

impl Digest {
    /// An empty digest for one purpose; different purposes never share a value.
    pub fn new(key: &HashKey, purpose: &str) -> Self {
        let mut digest = Self(SipHasher24::new_with_key(&key.0));
        digest.field(purpose.as_bytes());
        digest
    }

    /// Adds one field.
    pub fn field(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.write(&u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_le_bytes());
        self.0.write(bytes);
        self
    }

    /// Adds one integer.
    pub fn int(&mut self, value: i64) -> &mut Self {
        self.field(&value.to_le_bytes())
    }

    /// Adds one word, without a length.
    pub fn word(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    /// Adds bytes without their length, which must follow from what was added before.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.write(bytes);
        self
    }

    /// The digest of what was added.
    pub fn finish(&self) -> Hash128 {
        Hash128(self.0.finish128().as_u128())
    }
}

/// A sum modulo 2^128 of hashes: the same for any order and any grouping.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct ContentSum(Hash128);

impl ContentSum {
    /// Adds one accepted event's hash.
    pub fn add(&mut self, hash: Hash128) {
        self.0 = Hash128(self.0.0.wrapping_add(hash.0));
    }

    /// Adds the sum of another set of events.
    pub fn merge(&mut self, other: ContentSum) {
        self.add(other.0);
    }

    /// Big-endian bytes, as stored.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_bytes()
    }

    /// From stored bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Hash128::from_bytes(bytes))
    }
}

impl fmt::Display for ContentSum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_length_prefixed() {
        let key = HashKey::new([7; 16]);
        let hash = |fields: &[&str]| {
            let mut digest = Digest::new(&key, "test");
            for field in fields {
                digest.field(field.as_bytes());
            }
            digest.finish()
        };
        assert_ne!(hash(&["ab", "c"]), hash(&["a", "bc"]));
        assert_eq!(hash(&["ab", "c"]), hash(&["ab", "c"]));
    }
}
