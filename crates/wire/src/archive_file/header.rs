//! What a file of the archive says of itself.

use weir_core::{Generation, Partition};

use super::{ArchiveFileError, MAGIC, PLAIN_BYTES_MAX};
use crate::varint::{Cut, Reader, put, put_bytes, put_signed};

/// Which part of the journal a file holds, and how much that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveFileHeader {
    /// The topic's name.
    pub topic: String,
    /// Kafka's id of the topic; empty where it is not known.
    pub topic_id: String,
    /// Which life of the topic.
    pub generation: Generation,
    /// Which partition.
    pub partition: Partition,
    /// The first offset that it covers.
    pub from: i64,
    /// The first offset after it.
    pub to: i64,
    /// How many records there are.
    pub records: u64,
    /// The earliest broker time of them, in milliseconds since 1970; 0 where there is none.
    pub broker_time_ms_min: i64,
    /// The latest.
    pub broker_time_ms_max: i64,
    /// How long the body is when it is decompressed.
    pub plain_bytes: u64,
}

impl From<Cut> for ArchiveFileError {
    fn from(Cut: Cut) -> Self {
        Self::Header
    }
}

impl ArchiveFileHeader {
    /// What the file begins with, magic and all.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut fields = Vec::new();
        put_bytes(&mut fields, self.topic.as_bytes());
        put_bytes(&mut fields, self.topic_id.as_bytes());
        let times = [self.broker_time_ms_min, self.broker_time_ms_max];
        for number in [self.generation.into(), self.partition.into(), self.from, self.to].iter().chain(&times)
        {
            put_signed(&mut fields, i128::from(*number));
        }
        put(&mut fields, u128::from(self.records));
        put(&mut fields, u128::from(self.plain_bytes));
        let mut bytes = MAGIC.to_vec();
        put_bytes(&mut bytes, &fields);
        bytes
    }

    /// Reads a header; also returns what follows it.
    ///
    /// # Errors
    /// When the bytes are something else's, or make no sense.
    pub fn decode(bytes: &[u8]) -> Result<(Self, &[u8]), ArchiveFileError> {
        let mut whole = Reader(bytes);
        if whole.take(MAGIC.len()).is_ok_and(|magic| magic == MAGIC) {
            let mut fields = Reader(whole.bytes()?);
            let header = Self::fields(&mut fields)?;
            fields.end()?;
            if header.makes_sense() {
                return Ok((header, whole.0));
            }
            return Err(ArchiveFileError::Header);
        }
        Err(ArchiveFileError::Unknown)
    }

    fn fields(fields: &mut Reader<'_>) -> Result<Self, ArchiveFileError> {
        let (topic, topic_id) = (text(fields)?, text(fields)?);
        let (generation, partition) = (signed(fields)?, signed(fields)?);
        let (from, to) = (signed(fields)?, signed(fields)?);
        let (broker_time_ms_min, broker_time_ms_max) = (signed(fields)?, signed(fields)?);
        let (records, plain_bytes) = (unsigned(fields)?, unsigned(fields)?);
        Ok(Self {
            topic,
            topic_id,
            generation,
            partition,
            from,
            to,
            records,
            broker_time_ms_min,
            broker_time_ms_max,
            plain_bytes,
        })
    }

    fn makes_sense(&self) -> bool {
        let offsets = self.to.checked_sub(self.from).and_then(|count| u64::try_from(count).ok());
        self.from >= 0
            && self.from < self.to
            && offsets.is_some_and(|offsets| self.records <= offsets)
            && self.broker_time_ms_min <= self.broker_time_ms_max
            && self.plain_bytes <= PLAIN_BYTES_MAX
    }
}

fn text(fields: &mut Reader<'_>) -> Result<String, ArchiveFileError> {
    String::from_utf8(fields.bytes()?.to_vec()).map_err(|_| ArchiveFileError::Header)
}

fn signed<T: TryFrom<i128>>(fields: &mut Reader<'_>) -> Result<T, ArchiveFileError> {
    T::try_from(fields.signed()?).map_err(|_| ArchiveFileError::Header)
}

fn unsigned(fields: &mut Reader<'_>) -> Result<u64, ArchiveFileError> {
    u64::try_from(fields.number()?).map_err(|_| ArchiveFileError::Header)
}
