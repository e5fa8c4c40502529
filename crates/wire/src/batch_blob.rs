//! What a batch row keeps of the decisions of a batch: the exceptions, and what usage
//! grew by. Layouts are versioned by their first byte and end with a checksum, so bytes
//! that were changed are an error, never other numbers.
//!
//! Exceptions, version 1: for each verdict that occurs, its number, how many runs, and
//! the runs as gap and length; about 1.5 bytes an exception at one in a hundred.
//! Deltas, version 1: sections of at most 64 MiB, each a zstd frame (level 1) of columns.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;

use weir_core::HashKey;
use weir_core::digest::Digest;
use weir_metering::aggregate::{Aggregate, UsageKey};
use weir_metering::outcome::{Exception, RejectReason, Verdict};
use zstd::bulk::{Compressor, Decompressor};

use crate::delta_columns;
use crate::varint::{Cut, Reader, put, put_bytes, put_size};

/// The layout that is written.
const VERSION: u8 = 1;
/// zstd's level: the fastest of the ordinary ones.
const ZSTD_LEVEL: i32 = 1;
/// The most bytes that one section may decompress to.
const SECTION_BYTES_MAX: usize = 256 * 1_048_576;
/// About how many bytes of columns go into one section.
const SECTION_BYTES_AIM: usize = 64 * 1_048_576;
/// The most exceptions that one batch may have; many times a batch.
const EXCEPTIONS_MAX: usize = 16_777_216;
/// The length of the checksum.
const CHECKSUM_BYTES: usize = 8;

/// Bytes that no version of Weir wrote, or that were changed since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CorruptBlob {
    /// Written by a later version.
    #[error("the blob has layout {0}, which this version of Weir does not know")]
    UnknownVersion(u8),
    /// Its checksum does not match.
    #[error("the blob does not match its checksum")]
    Checksum,
    /// Its checksum matches but it does not read.
    #[error("the blob cannot be read")]
    Unreadable,
}

impl From<Cut> for CorruptBlob {
    fn from(Cut: Cut) -> Self {
        Self::Unreadable
    }
}

/// Writes exceptions (by rising offset, none before `from`).
pub fn encode_exceptions(from: i64, exceptions: &[Exception]) -> Vec<u8> {
    let mut by_verdict: BTreeMap<u8, Vec<(i64, u64)>> = BTreeMap::new();
    for exception in exceptions {
        let runs = by_verdict.entry(verdict_number(exception.verdict)).or_default();
        match runs.last_mut() {
            Some((start, length)) if start.checked_add_unsigned(*length) == Some(exception.offset) => {
                *length += 1;
            }
            _ => runs.push((exception.offset, 1)),
        }
    }
    let mut out = vec![VERSION];
    for (verdict, runs) in by_verdict {
        out.push(verdict);
        put_size(&mut out, runs.len());
        let mut end = from;
        for (start, length) in runs {
            let gap = u128::from(start.wrapping_sub(end).cast_unsigned());
            put(&mut out, gap << 1 | u128::from(length > 1));
            if length > 1 {
                put(&mut out, u128::from(length));
            }
            end = start.wrapping_add_unsigned(length);
        }
    }
    seal(out)
}

/// Reads what [`encode_exceptions`] wrote with the same `from`.
pub fn decode_exceptions(from: i64, bytes: &[u8]) -> Result<Vec<Exception>, CorruptBlob> {
    let mut reader = unseal(bytes)?;
    let mut exceptions = Vec::new();
    while !reader.0.is_empty() {
        let verdict = verdict_of(reader.byte()?).ok_or(CorruptBlob::Unreadable)?;
        let mut end = from;
        for _ in 0..reader.count()? {
            let head = reader.number()?;
            let length = if head & 1 == 1 { reader.size()? } else { 1 };
            let gap = u64::try_from(head >> 1).map_err(|_| CorruptBlob::Unreadable)?;
            if length > EXCEPTIONS_MAX - exceptions.len() {
                return Err(CorruptBlob::Unreadable);
            }
            end = end.wrapping_add_unsigned(gap);
            for _ in 0..length {
                exceptions.push(Exception { offset: end, verdict });
                end = end.wrapping_add(1);
            }
        }
    }
    exceptions.sort_by_key(|exception| exception.offset);
    // An offset before the batch is one that wrapped around.
    let within = exceptions.first().is_none_or(|first| first.offset >= from);
    if within && exceptions.is_sorted_by(|a, b| a.offset < b.offset) {
        Ok(exceptions)
    } else {
        Err(CorruptBlob::Unreadable)
    }
}

