//! The engine: one data folder, a bounded number of statements at a time.
//!
//! Every request gets a connection of its own, opened for it and closed after it. Opening one
//! takes 0.07 ms, and it is what keeps `SET`, `USE` and temporary tables from leaking between
//! requests. One more connection stays open from start to stop, because closing the last one
//! shuts the engine down.

use std::ffi::CString;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, bail};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::library::{Connection, EngineError, Functions, Parameters};

/// Statements that run side by side. More gave no more throughput on 2 to 8 cores.
const RUNNING_MAX: usize = 8;
/// Requests that may wait for one of those places; more are refused at once.
const WAITING_MAX: usize = 512;
/// The largest SQL text, as a native server's `max_query_size` but not so easily hit.
pub(crate) const QUERY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How far merges stand back behind inserts, queries and whoever shares the machine (`nice`).
const MERGES_NICE: i32 = 10;

/// The loaded engine.
pub(crate) struct Engine {
    functions: Arc<Functions>,
    arguments: Vec<CString>,
    anchor: Mutex<Option<Connection>>,
    running: Arc<Semaphore>,
    admitted: Arc<Semaphore>,
}

/// The right to run one statement.
pub(crate) struct Permit {
    _running: OwnedSemaphorePermit,
    _admitted: OwnedSemaphorePermit,
}

impl Engine {
    /// Loads the library and opens the data folder, which this process then owns alone.
    pub(crate) fn open(library: &Path, data: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(data)
            .with_context(|| format!("cannot create the data folder {}", data.display()))?;
        let data = data.canonicalize().context("cannot resolve the data folder")?;
        let functions = Functions::load(library).with_context(|| {
            format!(
                "cannot load ClickHouse's engine from {}; `local-stack setup` fetches it",
                library.display()
            )
        })?;
        let arguments = [
            "clickhouse".to_owned(),
            format!("--path={}", data.display()),
            format!("--max_query_size={QUERY_BYTES_MAX}"),
            // clickhouse-local reads `foo` as `SELECT foo`; a server does not.
            "--implicit_select=0".to_owned(),
            format!("--os_threads_nice_value_merge_mutate={MERGES_NICE}"),
        ]
        .into_iter()
        .map(CString::new)
        .collect::<Result<Vec<_>, _>>()
        .context("the data folder's path holds a NUL byte")?;
        let Some(mut anchor) = Connection::open(&functions, &arguments) else {
            bail!(
                "the engine cannot open {}: is another process using it, or was it written by a newer version?",
                data.display()
            );
        };
        anchor.query("SELECT 1", "TSV", &Parameters::default())?;
        Ok(Self {
            functions,
            arguments,
            anchor: Mutex::new(Some(anchor)),
            running: Arc::new(Semaphore::new(RUNNING_MAX)),
            admitted: Arc::new(Semaphore::new(RUNNING_MAX + WAITING_MAX)),
        })
    }

    /// Waits for a place; refuses when too many wait already.
    pub(crate) async fn permit(&self) -> Result<Permit, EngineError> {
        let full = || {
            EngineError(
                "Code: 202. DB::Exception: Too many simultaneous queries. (TOO_MANY_SIMULTANEOUS_QUERIES)"
                    .to_owned(),
            )
        };
        let admitted = Arc::clone(&self.admitted).try_acquire_owned().map_err(|_| full())?;
        let running = Arc::clone(&self.running).acquire_owned().await.map_err(|_| full())?;
        Ok(Permit { _running: running, _admitted: admitted })
    }

    /// A fresh connection with default settings.
    pub(crate) fn connect(&self) -> Result<Connection, EngineError> {
        Connection::open(&self.functions, &self.arguments).ok_or_else(|| {
            EngineError("Code: 210. DB::Exception: the engine is stopping. (NETWORK_ERROR)".to_owned())
        })
    }

    /// Waits until nothing runs, then closes the data folder. False when a thread did not stop.
    pub(crate) async fn close(&self) -> bool {
        let all = u32::try_from(RUNNING_MAX).unwrap_or(u32::MAX);
        let _everything = self.running.acquire_many(all).await;
        self.running.close();
        drop(self.anchor.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.functions.shutdown()
    }
}
