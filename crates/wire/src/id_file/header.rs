//! The header: whose ids, of which part of the journal, and the sums that make it whole.

use weir_core::digest::Digest;
use weir_core::{Generation, Hash128, HashKey, Partition};
use weir_metering::identity::{Day, SealedFile};

use super::{HEADER_BYTES, IdFileError, MAGIC, RECORD_BYTES, block_bits};
use crate::varint::Reader;

/// Bytes of the header before its own sum.
const SUMMED_BYTES: usize = HEADER_BYTES - 16;

/// What a file of ids says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdFileHeader {
    /// Which life of the topic.
    pub generation: Generation,
    /// Which partition.
    pub partition: Partition,
    /// Which offsets and which day of arrival, and how many ids.
    pub covers: SealedFile,
    /// The sum of the index, which holds the sums of the blocks.
    pub index_sum: Hash128,
}

impl IdFileHeader {
    /// Its bytes; the last 16 are the file's content sum.
    pub fn encode(&self, key: &HashKey) -> [u8; HEADER_BYTES] {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&installation(key).to_bytes());
        bytes.extend_from_slice(&self.generation.to_be_bytes());
        bytes.extend_from_slice(&self.partition.to_be_bytes());
        bytes.extend_from_slice(&self.covers.from.to_be_bytes());
        bytes.extend_from_slice(&self.covers.to.to_be_bytes());
        bytes.extend_from_slice(&self.covers.ids.to_be_bytes());
        bytes.extend_from_slice(&self.covers.day.0.to_be_bytes());
        bytes.extend_from_slice(&block_bits(self.covers.ids).to_be_bytes());
        bytes.extend_from_slice(&self.index_sum.to_bytes());
        bytes.resize(SUMMED_BYTES, 0);
        bytes.extend_from_slice(&header_sum(key, &bytes).to_bytes());
        bytes.try_into().unwrap_or([0; HEADER_BYTES])
    }

    /// Reads a header and checks its sum.
    ///
    /// # Errors
    /// When the bytes are those of something else, of another installation, or damaged.
    pub fn decode(key: &HashKey, bytes: &[u8; HEADER_BYTES]) -> Result<Self, IdFileError> {
        let (summed, sum) = bytes.split_at(SUMMED_BYTES);
        let mut reader = Reader(summed);
        if take(&mut reader)? != MAGIC {
            return Err(IdFileError::Unknown);
        }
        if take(&mut reader)? != installation(key).to_bytes() {
            return Err(IdFileError::OtherInstallation);
        }
        if sum != header_sum(key, summed).to_bytes() {
            return Err(IdFileError::Header);
        }
        let (generation, partition) =
            (i32::from_be_bytes(take(&mut reader)?), i32::from_be_bytes(take(&mut reader)?));
        let (from, to) = (i64::from_be_bytes(take(&mut reader)?), i64::from_be_bytes(take(&mut reader)?));
        let ids = u64::from_be_bytes(take(&mut reader)?);
        let day = Day(u32::from_be_bytes(take(&mut reader)?));
        let bits = u32::from_be_bytes(take(&mut reader)?);
        let index_sum = Hash128::from_bytes(take(&mut reader)?);
        if bits != block_bits(ids) || from >= to || u32::try_from(ids).is_err() {
            return Err(IdFileError::Header);
        }
        Ok(Self { generation, partition, covers: SealedFile { from, to, day, ids }, index_sum })
    }

    /// The sum of everything in the file, by which the ledger knows it.
    pub fn content_sum(&self, key: &HashKey) -> Hash128 {
        header_sum(key, &self.encode(key)[..SUMMED_BYTES])
    }

    /// Where the index begins, in bytes from the file's start.
    pub fn index_begins(&self) -> u64 {
        let (header, record) = (HEADER_BYTES, RECORD_BYTES);
        u64::try_from(header).unwrap_or(u64::MAX)
            + self.covers.ids * u64::try_from(record).unwrap_or(u64::MAX)
    }

    /// How long the index is, in bytes.
    pub fn index_bytes(&self) -> usize {
        (1 << block_bits(self.covers.ids)) * 12
    }

    /// Checks how long the file is.
    ///
    /// # Errors
    /// When it is shorter or longer than it should be.
    pub fn check_length(&self, found: u64) -> Result<(), IdFileError> {
        let expected = self.index_begins() + u64::try_from(self.index_bytes()).unwrap_or(u64::MAX);
        if found == expected { Ok(()) } else { Err(IdFileError::Length { expected, found }) }
    }
}

/// Tells installations apart without telling the key.
fn installation(key: &HashKey) -> Hash128 {
    Digest::new(key, "id file").finish()
}

fn header_sum(key: &HashKey, summed: &[u8]) -> Hash128 {
    Digest::new(key, "id header").field(summed).finish()
}

fn take<const BYTES: usize>(reader: &mut Reader<'_>) -> Result<[u8; BYTES], IdFileError> {
    let bytes = reader.take(BYTES).map_err(|_| IdFileError::Header)?;
    bytes.try_into().map_err(|_| IdFileError::Header)
}