/// Writes what usage grew by. Equal input gives equal bytes.
pub fn encode_deltas(deltas: &BTreeMap<UsageKey, Aggregate>) -> Vec<u8> {
    let mut out = vec![VERSION];
    let entries: Vec<_> = deltas.iter().collect();
    for section in sections(&entries, SECTION_BYTES_AIM) {
        let columns = delta_columns::write(section);
        // Compressing fails only if zstd cannot allocate; then the columns are kept as they are.
        match compress(&columns) {
            Ok(compressed) => {
                out.push(1);
                put_bytes(&mut out, &compressed);
            }
            Err(_) => {
                out.push(0);
                put_bytes(&mut out, &columns);
            }
        }
    }
    seal(out)
}

/// Reads what [`encode_deltas`] wrote.
pub fn decode_deltas(bytes: &[u8]) -> Result<BTreeMap<UsageKey, Aggregate>, CorruptBlob> {
    let mut reader = unseal(bytes)?;
    let mut deltas: Vec<(UsageKey, Aggregate)> = Vec::new();
    while !reader.0.is_empty() {
        let compressed = reader.byte()?;
        let body = reader.bytes()?;
        let entries = match compressed {
            0 => delta_columns::read(body)?,
            1 => delta_columns::read(&decompress(body)?)?,
            _ => return Err(CorruptBlob::Unreadable),
        };
        for (key, aggregate) in entries {
            if deltas.last().is_some_and(|(last, _)| *last >= key) {
                return Err(CorruptBlob::Unreadable);
            }
            deltas.push((key, aggregate));
        }
    }
    Ok(deltas.into_iter().collect())
}

type Entry<'a> = (&'a UsageKey, &'a Aggregate);

/// Cuts the entries so that each part's columns stay near the aim.
fn sections<'e, 'a>(mut entries: &'e [Entry<'a>], bytes_aim: usize) -> Vec<&'e [Entry<'a>]> {
    let mut parts = Vec::new();
    while !entries.is_empty() {
        let mut bytes = 0;
        let fitting = entries.iter().take_while(|entry| {
            let fits = bytes < bytes_aim;
            bytes += delta_columns::bytes_about(entry);
            fits
        });
        let (part, rest) = entries.split_at(fitting.count());
        parts.push(part);
        entries = rest;
    }
    parts
}

thread_local! {
    // Making a context costs more than using it on a small batch.
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

fn compress(columns: &[u8]) -> io::Result<Vec<u8>> {
    COMPRESSOR.with_borrow_mut(|kept| {
        let made = kept.take().map_or_else(|| Compressor::new(ZSTD_LEVEL), Ok)?;
        kept.insert(made).compress(columns)
    })
}

fn decompress(body: &[u8]) -> Result<Vec<u8>, CorruptBlob> {
    let size = zstd::zstd_safe::get_frame_content_size(body).ok().flatten();
    let size = size.and_then(|size| usize::try_from(size).ok()).filter(|size| *size <= SECTION_BYTES_MAX);
    let size = size.ok_or(CorruptBlob::Unreadable)?;
    DECOMPRESSOR.with_borrow_mut(|kept| {
        let made = kept.take().map_or_else(Decompressor::new, Ok).map_err(|_| CorruptBlob::Unreadable)?;
        kept.insert(made).decompress(body, size).map_err(|_| CorruptBlob::Unreadable)
    })
}

fn seal(mut out: Vec<u8>) -> Vec<u8> {
    let checksum = checksum(&out);
    out.extend_from_slice(&checksum);
    out
}

fn unseal(bytes: &[u8]) -> Result<Reader<'_>, CorruptBlob> {
    let (version, _) = bytes.split_first().ok_or(CorruptBlob::Unreadable)?;
    if *version != VERSION {
        return Err(CorruptBlob::UnknownVersion(*version));
    }
    let end =
        bytes.len().checked_sub(CHECKSUM_BYTES).filter(|end| *end > 0).ok_or(CorruptBlob::Unreadable)?;
    let (body, found) = bytes.split_at(end);
    if checksum(body) != found {
        return Err(CorruptBlob::Checksum);
    }
    Ok(Reader(&body[1..]))
}

