//! The three servers together. It decides what is started and in which folder; a single server's
//! life is in `component.rs`.

use std::fs;
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

use tempfile::TempDir;

use crate::component::Component;
use crate::config::{Ports, StackConfig, components};
use crate::error::{Error, Result};
use crate::kind::Kind;
use crate::postgres::make_passable;

/// Names the folders of scratch stacks; the process number follows.
const SCRATCH_PREFIX: &str = "weir-scratch-";

/// Kafka, PostgreSQL and ClickHouse, ready. Dropping it stops what it started.
#[derive(Debug)]
pub struct Stack {
    components: [Component; 3],
    /// The folder of a scratch stack, removed with it.
    scratch: Option<TempDir>,
}

impl Stack {
    /// Starts all servers side by side and returns when each has answered a request. A server
    /// whose variable (`WEIR_KAFKA__BOOTSTRAP_SERVERS`, `WEIR_POSTGRES__URL`,
    /// `WEIR_CLICKHOUSE__URL`) names one of the user's own is only asked.
    pub fn start(config: &StackConfig) -> Result<Self> {
        let stack =
            Self { components: Kind::ALL.map(|kind| Component::configured(kind, config)), scratch: None };
        for component in stack.components.iter().filter(|component| component.is_foreign()) {
            let variable = component.kind().url_variable();
            eprintln!("{}: using {variable}, nothing is started", component.kind());
        }
        stack.start_all()?;
        Ok(stack)
    }

    fn start_all(&self) -> Result<()> {
        // Whatever started is stopped by Drop when another one fails.
        std::thread::scope(|scope| {
            let starting = self.components.each_ref().map(|one| scope.spawn(|| one.start()));
            starting.into_iter().try_for_each(|thread| match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            })
        })
    }

    /// The Kafka node.
    pub fn kafka(&self) -> &Component {
        &self.components[0]
    }

    /// The PostgreSQL server.
    pub fn postgres(&self) -> &Component {
        &self.components[1]
    }

    /// The ClickHouse server.
    pub fn clickhouse(&self) -> &Component {
        &self.components[2]
    }

    /// All three, for a table.
    pub fn components(&self) -> &[Component] {
        &self.components
    }

    /// `host:port` of Kafka.
    pub fn kafka_bootstrap(&self) -> String {
        self.kafka().url().to_owned()
    }

    /// URL of the database `weir`, whose owner `weir` is a superuser without a password.
    pub fn postgres_url(&self) -> String {
        self.postgres().url().to_owned()
    }

    /// URL of ClickHouse's HTTP interface. The user `default` may do everything, the user
    /// `grafana` may only read; neither has a password.
    pub fn clickhouse_url(&self) -> String {
        self.clickhouse().url().to_owned()
    }

    /// Stops what was started, in good order, and says what did not stop.
    pub fn stop(self) -> Result<()> {
        let own = self.components.iter().filter(|component| !component.is_foreign());
        std::thread::scope(|scope| {
            let stopping: Vec<_> = own.map(|one| scope.spawn(|| one.stop())).collect();
            stopping.into_iter().try_for_each(|thread| match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            })
        })
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        for component in self.components.iter().filter(|component| !component.is_foreign()) {
            // A scratch stack's data goes away with it, so nothing needs to be flushed. Errors
            // cannot be returned from here, and the servers end with this process anyway.
            let _ = if self.scratch.is_some() { component.kill() } else { component.stop() };
        }
    }
}

/// A fresh stack on free ports in a temporary folder, for tests. It ignores servers of the user's
/// own, which tests must not write to. Everything is removed when it is dropped.
pub fn scratch() -> Result<Stack> {
    const ATTEMPTS: usize = 3;
    remove_leftovers();
    let mut attempt = 1;
    loop {
        match start_scratch() {
            // Another process took the port between looking and starting.
            Err(Error::PortInUse { .. }) if attempt < ATTEMPTS => attempt += 1,
            other => return other,
        }
    }
}

fn start_scratch() -> Result<Stack> {
    let folder = tempfile::Builder::new()
        .prefix(&format!("{SCRATCH_PREFIX}{}-", std::process::id()))
        .tempdir()
        .map_err(Error::io("create a temporary folder"))?;
    make_passable(folder.path())?;
    let config = StackConfig { root: components(), state: folder.path().to_owned(), ports: Ports::free()? };
    let stack =
        Stack { components: Kind::ALL.map(|kind| Component::own(kind, &config)), scratch: Some(folder) };
    stack.start_all()?;
    Ok(stack)
}

/// One scratch stack for all tests of this process, started by the first that asks. Tests that
/// stop, kill or freeze servers need one of their own: [`scratch`].
///
/// # Errors
/// The first caller gets the reason; later ones try again.
pub fn shared_for_tests() -> Result<&'static Stack> {
    static SHARED: OnceLock<Stack> = OnceLock::new();
    static STARTING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(stack) = SHARED.get() {
        return Ok(stack);
    }
    let stack = scratch()?;
    Ok(SHARED.get_or_init(|| stack))
}

/// Removes the folders of scratch stacks whose process is gone: a shared stack is never dropped.
fn remove_leftovers() {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(SCRATCH_PREFIX));
        let pid = owner.and_then(|owner| owner.split('-').next()?.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            // Another process may be removing it, or it belongs to another user.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
