//! A sealed bucket of event ids as a file: immutable, sorted, looked up by block.
//!
//! ```text
//! header    128 bytes: what it is and what it covers, the sum of the index, its own sum
//! records   15 bytes an id, by rising key: 11 bytes of the key, 4 of the fingerprint
//! index     where each block begins (4 bytes), and after those each block's sum (8 bytes)
//! ```
//! Blocks are cut by the first bits of the key, 8 at least, so that no record needs the key's
//! first byte; a block has 64 to 128 ids on average. 12 bytes a block make 15.1 to 15.2 bytes
//! an id. All sums are keyed with the installation's key: the header's covers the index, the
//! index's the blocks. So a file is whole when its header's sum is the expected one and each
//! block that is read has its sum. Numbers are big-endian. It opens no files.

mod encoder;
mod header;
mod index;

use weir_core::HashKey;
use weir_core::digest::Digest;

pub use encoder::{EncodedEnd, IdFileEncoder};
pub use header::IdFileHeader;
pub use index::{IdBlock, IdFileIndex};

/// Bytes of the header.
pub const HEADER_BYTES: usize = 128;
/// Bytes of an id.
pub const RECORD_BYTES: usize = 15;
/// Bytes of a record that belong to the key; the key's first byte is the block's.
const KEY_BYTES: usize = 11;
/// Blocks have this many ids on average, at most.
const BLOCK_IDS_MAX: u64 = 128;
const BLOCK_BITS_MIN: u32 = 8;
const BLOCK_BITS_MAX: u32 = 24;
const MAGIC: [u8; 8] = *b"WEIRIDS\x01";

/// Why bytes are not a file of ids, or ids cannot become one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdFileError {
    /// It does not begin as such a file does.
    #[error("it does not begin as a file of event ids of this version")]
    Unknown,
    /// It was written with another installation's key.
    #[error("it belongs to another installation")]
    OtherInstallation,
    /// The header does not have its sum, or makes no sense.
    #[error("its header is damaged")]
    Header,
    /// The index does not have its sum, or makes no sense.
    #[error("its index is damaged")]
    Index,
    /// The file is shorter or longer than its header says.
    #[error("it has {found} bytes and should have {expected}")]
    Length {
        /// As the header has it.
        expected: u64,
        /// As it is.
        found: u64,
    },
    /// A block does not have its sum.
    #[error("block {block} is damaged")]
    Block {
        /// The block's number.
        block: u32,
    },
    /// Ids were given that do not rise.
    #[error("ids must be written by rising key")]
    Order,
    /// Other than the announced number of ids was given.
    #[error("{found} ids were given for a file of {expected}")]
    Count {
        /// As announced.
        expected: u64,
        /// As given.
        found: u64,
    },
}

/// How many first bits of a key choose its block, in a file of that many ids.
fn block_bits(ids: u64) -> u32 {
    let fits = |bits: &u32| ids >> bits <= BLOCK_IDS_MAX;
    (BLOCK_BITS_MIN..BLOCK_BITS_MAX).find(fits).unwrap_or(BLOCK_BITS_MAX)
}

fn block_sum(key: &HashKey, block: u32, records: &[u8]) -> u64 {
    let sum = Digest::new(key, "id block").int(i64::from(block)).field(records).finish();
    u64::try_from(sum.0 >> 64).unwrap_or_default()
}

fn key_bytes(key: weir_metering::identity::IdKey) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&key.high.to_be_bytes());
    bytes[8..].copy_from_slice(&key.low.to_be_bytes());
    bytes
}