/// Guards against accidents, not against whoever can write to the ledger: its key is public.
fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut digest = Digest::new(&HashKey::new(*b"weir batch blob."), "batch blob");
    let hash = digest.field(bytes).finish().to_bytes();
    std::array::from_fn(|at| hash[at])
}

/// The number that the ledger keeps for a verdict. Never reused.
fn verdict_number(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Rejected(reason) => reason_number(reason),
        Verdict::Duplicate => 64,
        Verdict::Conflict => 65,
        Verdict::Forwarded => 66,
        Verdict::Control => 67,
    }
}

fn reason_number(reason: RejectReason) -> u8 {
    match reason {
        RejectReason::Malformed => 1,
        RejectReason::UnknownSchema => 2,
        RejectReason::InvalidEvent => 3,
        RejectReason::InvalidValue => 4,
        RejectReason::UnknownTenant => 5,
        RejectReason::TooLate => 6,
        RejectReason::InFuture => 7,
        RejectReason::Misrouted => 8,
        RejectReason::Oversized => 9,
        RejectReason::RefusedByStore => 10,
    }
}

fn verdict_of(number: u8) -> Option<Verdict> {
    let reason = match number {
        64 => return Some(Verdict::Duplicate),
        65 => return Some(Verdict::Conflict),
        66 => return Some(Verdict::Forwarded),
        67 => return Some(Verdict::Control),
        1 => RejectReason::Malformed,
        2 => RejectReason::UnknownSchema,
        3 => RejectReason::InvalidEvent,
        4 => RejectReason::InvalidValue,
        5 => RejectReason::UnknownTenant,
        6 => RejectReason::TooLate,
        7 => RejectReason::InFuture,
        8 => RejectReason::Misrouted,
        9 => RejectReason::Oversized,
        10 => RejectReason::RefusedByStore,
        _ => return None,
    };
    Some(Verdict::Rejected(reason))
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_core::{TenantId, Timestamp};
    use weir_metering::meter::MeterKey;

    #[test]
    fn sections_hold_every_entry_once_and_at_least_one_each() {
        let key = |hour: i64| UsageKey {
            tenant: TenantId::new("acme").unwrap(),
            meter: MeterKey::new("calls").unwrap(),
            hour: Timestamp::clamped(hour),
            dimensions: "{}".to_owned(),
        };
        let keys: Vec<_> = (0..10).map(key).collect();
        let aggregate = Aggregate::Count { count: 1 };
        let entries: Vec<_> = keys.iter().map(|key| (key, &aggregate)).collect();
        for (bytes_aim, lengths) in
            [(1, vec![1; 10]), (100, vec![2; 5]), (250, vec![4, 4, 2]), (10_000, vec![10])]
        {
            let parts = sections(&entries, bytes_aim);
            assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), lengths);
            assert_eq!(parts.concat(), entries);
        }
    }

    /// A blob of any section cut decodes to the same, so the aim may change without a new version.
    #[test]
    fn two_sections_become_one_map() {
        let mut out = vec![VERSION];
        let aggregate = Aggregate::Count { count: 1 };
        let keys = ["a", "b"].map(|tenant| UsageKey {
            tenant: TenantId::new(tenant).unwrap(),
            meter: MeterKey::new("calls").unwrap(),
            hour: Timestamp::EPOCH,
            dimensions: "{}".to_owned(),
        });
        for key in &keys {
            out.push(0);
            put_bytes(&mut out, &delta_columns::write(&[(key, &aggregate)]));
        }
        let expected = keys.map(|key| (key, aggregate.clone())).into();
        assert_eq!(decode_deltas(&seal(out)), Ok(expected));
    }
}
