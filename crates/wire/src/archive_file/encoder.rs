//! Writing: records in, one after the other, a file out. Equal records make equal bytes.

use std::io::{self, Write};

use weir_core::{Generation, Partition};

use super::{ArchiveFileError, ArchiveFileHeader, ArchiveSum, ArchivedRecord, PLAIN_BYTES_MAX, ZSTD_LEVEL};
use crate::varint::{put, put_bytes, put_signed, put_size};

/// A file under way. Its records are compressed as they come.
pub struct ArchiveFileEncoder {
    topic: (String, String),
    place: (Partition, Generation),
    from: i64,
    body: zstd::stream::write::Encoder<'static, Vec<u8>>,
    /// The lowest offset that the next record may have.
    next_offset: i64,
    records: u64,
    plain_bytes: u64,
    last_ms: i64,
    times: Option<(i64, i64)>,
    record: Vec<u8>,
}

impl std::fmt::Debug for ArchiveFileEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ArchiveFileEncoder({:?} from {}, {} records)", self.place, self.from, self.records)
    }
}

/// A finished file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedArchiveFile {
    /// What it says of itself.
    pub header: ArchiveFileHeader,
    /// All its bytes.
    pub bytes: Vec<u8>,
    /// Their sum.
    pub content_sum: ArchiveSum,
}

impl ArchiveFileEncoder {
    /// A file that begins at `from`. `topic` is its name and Kafka's id of it.
    ///
    /// # Errors
    /// When zstd cannot begin.
    pub fn new(
        topic: (&str, &str),
        place: (Partition, Generation),
        from: i64,
    ) -> Result<Self, ArchiveFileError> {
        let begin = || {
            let mut body = zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL)?;
            body.include_checksum(true)?;
            Ok(body)
        };
        Ok(Self {
            topic: (topic.0.to_owned(), topic.1.to_owned()),
            place,
            from,
            body: begin().map_err(compression)?,
            next_offset: from,
            records: 0,
            plain_bytes: 0,
            last_ms: 0,
            times: None,
            record: Vec::new(),
        })
    }

    /// Adds a record.
    ///
    /// # Errors
    /// When its offset does not rise, or the file would become too large.
    pub fn push(&mut self, record: &ArchivedRecord<'_>) -> Result<(), ArchiveFileError> {
        let order = ArchiveFileError::Order(record.offset);
        let skipped = record.offset.checked_sub(self.next_offset).and_then(|gap| u64::try_from(gap).ok());
        let (Some(skipped), Some(next)) = (skipped, record.offset.checked_add(1)) else { return Err(order) };
        let out = &mut self.record;
        out.clear();
        put(out, u128::from(skipped));
        put_signed(out, i128::from(record.broker_time_ms) - i128::from(self.last_ms));
        put_optional(out, record.key);
        put_optional(out, record.value);
        put_size(out, record.headers.len());
        for (name, value) in &record.headers {
            put_bytes(out, name.as_bytes());
            put_optional(out, *value);
        }
        let plain_bytes = self.plain_bytes + u64::try_from(out.len()).unwrap_or(u64::MAX);
        if plain_bytes > PLAIN_BYTES_MAX {
            return Err(ArchiveFileError::TooLarge);
        }
        self.body.write_all(out).map_err(compression)?;
        let time = record.broker_time_ms;
        let (min, max) = self.times.unwrap_or((time, time));
        self.times = Some((min.min(time), max.max(time)));
        (self.plain_bytes, self.next_offset, self.last_ms) = (plain_bytes, next, time);
        self.records += 1;
        Ok(())
    }

    /// How many records it holds.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// How many bytes those have before they are compressed.
    pub fn plain_bytes(&self) -> u64 {
        self.plain_bytes
    }

    /// The file, which covers everything below `to`.
    ///
    /// # Errors
    /// When `to` is not beyond its beginning and its last record.
    pub fn finish(self, to: i64) -> Result<EncodedArchiveFile, ArchiveFileError> {
        if to <= self.from || to < self.next_offset || self.from < 0 {
            return Err(ArchiveFileError::Order(to));
        }
        let (broker_time_ms_min, broker_time_ms_max) = self.times.unwrap_or_default();
        let header = ArchiveFileHeader {
            topic: self.topic.0,
            topic_id: self.topic.1,
            generation: self.place.1,
            partition: self.place.0,
            from: self.from,
            to,
            records: self.records,
            broker_time_ms_min,
            broker_time_ms_max,
            plain_bytes: self.plain_bytes,
        };
        let mut bytes = header.encode();
        bytes.append(&mut self.body.finish().map_err(compression)?);
        let content_sum = ArchiveSum::of(&bytes);
        Ok(EncodedArchiveFile { header, bytes, content_sum })
    }
}

pub(super) fn compression(error: io::Error) -> ArchiveFileError {
    ArchiveFileError::Compression(error.to_string())
}

/// Length and bytes; the length is one more, so that 0 says that there are none.
fn put_optional(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => {
            put_size(out, bytes.len().saturating_add(1));
            out.extend_from_slice(bytes);
        }
        None => put_size(out, 0),
    }
}
