//! A closed range of a partition of the journal as a file: immutable, read whole.
//!
//! ```text
//! magic     8 bytes: what it is, and the version of the layout
//! header    its length, then the fields of `ArchiveFileHeader`, as variable-length numbers
//! body      one zstd frame, with zstd's own checksum: the records, by rising offset
//! record    offsets skipped since the one before, broker time as a difference from the one
//!           before, key, value, number of headers, each header's name and value
//! ```
//! Keys, values and values of headers may be missing, which is not the same as empty. What makes
//! a file the right one is its content sum, SHA-256 of all its bytes: `sha256sum` tells it, too,
//! with no key, since an archive must be of use where the ledger that holds the key is lost. The
//! ledger and the file's name have the sum; so whoever reads compares before decoding. It opens
//! no files.

mod decoder;
mod encoder;
mod header;

use sha2::{Digest, Sha256};

pub use decoder::ArchiveFileReader;
pub use encoder::{ArchiveFileEncoder, EncodedArchiveFile};
pub use header::ArchiveFileHeader;

const MAGIC: [u8; 8] = *b"WEIRARC\x01";
/// zstd's own default: a third of the bytes of level 1's output less, at half its speed.
const ZSTD_LEVEL: i32 = 3;
/// The most that a body may decompress to, so that bytes from anywhere cost no more memory.
const PLAIN_BYTES_MAX: u64 = 1 << 30;

/// A record of the journal, as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchivedRecord<'a> {
    /// Its offset.
    pub offset: i64,
    /// The broker's time in milliseconds since 1970.
    pub broker_time_ms: i64,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value.
    pub value: Option<&'a [u8]>,
    /// Its headers, in order.
    pub headers: Vec<(&'a str, Option<&'a [u8]>)>,
}

/// SHA-256 of a whole file. Shown as 64 hex digits, as `sha256sum` shows it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ArchiveSum(pub [u8; 32]);

impl ArchiveSum {
    /// The sum of a file's bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl std::fmt::Display for ArchiveSum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl std::fmt::Debug for ArchiveSum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// Why bytes are not a file of the archive, or records cannot become one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveFileError {
    /// It does not begin as such a file does.
    #[error("it does not begin as a file of the archive of this version")]
    Unknown,
    /// The header cannot be read, or makes no sense.
    #[error("its header is damaged")]
    Header,
    /// The body cannot be decompressed.
    #[error("its body cannot be decompressed: {0}")]
    Compression(String),
    /// A record cannot be read.
    #[error("its record number {0} is damaged")]
    Record(u64),
    /// Records do not rise, or stand outside of the range.
    #[error("offset {0} stands where it cannot be")]
    Order(i64),
    /// It holds other than the announced number of records or bytes.
    #[error("it holds other records than its header announces")]
    Count,
    /// So much does not fit into one file.
    #[error("so many bytes do not fit into one file")]
    TooLarge,
}
