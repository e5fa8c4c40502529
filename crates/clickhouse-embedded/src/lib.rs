//! A development server that puts ClickHouse's HTTP interface in front of ClickHouse's own engine
//! (libchdb), for machines without a `clickhouse` binary. It is no emulation: parsing, storage,
//! merges and errors are the engine's. It is not for production: one process, no users beyond
//! `default` and the read-only ones named at start, no replication, no native protocol.
//!
//! Where a native server behaves differently:
//! - A request body is read to its end before the INSERT begins, so one that is cut off inserts
//!   nothing. A native server may keep full blocks (about a million rows each) that came before.
//!   An INSERT with a bad row behind a full block keeps that block on both.
//! - Each request is a session of its own: `session_id` is ignored, a temporary table lasts for
//!   one request.
//! - A result is complete before its first byte is sent, so an error always has a status of its
//!   own and never hides in the body, and a very large result takes memory.
//! - `compress` and `decompress` (LZ4 frames) are refused; clients must not compress.
//! - `currentUser()` is `default` for every user; `CREATE USER` and `GRANT` are not available.
//! - Several statements, `INTO OUTFILE`, `FROM INFILE`, `BACKUP` are refused. A read-only user
//!   may not use table functions that reach outside the data folder.

mod engine;
mod form;
mod library;
mod request;
mod run;
mod server;
mod spool;
mod statement;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

pub use crate::request::ReadonlyUser;

/// How long requests under way may take once the server was told to stop.
const DRAIN_MAX: Duration = Duration::from_secs(20);

/// How to run the server.
#[derive(Debug, Clone)]
pub struct Config {
    /// Folder of the databases; created when missing, used by one process at a time.
    pub data: PathBuf,
    /// Address of the HTTP interface; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Path of `libchdb.so`.
    pub library: PathBuf,
    /// Users that may only read.
    pub readonly_users: Vec<ReadonlyUser>,
}

/// Serves until `stop` completes, then lets requests end and closes the databases.
/// `started` is told the bound address once requests are answered.
pub async fn serve(
    config: Config,
    started: oneshot::Sender<SocketAddr>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    // The port comes first: finding it taken is cheap, opening the databases is not.
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("cannot listen on {}; choose another --listen", config.listen))?;
    let address = listener.local_addr().context("cannot read the listening address")?;
    let engine = Arc::new(engine::Engine::open(&config.library, &config.data)?);
    let server = server::Server { engine: Arc::clone(&engine), readonly_users: config.readonly_users.into() };
    tracing::info!(%address, data = %config.data.display(), "ClickHouse's HTTP interface is open");
    // Nobody may be waiting for the address.
    let _ = started.send(address);
    let (stopping, mut stopped) = oneshot::channel::<()>();
    let served = axum::serve(listener, server::router(server)).with_graceful_shutdown(async move {
        stop.await;
        drop(stopping);
    });
    let drained = async {
        // Resolves when the sender is dropped, which is when the stop began.
        let _ = (&mut stopped).await;
        tokio::time::sleep(DRAIN_MAX).await;
    };
    tokio::select! {
        result = served.into_future() => result.context("the HTTP server failed")?,
        () = drained => tracing::warn!("requests still ran after {DRAIN_MAX:?} and were cut off"),
    }
    if !engine.close().await {
        // Usual for version 26.7: its databases are closed, an idle thread ends with the process.
        tracing::debug!("a thread of the engine did not stop");
    }
    tracing::info!("stopped");
    Ok(())
}
