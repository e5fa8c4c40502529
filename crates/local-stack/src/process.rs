//! Starting and signalling server processes. It knows nothing about what they serve.
//!
//! A server ends with the process that started it, unless it is detached: Linux sends it a signal
//! when its parent dies. The kernel means the parent *thread* by that, so all servers are started
//! from one thread that lives as long as the process. Each server is in a process group of its
//! own, so that Ctrl-C in a terminal reaches only the program that watches over it.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use libc::{c_int, pid_t};

use crate::error::{Error, Result};

/// How often a condition is looked at again.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_millis(25);
/// How long a server may take to stop before it is killed.
const STOP_MAX: Duration = Duration::from_secs(20);

/// When a server ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// With the process that started it, by this signal.
    Parent(c_int),
    /// Only when it is told to.
    Detached,
}

type Order = (Command, Sender<io::Result<Child>>);

/// Starts the program with its output appended to `log`.
pub(crate) fn start(mut command: Command, log: &Path, lifetime: Lifetime) -> Result<Child> {
    let action = format!("start {}", command.get_program().display());
    let output = OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .map_err(Error::io(format!("open {}", log.display())))?;
    let errors = output.try_clone().map_err(Error::io("share a log file"))?;
    command.stdin(Stdio::null()).stdout(output).stderr(errors);
    match lifetime {
        Lifetime::Parent(signal) => {
            command.process_group(0);
            let parent = std::process::id();
            // SAFETY: only async-signal-safe calls between fork and exec.
            unsafe { command.pre_exec(move || end_with_parent(signal, parent)) };
        }
        Lifetime::Detached => {
            // SAFETY: setsid is async-signal-safe.
            unsafe { command.pre_exec(|| check(libc::setsid())) };
        }
    }
    let (answer, answered) = channel();
    // Both ends live as long as the process, so neither call fails unless the thread panicked.
    let gone = || io::Error::other("the thread that starts servers is gone");
    starter().send((command, answer)).map_err(|_| gone()).map_err(Error::io(action.as_str()))?;
    answered.recv().map_err(|_| gone()).and_then(|child| child).map_err(Error::io(action))
}

fn starter() -> &'static Sender<Order> {
    static STARTER: OnceLock<Sender<Order>> = OnceLock::new();
    STARTER.get_or_init(|| {
        let (orders, received) = channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, answer) in received {
                // The caller may have gone; then the child ends with this process.
                let _ = answer.send(command.spawn());
            }
        });
        orders
    })
}

fn end_with_parent(signal: c_int, parent: u32) -> io::Result<()> {
    let signal = libc::c_ulong::try_from(signal).map_err(io::Error::other)?;
    // SAFETY: PR_SET_PDEATHSIG takes a signal number and touches no memory.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal) })?;
    // The parent may have died before the signal was set.
    if std::os::unix::process::parent_id() != parent {
        return Err(io::Error::other("the parent is gone"));
    }
    Ok(())
}

fn check(result: c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Sends a signal.
pub(crate) fn signal(pid: u32, signal: c_int) -> io::Result<()> {
    let pid = pid_t::try_from(pid).map_err(io::Error::other)?;
    // SAFETY: kill takes two numbers.
    check(unsafe { libc::kill(pid, signal) })
}

/// True when this process may do everything, which PostgreSQL refuses to run as.
pub(crate) fn is_root() -> bool {
    // SAFETY: geteuid cannot fail and touches no memory.
    unsafe { libc::geteuid() == 0 }
}

/// Asks the server to stop, waits, and kills it when it takes too long. A frozen one is thawed.
pub(crate) fn stop(child: &mut Child, polite: c_int) -> io::Result<ExitStatus> {
    let pid = child.id();
    if let Some(status) = child.try_wait()? {
        return Ok(status);
    }
    signal(pid, polite)?;
    signal(pid, libc::SIGCONT)?;
    let deadline = Instant::now() + STOP_MAX;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        std::thread::sleep(POLL_INTERVAL);
    }
    child.kill()?;
    child.wait()
}

/// How a process ended, in words.
pub(crate) fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "unknown".to_owned(),
    }
}

/// Runs a helper to its end; its output becomes the error when it fails.
pub(crate) fn run(command: &mut Command, purpose: &str) -> Result<()> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(Error::io(format!("run {} to {purpose}", command.get_program().display())))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let lines: Vec<&str> = said.lines().collect();
    Err(Error::Program {
        program: format!("{} (to {purpose})", command.get_program().display()),
        status: describe(output.status),
        output: lines[lines.len().saturating_sub(20)..].join("\n"),
    })
}

/// The processes that `pid` started and that still run.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let list = list.unwrap_or_default();
    list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// Kills the processes and waits until they are gone.
pub(crate) fn kill_all(pids: &[u32]) {
    for pid in pids {
        // It may have ended by itself.
        let _ = signal(*pid, libc::SIGKILL);
    }
    while pids.iter().any(|pid| is_running(*pid)) {
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// True when the process exists and has not ended. (One that ended stays listed until its parent
/// asks for it.)
pub(crate) fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}
