//! Reading: the index, which stays in memory (12 bytes for 64 to 128 ids), and blocks, each
//! checked before it is believed.

use weir_core::HashKey;
use weir_metering::identity::{IdKey, RememberedId};

use super::encoder::index_sum;
use super::{
    HEADER_BYTES, IdFileError, IdFileHeader, KEY_BYTES, RECORD_BYTES, block_bits, block_sum, key_bytes,
};

/// Where each block of a file begins, and its sum.
#[derive(Clone, Debug)]
pub struct IdFileIndex {
    key: HashKey,
    bits: u32,
    starts: Box<[u32]>,
    ids: u32,
    sums: Box<[u64]>,
}

/// A block that has its sum.
#[derive(Clone, Copy, Debug)]
pub struct IdBlock<'a> {
    number: u32,
    bits: u32,
    records: &'a [u8],
}

impl IdFileIndex {
    /// Reads an index and checks its sum.
    ///
    /// # Errors
    /// When it is not the one that the header speaks of.
    pub fn decode(key: &HashKey, header: &IdFileHeader, bytes: &[u8]) -> Result<Self, IdFileError> {
        if bytes.len() != header.index_bytes() || index_sum(key, bytes) != header.index_sum {
            return Err(IdFileError::Index);
        }
        let bits = block_bits(header.covers.ids);
        let (starts, sums) = bytes.split_at(4 << bits);
        let start = |bytes: &[u8]| bytes.try_into().map(u32::from_be_bytes).unwrap_or(u32::MAX);
        let sum = |bytes: &[u8]| bytes.try_into().map(u64::from_be_bytes).unwrap_or(u64::MAX);
        let starts: Box<[u32]> = starts.chunks_exact(4).map(start).collect();
        let ids = u32::try_from(header.covers.ids).map_err(|_| IdFileError::Index)?;
        if !starts.is_sorted() || starts.first() != Some(&0) || starts.last().is_none_or(|last| *last > ids) {
            return Err(IdFileError::Index);
        }
        Ok(Self { key: *key, bits, starts, ids, sums: sums.chunks_exact(8).map(sum).collect() })
    }

    /// How many blocks there are.
    pub fn blocks(&self) -> u32 {
        1 << self.bits
    }

    /// Which block a key belongs to.
    pub fn block_of(&self, key: IdKey) -> u32 {
        u32::try_from(key.high >> (64 - self.bits)).unwrap_or_default()
    }

    /// Where the blocks from `first` to `last` (included) stand: offset and length, in bytes.
    pub fn place(&self, first: u32, last: u32) -> (u64, usize) {
        let (start, end) = (self.start(first), self.start(last + 1));
        let record = u64::try_from(RECORD_BYTES).unwrap_or(u64::MAX);
        let header = u64::try_from(HEADER_BYTES).unwrap_or(u64::MAX);
        let bytes = u64::from(end - start) * record;
        (header + u64::from(start) * record, usize::try_from(bytes).unwrap_or(usize::MAX))
    }

    /// A block from its bytes.
    ///
    /// # Errors
    /// When they do not have the block's sum.
    pub fn block<'a>(&self, number: u32, records: &'a [u8]) -> Result<IdBlock<'a>, IdFileError> {
        let expected = self.sums.get(usize::try_from(number).unwrap_or(usize::MAX));
        if expected != Some(&block_sum(&self.key, number, records)) {
            return Err(IdFileError::Block { block: number });
        }
        Ok(IdBlock { number, bits: self.bits, records })
    }

    /// Bytes that it takes up in memory.
    pub fn bytes(&self) -> usize {
        self.starts.len() * 12
    }

    fn start(&self, block: u32) -> u32 {
        let at = usize::try_from(block).unwrap_or(usize::MAX);
        self.starts.get(at).copied().unwrap_or(self.ids)
    }
}

impl<'a> IdBlock<'a> {
    /// The fingerprint of an id, when the block has it.
    pub fn find(&self, key: IdKey) -> Option<u32> {
        let wanted = key_bytes(key);
        let records = self.records.as_chunks::<RECORD_BYTES>().0;
        let at = records.partition_point(|record| record[..KEY_BYTES] < wanted[1..]);
        let id = self.id(records.get(at)?);
        (id.key == key).then_some(id.fingerprint)
    }

    /// All its ids, by rising key.
    pub fn ids(self) -> impl Iterator<Item = RememberedId> + 'a {
        self.records.as_chunks::<RECORD_BYTES>().0.iter().map(move |record| self.id(record))
    }

    fn id(&self, record: &[u8; RECORD_BYTES]) -> RememberedId {
        let first = u64::from(self.number) << (64 - self.bits) & (0xff << 56);
        let [a, b, c, d, e, f, g, h, i, j, k, w, x, y, z] = *record;
        let high = first | u64::from_be_bytes([0, a, b, c, d, e, f, g]);
        let key = IdKey { high, low: u32::from_be_bytes([h, i, j, k]) };
        RememberedId { key, fingerprint: u32::from_be_bytes([w, x, y, z]) }
    }
}
