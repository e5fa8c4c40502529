//! The `weir` program from outside: its commands, and the process that serves. Process numbers are
//! kept in a file with the process's start time, so that nobody else is ever signalled.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use reqwest::Client;

use crate::place::Place;
use crate::wait::{Look, until};

const READY_MAX: Duration = Duration::from_secs(40);
const STOP_MAX: Duration = Duration::from_secs(20);

/// How to call the program.
#[derive(Clone, Debug)]
pub struct Weir {
    program: PathBuf,
    environment: Vec<(String, String)>,
}

/// What a command printed.
#[derive(Clone, Debug)]
pub struct Said {
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// Whether the exit code was 0.
    pub success: bool,
}

impl Weir {
    /// The program that was built beside this one.
    pub fn new(environment: Vec<(String, String)>) -> Result<Self> {
        let program = program()?;
        Ok(Self { program, environment })
    }

    /// Runs a command to its end. An exit code other than 0 is an error with what was printed.
    pub async fn run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<Said> {
        let said = self.ask(arguments).await?;
        if !said.success {
            bail!("`{}` failed:\n{}{}", line(arguments), said.stdout, said.stderr);
        }
        Ok(said)
    }

    /// Runs a command to its end, whatever its exit code.
    pub async fn ask<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<Said> {
        let mut command = tokio::process::Command::new(&self.program);
        command.args(arguments).envs(self.environment.iter().cloned()).stdin(Stdio::null());
        command.env("NO_COLOR", "1").kill_on_drop(true);
        let output = command
            .output()
            .await
            .with_context(|| format!("run {} {}", self.program.display(), line(arguments)))?;
        Ok(Said {
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            success: output.status.success(),
        })
    }

    /// Starts `weir serve`, in a process group of its own so that Ctrl-C reaches only the demo.
    pub fn serve(&self, place: &Place) -> Result<Serving> {
        let log = place.folder.join("weir.log");
        // An earlier process's last words may be why there is a new one.
        let output = File::options().create(true).append(true).open(&log);
        let output = output.with_context(|| format!("open {}", log.display()))?;
        let child = Command::new(&self.program)
            .arg("serve")
            .envs(self.environment.iter().cloned())
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(output.try_clone().context("share Weir's log")?)
            .stderr(output)
            .process_group(0)
            .spawn()
            .context("start weir serve")?;
        let record = place.folder.join(PID_FILE);
        let started = started_at(child.id()).unwrap_or_default();
        fs::write(&record, format!("{} {started}", child.id())).context("keep Weir's process number")?;
        Ok(Serving { child, log, admin: place.admin.clone(), record })
    }
}

/// Where the program is: in the folder of this one.
pub fn program() -> Result<PathBuf> {
    let own = std::env::current_exe().context("find this program's folder")?;
    let program = own.with_file_name("weir");
    ensure!(program.is_file(), "{} is missing: run `make build`", program.display());
    Ok(program)
}

fn line<S: AsRef<OsStr>>(arguments: &[S]) -> String {
    let words: Vec<_> = arguments.iter().map(|word| word.as_ref().to_string_lossy()).collect();
    format!("weir {}", words.join(" "))
}

const PID_FILE: &str = "weir.pid";

/// A running `weir serve`.
#[derive(Debug)]
pub struct Serving {
    child: Child,
    log: PathBuf,
    admin: String,
    record: PathBuf,
}

impl Serving {
    /// Waits until it says that it is ready.
    pub async fn ready(&mut self) -> Result<()> {
        let client = Client::builder().no_proxy().timeout(Duration::from_secs(2)).build()?;
        let url = format!("http://{}/readyz", self.admin);
        let (child, log) = (std::sync::Mutex::new(&mut self.child), &self.log);
        let look = || async {
            let ended = child.lock().ok().and_then(|mut child| child.try_wait().ok().flatten());
            if let Some(status) = ended {
                bail!("weir serve ended ({status}); the end of {}:\n{}", log.display(), tail(log));
            }
            match client.get(&url).send().await {
                Ok(answer) if answer.status().is_success() => Ok(Look::Yes(())),
                Ok(answer) => Ok(Look::NotYet(format!(
                    "{}: {}",
                    answer.status(),
                    answer.text().await.unwrap_or_default()
                ))),
                Err(error) => Ok(Look::NotYet(format!("{error}; the end of its log:\n{}", tail(log)))),
            }
        };
        until("weir to be ready", READY_MAX, look).await
    }

    /// Asks it to stop and waits until it has.
    pub fn stop(mut self) -> Result<()> {
        let stopped = stop_recorded(&self.record);
        // Collects the ended process; it cannot fail twice.
        let _ = self.child.wait();
        stopped.map(|_| ())
    }
}

/// Stops the `weir serve` whose number is kept in a folder; false when none runs.
pub fn stop_in(folder: &Path) -> Result<bool> {
    stop_recorded(&folder.join(PID_FILE))
}

/// Whether a `weir serve` whose number is kept in a folder runs.
pub fn runs_in(folder: &Path) -> bool {
    recorded(&folder.join(PID_FILE)).is_some()
}

fn recorded(record: &Path) -> Option<u32> {
    let text = fs::read_to_string(record).ok()?;
    let (pid, started) = text.trim().split_once(' ')?;
    let pid = pid.parse().ok()?;
    (started_at(pid)? == started).then_some(pid)
}

fn stop_recorded(record: &Path) -> Result<bool> {
    let Some(pid) = recorded(record) else { return Ok(false) };
    signal(pid, "TERM")?;
    let deadline = std::time::Instant::now() + STOP_MAX;
    while recorded(record).is_some() {
        if std::time::Instant::now() >= deadline {
            eprintln!("weir did not stop in {} s and is killed", STOP_MAX.as_secs());
            signal(pid, "KILL")?;
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    // It may have been removed by another `make down`.
    let _ = fs::remove_file(record);
    Ok(true)
}

fn signal(pid: u32, name: &str) -> Result<()> {
    let status =
        Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).stderr(Stdio::null()).status();
    let sent = status.context("run sh to stop weir")?.success();
    // It may have ended by itself in between.
    ensure!(sent || started_at(pid).is_none(), "weir (process {pid}) cannot be stopped: whose is it?");
    Ok(())
}

/// When a process that runs was started, in the kernel's ticks since it booted.
fn started_at(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?;
    let started = fields.nth(18)?;
    (!matches!(state, "Z" | "X")).then(|| started.to_owned())
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
