//! Writing: ids in, bytes out, block by block. The header comes last, since it holds the sum
//! of what follows it; the file's first bytes are kept free for it.

use weir_core::digest::Digest;
use weir_core::{Generation, Hash128, HashKey, Partition};
use weir_metering::identity::{IdKey, RememberedId, SealedFile};

use super::{HEADER_BYTES, IdFileError, IdFileHeader, block_bits, block_sum, key_bytes};

/// A file under way. What it has ready goes behind the space for the header.
#[derive(Debug)]
pub struct IdFileEncoder {
    key: HashKey,
    bits: u32,
    expected: u64,
    /// Where each block that was begun begins, in ids.
    starts: Vec<u32>,
    sums: Vec<u64>,
    ids: u32,
    last: Option<IdKey>,
    /// Records of the block under way.
    block: Vec<u8>,
    ready: Vec<u8>,
}

/// The rest of a file.
#[derive(Clone, Debug)]
pub struct EncodedEnd {
    /// What follows what was ready before: the last records, and the index.
    pub tail: Vec<u8>,
    /// What the file begins with.
    pub header: [u8; HEADER_BYTES],
    /// The sum of everything, by which the ledger knows the file.
    pub content_sum: Hash128,
}

impl IdFileEncoder {
    /// A file for so many ids as `covers` announces.
    pub fn new(key: HashKey, covers: &SealedFile) -> Self {
        Self {
            key,
            bits: block_bits(covers.ids),
            expected: covers.ids,
            starts: Vec::new(),
            sums: Vec::new(),
            ids: 0,
            last: None,
            block: Vec::new(),
            ready: Vec::new(),
        }
    }

    /// Adds an id.
    ///
    /// # Errors
    /// When its key is not greater than that of the one before, or there are too many.
    pub fn push(&mut self, id: RememberedId) -> Result<(), IdFileError> {
        if self.last.replace(id.key).is_some_and(|last| last >= id.key) {
            return Err(IdFileError::Order);
        }
        if u64::from(self.ids) >= self.expected {
            return Err(self.miscounted());
        }
        self.begin_blocks(id.key.high >> (64 - self.bits));
        self.block.extend_from_slice(&key_bytes(id.key)[1..]);
        self.block.extend_from_slice(&id.fingerprint.to_be_bytes());
        self.ids = self.ids.checked_add(1).ok_or_else(|| self.miscounted())?;
        Ok(())
    }

    /// Bytes that are finished. Whoever writes them takes them out.
    pub fn ready(&mut self) -> &mut Vec<u8> {
        &mut self.ready
    }

    /// The end of the file, when all ids are in.
    ///
    /// # Errors
    /// When there are fewer ids than announced.
    pub fn finish(
        mut self,
        (partition, generation): (Partition, Generation),
        covers: &SealedFile,
    ) -> Result<EncodedEnd, IdFileError> {
        if u64::from(self.ids) != self.expected {
            return Err(self.miscounted());
        }
        self.begin_blocks((1 << self.bits) - 1);
        self.end_block();
        let mut index = Vec::with_capacity(self.starts.len() * 12);
        self.starts.iter().for_each(|start| index.extend_from_slice(&start.to_be_bytes()));
        self.sums.iter().for_each(|sum| index.extend_from_slice(&sum.to_be_bytes()));
        let index_sum = index_sum(&self.key, &index);
        let header = IdFileHeader { generation, partition, covers: *covers, index_sum };
        let mut tail = self.ready;
        tail.append(&mut index);
        Ok(EncodedEnd { tail, header: header.encode(&self.key), content_sum: header.content_sum(&self.key) })
    }

    fn miscounted(&self) -> IdFileError {
        IdFileError::Count { expected: self.expected, found: u64::from(self.ids) }
    }

    /// Ends the block under way and begins all up to `block`.
    fn begin_blocks(&mut self, block: u64) {
        while u64::try_from(self.starts.len()).is_ok_and(|begun| begun <= block) {
            self.end_block();
            self.starts.push(self.ids);
        }
    }

    fn end_block(&mut self) {
        let Some(number) = self.starts.len().checked_sub(1) else { return };
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        self.sums.push(block_sum(&self.key, number, &self.block));
        self.ready.append(&mut self.block);
    }
}

pub(super) fn index_sum(key: &HashKey, index: &[u8]) -> Hash128 {
    Digest::new(key, "id index").field(index).finish()
}
