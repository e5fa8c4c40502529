//! A request body, read to its end before the engine sees any of it.
//!
//! This is what makes an INSERT that is cut off half way insert nothing: the engine has no
//! roll-back, so its stream begins only once the last byte has arrived. It also keeps a slow
//! client from holding one of the engine's places. Beyond 64 MiB the body goes to a temporary
//! file. It knows nothing about what the bytes mean.

use std::io::{self, Read, Seek, SeekFrom, Write};

use axum::body::Body;
use futures::StreamExt;
use tempfile::SpooledTempFile;

/// Bytes kept in memory before the body moves to a file.
const MEMORY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A complete body, to be read once from the start.
pub(crate) struct Spool {
    file: SpooledTempFile,
}

/// The body did not arrive whole.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpoolError {
    #[error(
        "Code: 33. DB::Exception: the request body ended early, nothing was run: {0}. (CANNOT_READ_ALL_DATA)"
    )]
    CutOff(#[source] axum::Error),
    #[error("Code: 243. DB::Exception: cannot keep the request body: {0}. (NOT_ENOUGH_SPACE)")]
    Storage(#[from] io::Error),
}

impl Spool {
    /// Reads the body; an error when the client went away before its end.
    pub(crate) async fn read(body: Body) -> Result<Self, SpoolError> {
        let mut file = SpooledTempFile::new(MEMORY_BYTES_MAX);
        let mut chunks = body.into_data_stream();
        while let Some(chunk) = chunks.next().await {
            file.write_all(&chunk.map_err(SpoolError::CutOff)?)?;
        }
        file.seek(SeekFrom::Start(0))?;
        Ok(Self { file })
    }

    /// Up to `bytes_max` bytes from where reading stands.
    pub(crate) fn take(&mut self, bytes_max: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX);
        Read::by_ref(&mut self.file).take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

impl Read for Spool {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read(buffer)
    }
}
