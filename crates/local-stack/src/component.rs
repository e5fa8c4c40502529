//! One server: starting, stopping, killing, freezing, and waiting until it answers.
//! What differs between the servers is in their own files; this one dispatches on [`Kind`].

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use libc::c_int;

use crate::config::{CONTROLLER_PORT_VARIABLE, StackConfig, is_free};
use crate::error::{Error, Result, tail};
use crate::kind::Kind;
use crate::process::{self, Lifetime, POLL_INTERVAL};
use crate::readable::reachable;
use crate::{clickhouse, kafka, postgres};

/// How long a server may take until it answers; Kafka on a busy machine needs about 10 s.
const READY_MAX: Duration = Duration::from_secs(90);

/// A server of a stack, or one of the user's own that is used in its place.
#[derive(Debug)]
pub struct Component {
    kind: Kind,
    url: String,
    log: PathBuf,
    /// `None` for a server of the user's own.
    config: Option<StackConfig>,
    child: Mutex<Option<Child>>,
}

impl Component {
    /// A server that is to be started with `config`.
    pub(crate) fn own(kind: Kind, config: &StackConfig) -> Self {
        let log = config.state.join("logs").join(format!("{}.log", kind.folder()));
        Self { kind, url: kind.url(config), log, config: Some(config.clone()), child: Mutex::default() }
    }

    /// A server that somebody else runs.
    pub(crate) fn foreign(kind: Kind, url: String) -> Self {
        let log = PathBuf::from("(its own log)");
        Self { kind, url, log, config: None, child: Mutex::default() }
    }

    /// The user's own server when its variable is set, else one to be started.
    pub(crate) fn configured(kind: Kind, config: &StackConfig) -> Self {
        match std::env::var(kind.url_variable()) {
            Ok(url) if !url.is_empty() => Self::foreign(kind, url),
            _ => Self::own(kind, config),
        }
    }

    /// Which server this is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The address for clients: `host:port` for Kafka, a URL for the others.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// True when a server of the user's own is used.
    pub fn is_foreign(&self) -> bool {
        self.config.is_none()
    }

    /// The file that its output goes to.
    pub fn logs(&self) -> PathBuf {
        self.log.clone()
    }

    /// The folder that holds all its data, for copying and losing it while the server is stopped.
    ///
    /// # Errors
    /// For a server of the user's own.
    pub fn data(&self) -> Result<PathBuf> {
        let config = self.ours("copied or lost")?;
        let folder = Self::folder(self.kind, &config.state);
        match self.kind {
            Kind::Postgres => Ok(reachable(&folder)?.join("data")),
            Kind::Kafka => Ok(folder.join("data")),
            Kind::ClickHouse => Ok(folder),
        }
    }

