//! A program of the caller's own beside the servers: it ends with this process, can be killed,
//! frozen and thawed from any thread, and is never signalled after it was collected. It knows
//! nothing of what the program does.

use std::path::Path;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use libc::c_int;

use crate::error::{Error, Result};
use crate::process::{self, Lifetime};

/// A started program. Clones are handles of the same process.
#[derive(Debug, Clone)]
pub struct Program {
    child: Arc<Mutex<Child>>,
    pid: u32,
}

impl Program {
    /// Starts it, with its output appended to `log`.
    ///
    /// # Errors
    /// When it or its log cannot be started or opened.
    pub fn start(command: Command, log: &Path) -> Result<Self> {
        let child = process::start(command, log, Lifetime::Parent(libc::SIGKILL))?;
        let pid = child.id();
        Ok(Self { child: Arc::new(Mutex::new(child)), pid })
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// How it ended, in words; `None` while it runs.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn ended(&self) -> Result<Option<String>> {
        let ended = self.child().try_wait().map_err(Error::io("look after a process"))?;
        Ok(ended.map(process::describe))
    }

    /// Kills it with SIGKILL and waits until it is gone; false when it had ended before.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub fn kill(&self) -> Result<bool> {
        let mut child = self.child();
        if child.try_wait().map_err(Error::io("look after a process"))?.is_some() {
            return Ok(false);
        }
        child.kill().and_then(|()| child.wait()).map_err(Error::io("kill a process"))?;
        Ok(true)
    }

    /// Stops it where it stands (SIGSTOP); connections stay open.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub fn freeze(&self) -> Result<()> {
        self.signal(libc::SIGSTOP)
    }

    /// Lets a frozen one go on.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub fn thaw(&self) -> Result<()> {
        self.signal(libc::SIGCONT)
    }

    /// Asks it to end (SIGTERM), waits, and kills it after 20 s. How it ended, in words.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub fn stop(&self) -> Result<String> {
        let ended = process::stop(&mut self.child(), libc::SIGTERM).map_err(Error::io("stop a process"))?;
        Ok(process::describe(ended))
    }

    fn signal(&self, number: c_int) -> Result<()> {
        let mut child = self.child();
        if child.try_wait().map_err(Error::io("look after a process"))?.is_some() {
            return Ok(());
        }
        process::signal(self.pid, number).map_err(Error::io("signal a process"))
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
