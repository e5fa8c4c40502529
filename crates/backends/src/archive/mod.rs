//! The archive of the journal: closed ranges of each partition as immutable files, in a folder
//! or an object store (invariant 1). The only place that names an object store.
//!
//! A file is written, read back, and then recorded in the ledger ([`record`]) by a statement that
//! compares it with the chain of batches. Only what is recorded is ever read; what a crash left
//! behind, or a ledger that was restored does not know, is a file that nobody asks for. What is
//! read has the sum that the ledger recorded, or is an error that names the file.

pub mod range;
pub mod record;
mod store;

use weir_core::{Generation, Partition};
use weir_wire::archive_file::{ArchiveSum, EncodedArchiveFile};

pub use range::ArchiveReader;
pub use record::ArchivedFile;
pub use store::Archive;

/// How a file's name ends.
const ENDING: &str = "weir";

/// A file's name below the archive's place, which says what it holds and its sum.
fn name(
    topic: &str,
    (partition, generation): (Partition, Generation),
    (from, to): (i64, i64),
    sum: &ArchiveSum,
) -> String {
    format!("{topic}/g{generation}/p{partition:05}/{from:020}-{to:020}-{sum}.{ENDING}")
}

/// The name of a file that was just made.
pub fn name_of(file: &EncodedArchiveFile) -> String {
    let header = &file.header;
    let place = (header.partition, header.generation);
    name(&header.topic, place, (header.from, header.to), &file.content_sum)
}
