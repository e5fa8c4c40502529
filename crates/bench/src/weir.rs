//! The `weir` program beside this one, as a user runs it: commands, and the serving process.
//! Configured by environment variables alone.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use local_stack::Stack;
use weir_load::connection::{Connection, Request};

/// Where the program finds its servers and listens.
#[derive(Debug)]
pub(crate) struct Weir {
    program: PathBuf,
    variables: Vec<(String, String)>,
    api: String,
    admin: String,
    log: PathBuf,
}

impl Weir {
    /// Settings for a stack; its output goes to `folder`.
    pub(crate) fn new(stack: &Stack, folder: &Path) -> Result<Self> {
        let own = std::env::current_exe().context("find this program")?;
        let program = own.with_file_name("weir");
        ensure!(program.is_file(), "{} is missing: `make bench` builds it", program.display());
        // An empty file, so that no configuration of the person who measures is read.
        let config = folder.join("weir.toml");
        File::create(&config).context("make an empty configuration file")?;
        let listen = || Ok::<_, anyhow::Error>(format!("127.0.0.1:{}", free_port()?));
        let (api, admin) = (listen()?, listen()?);
        let variables = [
            ("WEIR_CONFIG", config.display().to_string()),
            ("WEIR_ENV", "bench".to_owned()),
            ("WEIR_KAFKA__BOOTSTRAP_SERVERS", stack.kafka_bootstrap()),
            ("WEIR_POSTGRES__URL", stack.postgres_url()),
            ("WEIR_CLICKHOUSE__URL", stack.clickhouse_url()),
            ("WEIR_API__LISTEN", api.clone()),
            ("WEIR_ADMIN__LISTEN", admin.clone()),
            ("WEIR_LEDGER__SINGLE_NODE", "true".to_owned()),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value)).to_vec();
        Ok(Self { program, variables, api, admin, log: folder.join("weir.log") })
    }

    /// `host:port` at which the API listens.
    pub(crate) fn api_address(&self) -> &str {
        &self.api
    }

    /// A counter without labels of the process that serves.
    pub(crate) fn counter(&self, name: &str) -> Result<f64> {
        let mut connection = Connection::open(&self.admin).context("reach weir's metrics")?;
        let (_, body) = connection.ask(&Request::new("GET", &self.admin, "/metrics", &[], ""))?;
        let text = String::from_utf8_lossy(body);
        let value = text.lines().filter_map(|line| line.split_once(' ')).find(|(known, _)| *known == name);
        let (_, value) = value.with_context(|| format!("weir has no metric {name}"))?;
        value.parse().with_context(|| format!("the metric {name}: {value}"))
    }

    /// Sets a variable of the program.
    pub(crate) fn set(&mut self, name: &str, value: impl ToString) {
        self.variables.push((name.to_owned(), value.to_string()));
    }

    /// Runs a command that must succeed, and returns what it wrote to stdout.
    pub(crate) fn succeed(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.program);
        command.envs(self.variables.iter().cloned()).stdin(Stdio::null()).args(arguments);
        let output = command.output().with_context(|| format!("run weir {}", arguments.join(" ")))?;
        ensure!(
            output.status.success(),
            "weir {} ended with {}: {}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Starts `weir serve` with some roles; does not wait.
    pub(crate) fn serve(&self, roles: &str) -> Result<Serving> {
        let log = File::options().create(true).append(true).open(&self.log).context("open weir's log")?;
        let mut command = Command::new(&self.program);
        command.envs(self.variables.iter().cloned()).stdin(Stdio::null());
        command.args(["serve", "--roles", roles]);
        command.stdout(log.try_clone().context("share weir's log")?).stderr(log);
        let child = command.spawn().context("start weir serve")?;
        Ok(Serving { child, log: self.log.clone() })
    }
}

/// A running `weir serve`; killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Serving {
    child: Child,
    log: PathBuf,
}

impl Serving {
    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// An error with the end of its log when it has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        let Some(status) = self.child.try_wait().context("look after weir")? else { return Ok(()) };
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().rev().take(20).collect();
        bail!("weir serve ended with {status}:\n{}", lines.into_iter().rev().collect::<Vec<_>>().join("\n"))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended already; either way nothing more can be done here.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
    Ok(listener.local_addr().context("find a free port")?.port())
}