    /// Its process, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child().as_ref().map(Child::id)
    }

    /// Starts the server and waits until it answers. Does nothing when it runs already.
    pub fn start(&self) -> Result<()> {
        if self.config.is_some() {
            let mut child = self.child();
            let runs = match child.as_mut() {
                Some(child) => child.try_wait().map_err(Error::io("look after a process"))?.is_none(),
                None => false,
            };
            if !runs {
                *child = Some(self.spawn(Lifetime::Parent(self.kind.orphan_signal()))?);
            }
        }
        self.wait_ready()
    }

    /// Starts the process after checking its ports; does not wait.
    pub(crate) fn spawn(&self, lifetime: Lifetime) -> Result<Child> {
        let config = self.ours("started")?;
        self.check_ports(config)?;
        for folder in [&config.state, &config.state.join("logs")] {
            fs::create_dir_all(folder).map_err(Error::io(format!("create {}", folder.display())))?;
        }
        process::start(self.command(config)?, &self.log, lifetime)
    }

    fn command(&self, config: &StackConfig) -> Result<Command> {
        match self.kind {
            Kind::Kafka => kafka::command(config),
            Kind::Postgres => postgres::command(config),
            Kind::ClickHouse => clickhouse::command(config),
        }
    }

    fn check_ports(&self, config: &StackConfig) -> Result<()> {
        let controller = (config.ports.kafka_controller, CONTROLLER_PORT_VARIABLE);
        let mut needed = vec![(self.kind.port(config), self.kind.port_variable())];
        if self.kind == Kind::Kafka {
            needed.push(controller);
        }
        match needed.into_iter().find(|(port, _)| !is_free(*port)) {
            Some((port, variable)) => Err(Error::PortInUse { component: self.kind, port, variable }),
            None => Ok(()),
        }
    }

    /// Waits until the server answers a real request.
    pub fn wait_ready(&self) -> Result<()> {
        self.wait_ready_for(READY_MAX)
    }

    /// As [`Component::wait_ready`], with a limit of the caller's own.
    pub fn wait_ready_for(&self, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            let reason = match self.probe() {
                Ok(()) => return Ok(()),
                Err(reason) => reason,
            };
            self.check_running()?;
            if Instant::now() >= deadline {
                return Err(Error::NotReady {
                    component: self.kind,
                    address: self.url.clone(),
                    seconds: limit.as_secs(),
                    reason,
                    log: self.log.clone(),
                    tail: tail(&self.log),
                });
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// One attempt to get an answer; the reason in words when there is none.
    pub fn probe(&self) -> std::result::Result<(), String> {
        match (self.kind, self.is_foreign()) {
            (Kind::Kafka, _) => kafka::probe(&self.url),
            (Kind::Postgres, false) => postgres::probe_and_create(&self.url),
            (Kind::Postgres, true) => postgres::probe_foreign(&self.url),
            (Kind::ClickHouse, foreign) => clickhouse::probe(&self.url, foreign),
        }
    }

    fn check_running(&self) -> Result<()> {
        let mut child = self.child();
        let Some(process) = child.as_mut() else { return Ok(()) };
        let ended = process.try_wait().map_err(Error::io("look after a process"))?;
        let Some(status) = ended else { return Ok(()) };
        *child = None;
        Err(Error::Ended {
            component: self.kind,
            status: process::describe(status),
            log: self.log.clone(),
            tail: tail(&self.log),
        })
    }

    /// Stops the server in good order; kills it when that takes longer than 20 s.
    pub fn stop(&self) -> Result<()> {
        self.ours("stopped")?;
        if let Some(mut child) = self.child().take() {
            process::stop(&mut child, self.kind.stop_signal())
                .map_err(Error::io(format!("stop {}", self.kind)))?;
        }
        Ok(())
    }

    /// Kills the server with SIGKILL and waits until it is gone.
    pub fn kill(&self) -> Result<()> {
        self.ours("killed")?;
        if let Some(mut child) = self.child().take() {
            // PostgreSQL does not start again while one of its old processes still runs.
            let descendants = process::children(child.id());
            let killed = child.kill().and_then(|()| child.wait());
            killed.map_err(Error::io(format!("kill {}", self.kind)))?;
            process::kill_all(&descendants);
        }
        Ok(())
    }

    /// Stops the server's first process where it stands (SIGSTOP); connections stay open.
    /// PostgreSQL serves each connection by a process of its own; those are frozen too.
    pub fn freeze(&self) -> Result<()> {
        self.signal_all(libc::SIGSTOP, "frozen")
    }

    /// Lets a frozen server go on.
    pub fn thaw(&self) -> Result<()> {
        self.signal_all(libc::SIGCONT, "thawed")
    }

    fn signal_all(&self, number: c_int, what: &'static str) -> Result<()> {
        self.ours(what)?;
        let pid = self.pid().ok_or(Error::NotRunning { component: self.kind })?;
        process::signal(pid, number).map_err(Error::io(format!("signal {}", self.kind)))?;
        for child in process::children(pid) {
            // A backend may have ended in between.
            let _ = process::signal(child, number);
        }
        Ok(())
    }

    /// Stops the server if it runs, starts it on the same data and waits until it answers.
    pub fn restart(&self) -> Result<()> {
        self.stop()?;
        self.start()
    }

    /// The folder of its data.
    pub(crate) fn folder(kind: Kind, state: &Path) -> PathBuf {
        state.join(kind.folder())
    }

    fn ours(&self, what: &'static str) -> Result<&StackConfig> {
        self.config.as_ref().ok_or_else(|| Error::NotOurs {
            component: self.kind,
            address: self.url.clone(),
            what,
        })
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
