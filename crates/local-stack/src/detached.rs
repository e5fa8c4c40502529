//! A stack that outlives the command which started it: `local-stack up`, `down`, `status`.
//! Each server's process number and start time are kept in a file beside its data, so that `down`
//! never signals a stranger who got the same number.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::component::Component;
use crate::config::StackConfig;
use crate::error::{Error, Result};
use crate::kind::Kind;
use crate::process::{self, Lifetime, POLL_INTERVAL};

/// How long `down` waits before it kills.
const STOP_MAX: Duration = Duration::from_secs(30);

/// How a server stands.
#[derive(Debug, Clone)]
pub struct Status {
    /// Which server.
    pub kind: Kind,
    /// Its address for clients.
    pub url: String,
    /// Its process, when it was started by [`up`] and still runs.
    pub pid: Option<u32>,
    /// True for a server of the user's own.
    pub foreign: bool,
    /// Why it does not answer; `None` when it does.
    pub problem: Option<String>,
    /// Its log file.
    pub log: PathBuf,
}

/// Starts what does not run yet, and returns when every server has answered.
pub fn up(config: &StackConfig) -> Result<Vec<Status>> {
    let components = Kind::ALL.map(|kind| Component::configured(kind, config));
    for component in components.iter().filter(|component| !component.is_foreign()) {
        if recorded(config, component.kind()).is_none() {
            let mut child = component.spawn(Lifetime::Detached)?;
            record(config, component.kind(), child.id())?;
            // A thread collects its end, so that a server which fails at once is not mistaken
            // for a running one.
            std::thread::spawn(move || child.wait());
        }
    }
    for component in &components {
        wait(config, component)?;
    }
    Ok(status(config))
}

fn wait(config: &StackConfig, component: &Component) -> Result<()> {
    let second = Duration::from_secs(1);
    let mut seconds_left = 90_u32;
    loop {
        match component.wait_ready_for(second) {
            Err(Error::NotReady { .. }) if seconds_left > 0 => seconds_left -= 1,
            other => return other,
        }
        if !component.is_foreign() && recorded(config, component.kind()).is_none() {
            return Err(Error::Ended {
                component: component.kind(),
                status: "by itself".to_owned(),
                log: component.logs(),
                tail: crate::error::tail(&component.logs()),
            });
        }
    }
}

/// Stops every server that [`up`] started; returns which. Data stays.
pub fn down(config: &StackConfig) -> Result<Vec<Kind>> {
    let running: Vec<(Kind, u32)> =
        Kind::ALL.iter().filter_map(|kind| Some((*kind, recorded(config, *kind)?))).collect();
    for (kind, pid) in &running {
        let failed = format!("stop {kind} (process {pid})");
        process::signal(*pid, kind.stop_signal()).map_err(Error::io(failed.as_str()))?;
        process::signal(*pid, libc::SIGCONT).map_err(Error::io(failed))?;
    }
    let deadline = Instant::now() + STOP_MAX;
    for (kind, pid) in &running {
        while recorded(config, *kind).is_some() {
            if Instant::now() >= deadline {
                process::kill_all(&[*pid]);
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        // It may have been removed by another `down`.
        let _ = fs::remove_file(pid_file(config, *kind));
    }
    Ok(running.into_iter().map(|(kind, _)| kind).collect())
}

/// How each server stands now.
pub fn status(config: &StackConfig) -> Vec<Status> {
    let components = Kind::ALL.map(|kind| Component::configured(kind, config));
    let one = |component: &Component| Status {
        kind: component.kind(),
        url: component.url().to_owned(),
        pid: recorded(config, component.kind()).filter(|_| !component.is_foreign()),
        foreign: component.is_foreign(),
        problem: component.probe().err(),
        log: component.logs(),
    };
    components.iter().map(one).collect()
}

fn pid_file(config: &StackConfig, kind: Kind) -> PathBuf {
    config.state.join(format!("{}.pid", kind.folder()))
}

fn record(config: &StackConfig, kind: Kind, pid: u32) -> Result<()> {
    let path = pid_file(config, kind);
    fs::write(&path, format!("{pid} {}\n", started_at(pid).unwrap_or_default()))
        .map_err(Error::io(format!("write {}", path.display())))
}

/// The process that was recorded, while it runs.
fn recorded(config: &StackConfig, kind: Kind) -> Option<u32> {
    let text = fs::read_to_string(pid_file(config, kind)).ok()?;
    let (pid, started) = text.trim().split_once(' ')?;
    let pid = pid.parse().ok()?;
    (process::is_running(pid) && started_at(pid).as_deref() == Some(started)).then_some(pid)
}

/// When the process started, in the kernel's clock ticks: field 22 of its stat file.
fn started_at(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split(' ').nth(19).map(str::to_owned)
}
