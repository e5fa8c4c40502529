//! Reading: a file in, its records out, one after the other. Whatever the bytes are, it ends
//! with an error and not with a panic, and takes no more memory than a file may have.

use std::io::Read;

use super::encoder::compression;
use super::{ArchiveFileError, ArchiveFileHeader, ArchivedRecord};
use crate::varint::{Cut, Reader};

/// A file that is being read.
#[derive(Clone, Debug)]
pub struct ArchiveFileReader {
    header: ArchiveFileHeader,
    plain: Vec<u8>,
    at: usize,
    next_offset: i64,
    last_ms: i64,
    records: u64,
}

impl ArchiveFileReader {
    /// Reads the header and decompresses the body. The sum of the bytes is the caller's to compare.
    ///
    /// # Errors
    /// When the bytes are not a whole file.
    pub fn open(bytes: &[u8]) -> Result<Self, ArchiveFileError> {
        let (header, body) = ArchiveFileHeader::decode(bytes)?;
        let mut plain = Vec::new();
        let decoder = zstd::stream::read::Decoder::new(body).map_err(compression)?;
        // One byte more than announced shows that there are more.
        decoder.take(header.plain_bytes + 1).read_to_end(&mut plain).map_err(compression)?;
        if u64::try_from(plain.len()).ok() != Some(header.plain_bytes) {
            return Err(ArchiveFileError::Count);
        }
        let next_offset = header.from;
        Ok(Self { header, plain, at: 0, next_offset, last_ms: 0, records: 0 })
    }

    /// What the file says of itself.
    pub fn header(&self) -> &ArchiveFileHeader {
        &self.header
    }

    /// The next record; `None` after the last.
    ///
    /// # Errors
    /// When it cannot be read, stands where it cannot be, or there are more or fewer than announced.
    pub fn next_record(&mut self) -> Result<Option<ArchivedRecord<'_>>, ArchiveFileError> {
        let rest = self.plain.get(self.at..).unwrap_or_default();
        if rest.is_empty() || self.records == self.header.records {
            let is_whole = rest.is_empty() && self.records == self.header.records;
            return if is_whole { Ok(None) } else { Err(ArchiveFileError::Count) };
        }
        let mut reader = Reader(rest);
        let mut record =
            read(&mut reader, self.last_ms).map_err(|Cut| ArchiveFileError::Record(self.records))?;
        let order = ArchiveFileError::Order(record.offset);
        let offset = self.next_offset.checked_add(record.offset).filter(|offset| *offset < self.header.to);
        let Some(offset) = offset else { return Err(order) };
        record.offset = offset;
        let times = self.header.broker_time_ms_min..=self.header.broker_time_ms_max;
        if !times.contains(&record.broker_time_ms) {
            return Err(ArchiveFileError::Record(self.records));
        }
        self.at += rest.len() - reader.0.len();
        self.next_offset = offset + 1;
        self.last_ms = record.broker_time_ms;
        self.records += 1;
        Ok(Some(record))
    }
}

/// A record whose offset is still the number of offsets skipped.
fn read<'a>(reader: &mut Reader<'a>, last_ms: i64) -> Result<ArchivedRecord<'a>, Cut> {
    let offset = i64::try_from(reader.number()?).map_err(|_| Cut)?;
    let broker_time_ms = i128::from(last_ms).checked_add(reader.signed()?).ok_or(Cut)?;
    let broker_time_ms = i64::try_from(broker_time_ms).map_err(|_| Cut)?;
    let (key, value) = (optional(reader)?, optional(reader)?);
    let mut headers = Vec::new();
    for _ in 0..reader.count()? {
        let name = std::str::from_utf8(reader.bytes()?).map_err(|_| Cut)?;
        headers.push((name, optional(reader)?));
    }
    Ok(ArchivedRecord { offset, broker_time_ms, key, value, headers })
}

fn optional<'a>(reader: &mut Reader<'a>) -> Result<Option<&'a [u8]>, Cut> {
    match reader.size()?.checked_sub(1) {
        Some(length) => reader.take(length).map(Some),
        None => Ok(None),
    }
}
