//! The bytes of a request: read and unpacked within bounds. A reservation of bytes is held
//! as long as they are, so that slow answers cannot fill the memory.

use std::io::Read;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, header};
use http_body_util::{BodyExt, Limited};
use tokio::sync::OwnedSemaphorePermit;

use crate::problem::{Kind, Problem};
use crate::state::ApiState;

/// The least that a request reserves: headers and what surrounds it.
const RESERVED_BYTES_MIN: usize = 4_096;

/// A body in memory, with its reservation.
#[derive(Debug)]
pub struct Held {
    /// The body, unpacked.
    pub bytes: Bytes,
    gauge: prometheus::IntGauge,
    reserved: i64,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.gauge.sub(self.reserved);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Packing {
    None,
    Gzip,
    Zstd,
}

/// Reads and unpacks a body.
///
/// # Errors
/// 413 when it is too large, packed or unpacked; 415 for a packing that is not taken; 400 for
/// bytes that cannot be unpacked; 408 when it does not arrive in time, since it is reserved for
/// meanwhile; 503 at once when too many bytes are in flight.
pub async fn read(state: &ApiState, headers: &HeaderMap, body: Body) -> Result<Held, Problem> {
    let bytes_max = state.settings.body_bytes_max;
    let too_large = || Problem::new(Kind::TooLarge, format!("a body may have {bytes_max} bytes, unpacked"));
    let packing = packing(headers)?;
    let length =
        headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > bytes_max) {
        return Err(too_large());
    }
    let reserved = match (packing, length) {
        (Packing::None, Some(length)) => length.max(RESERVED_BYTES_MIN),
        _ => bytes_max,
    };
    let mut permit = reserve(state, reserved)?;
    let timeout = Duration::from_millis(state.settings.body_timeout_ms);
    let read = tokio::time::timeout(timeout, Limited::new(body, bytes_max).collect()).await;
    let read = read.map_err(|_| {
        let detail =
            format!("the body did not arrive within {} ms; send less at a time", timeout.as_millis());
        Problem::new(Kind::TimedOut, detail)
    })?;
    let read = read.map_err(|error| {
        if error.is::<http_body_util::LengthLimitError>() {
            too_large()
        } else {
            Problem::new(Kind::Malformed, "the body ended early")
        }
    })?;
    let packed = read.to_bytes();
    let bytes = match packing {
        Packing::None => packed,
        // However few bytes there are, they may become many.
        packing => off_runtime(move || unpack(packing, packed, bytes_max)).await??.ok_or_else(too_large)?,
    };
    // What was reserved for the worst case is given back.
    let needed = bytes.len().max(RESERVED_BYTES_MIN).min(reserved);
    drop(permit.split(reserved - needed));
    let gauge = state.metrics.in_flight_bytes.clone();
    let reserved = i64::try_from(needed).unwrap_or(i64::MAX);
    gauge.add(reserved);
    Ok(Held { bytes, gauge, reserved, _permit: permit })
}

/// Does work that takes a while on a thread of its own.
///
/// # Errors
/// When the work panicked.
pub(crate) async fn off_runtime<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Problem::new(Kind::Internal, format!("the events could not be worked on: {error}")))
}

fn reserve(state: &ApiState, bytes: usize) -> Result<OwnedSemaphorePermit, Problem> {
    let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
    state.in_flight.clone().try_acquire_many_owned(permits).map_err(|_| {
        Problem::new(Kind::Overloaded, "too many bytes of events are being taken at the moment; try again")
    })
}

fn packing(headers: &HeaderMap) -> Result<Packing, Problem> {
    let Some(value) = headers.get(header::CONTENT_ENCODING) else { return Ok(Packing::None) };
    match value.to_str().unwrap_or("").trim().to_ascii_lowercase().as_str() {
        "" | "identity" => Ok(Packing::None),
        "gzip" | "x-gzip" => Ok(Packing::Gzip),
        "zstd" => Ok(Packing::Zstd),
        _ => Err(Problem::new(Kind::UnsupportedMediaType, "pack the body with gzip or zstd, or not at all")
            .with_header(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip, zstd"))),
    }
}

/// The unpacked bytes; `None` when there are more than `bytes_max`.
fn unpack(packing: Packing, packed: Bytes, bytes_max: usize) -> Result<Option<Bytes>, Problem> {
    let unreadable = |error: std::io::Error| {
        Problem::new(Kind::Malformed, format!("the body is not what Content-Encoding says: {error}"))
    };
    match packing {
        Packing::None => Ok(Some(packed)),
        Packing::Gzip => {
            bounded(flate2::read::MultiGzDecoder::new(&packed[..]), bytes_max).map_err(unreadable)
        }
        Packing::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::new(&packed[..]).map_err(unreadable)?;
            // 8 MiB: what the zstd specification recommends decoders to take.
            decoder.window_log_max(23).map_err(unreadable)?;
            bounded(decoder, bytes_max).map_err(unreadable)
        }
    }
}

fn bounded(reader: impl Read, bytes_max: usize) -> std::io::Result<Option<Bytes>> {
    let mut bytes = Vec::new();
    let bound = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    reader.take(bound).read_to_end(&mut bytes)?;
    Ok((bytes.len() <= bytes_max).then(|| bytes.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bomb_is_too_large_and_rubbish_is_unreadable() {
        let zeros = vec![0; 100_000];
        let packed = Bytes::from(zstd::encode_all(&zeros[..], 3).unwrap());
        assert!(unpack(Packing::Zstd, packed.clone(), 99_999).unwrap().is_none());
        assert_eq!(unpack(Packing::Zstd, packed, 100_000).unwrap().unwrap().len(), 100_000);
        assert!(unpack(Packing::Gzip, Bytes::from_static(b"rubbish"), 100).is_err());
        assert!(unpack(Packing::Zstd, Bytes::from_static(b"rubbish"), 100).is_err());
    }
}
