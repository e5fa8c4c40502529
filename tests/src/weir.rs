//! The `weir` program as a user runs it: commands, and the serving process, which can be killed
//! and started again. Configured by environment variables alone.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::wait;

/// How long `weir serve` may take to drain after SIGTERM, in seconds.
const DRAIN: Duration = Duration::from_secs(30);

/// Where the program is configured to find its servers and to listen.
#[derive(Debug, Clone)]
pub struct Settings {
    variables: Vec<(String, String)>,
    api: u16,
    admin: u16,
    log: PathBuf,
}

impl Settings {
    /// Settings for servers at these addresses, on free ports; its output goes to `folder`.
    pub fn new(kafka: &str, postgres: &str, clickhouse: &str, folder: &Path) -> Result<Self> {
        let (api, admin) = (free_port()?, free_port()?);
        // An empty file, so that no configuration of the person who runs the tests is read.
        let config = folder.join("weir.toml");
        File::create(&config).context("make an empty configuration file")?;
        let archive = folder.join("archive");
        std::fs::create_dir_all(&archive).context("make a folder for the archive")?;
        let variables = [
            ("WEIR_ARCHIVE__URL", archive.display().to_string()),
            ("WEIR_ARCHIVE__AGE_MAX_MS", "0".to_owned()),
            ("WEIR_CONFIG", config.display().to_string()),
            ("WEIR_ENV", "test".to_owned()),
            ("RUST_BACKTRACE", "0".to_owned()),
            ("WEIR_KAFKA__BOOTSTRAP_SERVERS", kafka.to_owned()),
            ("WEIR_POSTGRES__URL", postgres.to_owned()),
            ("WEIR_CLICKHOUSE__URL", clickhouse.to_owned()),
            ("WEIR_API__LISTEN", format!("127.0.0.1:{api}")),
            ("WEIR_ADMIN__LISTEN", format!("127.0.0.1:{admin}")),
            ("WEIR_API__ALLOW_PRIVATE_WEBHOOKS", "true".to_owned()),
            ("WEIR_LEDGER__SINGLE_NODE", "true".to_owned()),
            ("WEIR_COUNTING__TICK_AFTER_MS", "1000".to_owned()),
            ("WEIR_BILLING__GRACE_MS", "0".to_owned()),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value)).to_vec();
        Ok(Self { variables, api, admin, log: folder.join("weir.log") })
    }

    /// The same with one variable set, or set otherwise.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The API, without a slash at the end.
    pub fn api(&self) -> String {
        format!("http://127.0.0.1:{}", self.api)
    }

    /// Health and metrics.
    pub fn admin(&self) -> String {
        format!("http://127.0.0.1:{}", self.admin)
    }

    fn command(&self) -> Result<Command> {
        let mut command = Command::new(binary()?);
        command.envs(self.variables.iter().cloned()).stdin(Stdio::null());
        Ok(command)
    }

    /// Runs a command to its end.
    pub fn run(&self, arguments: &[&str]) -> Result<Output> {
        let output = self.command()?.args(arguments).output();
        output.with_context(|| format!("run weir {}", arguments.join(" ")))
    }

    /// Runs a command that must succeed, and returns what it wrote to stdout.
    pub fn succeed(&self, arguments: &[&str]) -> Result<String> {
        let output = self.run(arguments)?;
        let (stdout, stderr) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(
            output.status.success(),
            "weir {} ended with {}\nstdout:\n{stdout}\nstderr:\n{stderr}",
            arguments.join(" "),
            output.status
        );
        Ok(stdout.into_owned())
    }

    /// Starts `weir serve` and waits until it is ready.
    pub async fn serve(&self) -> Result<Serving> {
        self.serve_until("/readyz").await
    }

    /// Starts `weir serve` and waits until it lives; its servers may be away.
    pub async fn serve_unready(&self) -> Result<Serving> {
        self.serve_until("/healthz").await
    }

    async fn serve_until(&self, path: &str) -> Result<Serving> {
        let log = File::options().create(true).append(true).open(&self.log).context("open weir's log")?;
        let child = self
            .command()?
            .arg("serve")
            .stdout(log.try_clone().context("share weir's log")?)
            .stderr(log)
            .spawn()
            .context("start weir serve")?;
        let mut serving = Serving { child: Some(child), log: self.log.clone() };
        let url = format!("{}{path}", self.admin());
        let ready = wait::until("weir to be ready", wait::PATIENCE, || async {
            let answer = reqwest::get(&url).await.context("ask weir")?;
            let status = answer.status();
            let text = answer.text().await.unwrap_or_default();
            ensure!(status.is_success(), "{path} answered {status}: {text}");
            Ok(Some(()))
        });
        if let Err(error) = ready.await {
            bail!("{error:#}\n{}", serving.tail());
        }
        ensure!(serving.runs()?, "weir serve ended\n{}", serving.tail());
        Ok(serving)
    }
}

