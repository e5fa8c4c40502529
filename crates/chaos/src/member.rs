//! One `weir serve` with its roles, behind proxies of its own. A keeper starts it again whenever it
//! has ended, as an init system does, so whoever kills it has nothing else to do.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use local_stack::{Program, Proxy};
use reqwest::Client;

/// How often the keeper looks.
const LOOK: Duration = Duration::from_millis(50);
/// A process that ended sooner than this after its start is not started again at once.
const TOO_SOON: Duration = Duration::from_secs(1);

/// A member of the house.
#[derive(Debug)]
pub(crate) struct Member {
    /// For people, and its log's name.
    pub(crate) name: String,
    /// In front of Postgres.
    pub(crate) postgres: Proxy,
    /// In front of ClickHouse.
    pub(crate) clickhouse: Proxy,
    program: PathBuf,
    roles: &'static str,
    environment: Vec<(String, String)>,
    admin: String,
    log: PathBuf,
    running: Mutex<Option<(Program, Instant)>>,
    wanted: AtomicBool,
    frozen: AtomicBool,
    kills: AtomicU64,
    ended: Mutex<Vec<String>>,
}

/// What a member is.
pub(crate) struct Description {
    /// For people.
    pub(crate) name: &'static str,
    /// `--roles`.
    pub(crate) roles: &'static str,
    /// `weir`.
    pub(crate) program: PathBuf,
    /// Its configuration, without the addresses of the proxies.
    pub(crate) environment: Vec<(String, String)>,
    /// Where health and metrics listen.
    pub(crate) admin: String,
    /// Its log.
    pub(crate) log: PathBuf,
    /// `host:port` and database of Postgres.
    pub(crate) postgres: (String, String),
    /// `host:port` of ClickHouse.
    pub(crate) clickhouse: String,
}

impl Member {
    /// A member that does not run yet.
    pub(crate) fn new(description: Description) -> Result<Arc<Self>> {
        let Description { name, roles, program, mut environment, admin, log, postgres, clickhouse } =
            description;
        let (before_postgres, before_clickhouse) = (Proxy::before(&postgres.0)?, Proxy::before(&clickhouse)?);
        let mut set = |name: &str, value: String| environment.push((name.to_owned(), value));
        set("WEIR_POSTGRES__URL", format!("postgres://weir@{}/{}", before_postgres.address(), postgres.1));
        set("WEIR_CLICKHOUSE__URL", format!("http://{}", before_clickhouse.address()));
        set("WEIR_ADMIN__LISTEN", admin.clone());
        set("NO_COLOR", "1".to_owned());
        Ok(Arc::new(Self {
            name: name.to_owned(),
            postgres: before_postgres,
            clickhouse: before_clickhouse,
            program,
            roles,
            environment,
            admin,
            log,
            running: Mutex::default(),
            wanted: AtomicBool::new(false),
            frozen: AtomicBool::new(false),
            kills: AtomicU64::new(0),
            ended: Mutex::default(),
        }))
    }

    /// Whether it counts.
    pub(crate) fn is_aggregator(&self) -> bool {
        self.roles.contains("aggregator")
    }

    /// From now on it is to run, or not to be started again.
    pub(crate) fn want(&self, wanted: bool) {
        self.wanted.store(wanted, Ordering::SeqCst);
    }

    /// Whether it is to run.
    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::SeqCst)
    }

    /// Starts it whenever it is wanted and has ended, until the task is dropped.
    pub(crate) async fn keep(self: Arc<Self>) {
        loop {
            if let Err(error) = self.look_after() {
                self.locked_ended().push(format!("{error:#}"));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn look_after(&self) -> Result<()> {
        let mut running = self.running();
        if let Some((program, started)) = running.as_ref() {
            let Some(how) = program.ended()? else { return Ok(()) };
            if started.elapsed() < TOO_SOON {
                return Ok(());
            }
            if !how.starts_with("signal 9") && self.is_wanted() {
                self.locked_ended().push(format!("{} ended by itself ({how})", self.name));
            }
            *running = None;
        }
        if self.is_wanted() {
            *running = Some((self.spawn()?, Instant::now()));
        }
        Ok(())
    }

    fn spawn(&self) -> Result<Program> {
        let mut command = Command::new(&self.program);
        command.args(["serve", "--roles", self.roles]).envs(self.environment.iter().cloned());
        command.current_dir(self.log.parent().unwrap_or(&self.log));
        Program::start(command, &self.log).with_context(|| format!("start {}", self.name))
    }

    /// kill -9; false when it did not run.
    pub(crate) fn kill(&self) -> bool {
        let running = self.running();
        let killed = running.as_ref().is_some_and(|(program, _)| program.kill().unwrap_or(false));
        if killed {
            self.kills.fetch_add(1, Ordering::SeqCst);
            self.frozen.store(false, Ordering::SeqCst);
        }
        killed
    }

    /// How often it was killed.
    pub(crate) fn kills(&self) -> u64 {
        self.kills.load(Ordering::SeqCst)
    }

    /// SIGSTOP.
    pub(crate) fn freeze(&self) -> Result<()> {
        if let Some((program, _)) = self.running().as_ref() {
            program.freeze()?;
            self.frozen.store(true, Ordering::SeqCst);
        }
        Ok(())
    }

    /// SIGCONT.
    pub(crate) fn thaw(&self) -> Result<()> {
        self.frozen.store(false, Ordering::SeqCst);
        match self.running().as_ref() {
            Some((program, _)) => Ok(program.thaw()?),
            None => Ok(()),
        }
    }

    /// Whether it stands still.
    pub(crate) fn is_frozen(&self) -> bool {
        self.frozen.load(Ordering::SeqCst)
    }

    /// Its process, while it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.running().as_ref().map(|(program, _)| program.pid())
    }

    /// It is no longer wanted; asks it to end in order and waits.
    pub(crate) fn stop(&self) -> Result<()> {
        self.want(false);
        if let Some((program, _)) = self.running().take() {
            program.thaw()?;
            program.stop()?;
        }
        Ok(())
    }

    /// Whether it says that it is ready; its words when it does not.
    pub(crate) async fn ready(&self) -> Result<(), String> {
        let client = Client::builder().no_proxy().timeout(Duration::from_secs(2)).build();
        let client = client.map_err(|error| error.to_string())?;
        let answer = client.get(format!("http://{}/readyz", self.admin)).send().await;
        let answer = answer.map_err(|error| error.to_string())?;
        match answer.status().is_success() {
            true => Ok(()),
            false => Err(answer.text().await.unwrap_or_default()),
        }
    }

    /// How it ended when nobody had killed it, since it was asked last.
    pub(crate) fn ended(&self) -> Vec<String> {
        std::mem::take(&mut self.locked_ended())
    }

    /// Its log.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// Lines of its log that tell of a panic.
    pub(crate) fn panics(&self) -> Vec<String> {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let panics = log.lines().filter(|line| line.contains("panicked at"));
        panics.map(|line| format!("{}: {line}", self.name)).collect()
    }

    fn running(&self) -> MutexGuard<'_, Option<(Program, Instant)>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn locked_ended(&self) -> MutexGuard<'_, Vec<String>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // It ends with this process anyway.
        self.kill();
    }
}
