//! The bytes of a request: read and unpacked within bounds. A reservation of bytes is held
//! as long as they are, so that slow answers cannot fill the memory.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, header};
use http_body_util::{BodyExt, Limited};
use tokio::sync::OwnedSemaphorePermit;
use weir_wire::packed_body::{Packing, unpack};

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
        (None, Some(length)) => length.max(RESERVED_BYTES_MIN),
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
        None => packed,
        // However few bytes there are, they may become many.
        Some(packing) => {
            let unpacked = off_runtime(move || unpack(packing, &packed, bytes_max)).await?;
            let unreadable = |error| {
                Problem::new(Kind::Malformed, format!("the body is not what Content-Encoding says: {error}"))
            };
            unpacked.map_err(unreadable)?.ok_or_else(too_large)?.into()
        }
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

fn packing(headers: &HeaderMap) -> Result<Option<Packing>, Problem> {
    let Some(value) = headers.get(header::CONTENT_ENCODING) else { return Ok(None) };
    match value.to_str().unwrap_or("").trim().to_ascii_lowercase().as_str() {
        "" | "identity" => Ok(None),
        "gzip" | "x-gzip" => Ok(Some(Packing::Gzip)),
        "zstd" => Ok(Some(Packing::Zstd)),
        _ => Err(Problem::new(Kind::UnsupportedMediaType, "pack the body with gzip or zstd, or not at all")
            .with_header(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip, zstd"))),
    }
}
