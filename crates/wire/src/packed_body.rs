//! Bodies of requests as `Content-Encoding` packs them, unpacked within bounds: whatever the
//! bytes are, no more than the bound comes out of them.

use std::io::{self, Read};

/// How far back a zstd body may refer, as a power of two: 8 MiB, what the zstd specification
/// recommends decoders to take.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// How a body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// RFC 1952, one member or several.
    Gzip,
    /// RFC 8878.
    Zstd,
}

/// The unpacked bytes; `None` when there are more than `bytes_max`.
///
/// # Errors
/// When the bytes are not packed so.
pub fn unpack(packing: Packing, packed: &[u8], bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
    match packing {
        Packing::Gzip => bounded(flate2::read::MultiGzDecoder::new(packed), bytes_max),
        Packing::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::new(packed)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            bounded(decoder, bytes_max)
        }
    }
}

fn bounded(reader: impl Read, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let bound = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    reader.take(bound).read_to_end(&mut bytes)?;
    Ok((bytes.len() <= bytes_max).then_some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bomb_is_too_large_and_rubbish_is_unreadable() {
        let packed = zstd::encode_all(&vec![0; 100_000][..], 3).unwrap();
        assert!(unpack(Packing::Zstd, &packed, 99_999).unwrap().is_none());
        assert_eq!(unpack(Packing::Zstd, &packed, 100_000).unwrap().unwrap().len(), 100_000);
        assert!(unpack(Packing::Gzip, b"rubbish", 100).is_err());
        assert!(unpack(Packing::Zstd, b"rubbish", 100).is_err());
    }
}