/// A running `weir serve`; killed when it is dropped.
#[derive(Debug)]
pub struct Serving {
    child: Option<Child>,
    log: PathBuf,
}

impl Serving {
    /// Processor time that it has used so far, all threads together.
    pub fn cpu(&self) -> Result<Duration> {
        let id = self.child.as_ref().context("weir does not run")?.id();
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).context("read weir's times")?;
        // Behind the name, which may hold anything but ends with a parenthesis; hundredths of a second.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let hundredths = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
        let (user, system) = hundredths(11).zip(hundredths(12)).context("no times in /proc")?;
        Ok(Duration::from_millis(10 * (user + system)))
    }

    /// Ends it with SIGKILL, as a power cut would.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill().context("kill weir")?;
            child.wait().context("wait for weir's end")?;
        }
        Ok(())
    }

    /// Ends it with SIGTERM and waits; it must end with 0.
    pub async fn stop(&mut self) -> Result<()> {
        let Some(child) = self.child.as_mut() else { return Ok(()) };
        let pid = child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().context("send SIGTERM")?;
        ensure!(sent.success(), "kill -TERM {pid} ended with {sent}");
        let mut status = None;
        let ended = wait::until("weir to end after SIGTERM", DRAIN, || {
            status = child.try_wait().ok().flatten();
            let ended = status.map(|_| ());
            async move { Ok(ended) }
        });
        ended.await?;
        self.child = None;
        let status = status.context("weir's exit status")?;
        ensure!(status.success(), "weir ended with {status} after SIGTERM\n{}", self.tail());
        Ok(())
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> Result<bool> {
        match self.child.as_mut() {
            Some(child) => Ok(child.try_wait().context("look after weir")?.is_none()),
            None => Ok(false),
        }
    }

    /// The end of its log.
    pub fn tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        let from = lines.len().saturating_sub(40);
        format!("the end of weir's log:\n{}", lines[from..].join("\n"))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended already; either way nothing more can be done here.
        let _ = self.kill();
    }
}

/// The program beside this test's own: `target/<profile>/weir`.
fn binary() -> Result<PathBuf> {
    let own = std::env::current_exe().context("find this test's program")?;
    let folder = own.parent().and_then(Path::parent).context("find the folder of the programs")?;
    let binary = folder.join("weir");
    ensure!(
        binary.is_file(),
        "{} does not exist: run `make build`, or `cargo build --bin weir`",
        binary.display()
    );
    // Shown where the test fails: cargo builds no program for the tests of another package.
    if let Some(changed) = changed_since(&binary) {
        let (binary, changed) = (binary.display(), changed.display());
        eprintln!("{binary} is older than {changed}: run `make build`, or `cargo build --bin weir`");
    }
    Ok(binary)
}

/// A file that the program was built from and that has changed since. Cargo lists them beside it.
fn changed_since(binary: &Path) -> Option<PathBuf> {
    let text = std::fs::read_to_string(binary.with_extension("d")).ok()?;
    let changed_at = |path: &Path| path.metadata().and_then(|found| found.modified()).ok();
    let built_at = changed_at(binary)?;
    // A space within a name has a backslash before it.
    let sources = text.split_once(": ")?.1.trim().replace("\\ ", "\0");
    let mut sources = sources.split(' ').map(|name| PathBuf::from(name.replace('\0', " ")));
    sources.find(|source| changed_at(source).is_some_and(|at| at > built_at))
}

/// A port that nothing listens on now.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
    Ok(listener.local_addr().context("find a free port")?.port())
}
