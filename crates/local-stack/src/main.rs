//! The command line for people: fetch the local servers, start, stop and look at them.

use std::io::IsTerminal;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use local_stack::detached::{self, Status};
use local_stack::setup::{self, Progress};
use local_stack::{Error, Kind, Result, StackConfig, repository};

/// Kafka, PostgreSQL and ClickHouse on this machine, without Docker.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Examples:\n  local-stack setup     # fetch the servers once, 240 MB\n  local-stack up        # start them; data stays in .weir/stack\n  local-stack logs kafka\n  local-stack down\n\nServers of your own are used instead when WEIR_KAFKA__BOOTSTRAP_SERVERS, WEIR_POSTGRES__URL or\nWEIR_CLICKHOUSE__URL is set. WEIR_STACK__KAFKA_PORT, WEIR_STACK__POSTGRES_PORT and\nWEIR_STACK__CLICKHOUSE_PORT move the ports."
)]
struct Arguments {
    #[command(subcommand)]
    command: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Check the tools (install them on Debian and Ubuntu) and fetch the servers.
    Setup,
    /// Start the servers in the background.
    Up,
    /// Stop the servers that `up` started. Data stays.
    Down,
    /// Show each server's address, process and state.
    Status,
    /// Show the end of a server's log.
    Logs {
        /// Which server.
        server: Server,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Server {
    Kafka,
    Postgres,
    Clickhouse,
}

fn main() -> ExitCode {
    match act(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn act(action: Action) -> Result<ExitCode> {
    let config = StackConfig::defaults()?;
    match action {
        Action::Setup => set_up()?,
        Action::Up => {
            print_table(&detached::up(&config)?);
            eprintln!("data and logs: {}", config.state.display());
            eprintln!("stop them with: make down");
        }
        Action::Down => {
            let stopped = detached::down(&config)?;
            if stopped.is_empty() {
                eprintln!("nothing was running");
            }
            for kind in stopped {
                eprintln!("stopped {kind}");
            }
        }
        Action::Status => {
            let status = detached::status(&config);
            print_table(&status);
            if status.iter().any(|one| one.problem.is_some()) {
                return Ok(ExitCode::FAILURE);
            }
        }
        Action::Logs { server } => show_log(&config, server)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn set_up() -> Result<()> {
    let begin = Instant::now();
    let script = repository().join("deploy/local/install-tools.sh");
    let status = Command::new("sh")
        .arg(&script)
        .status()
        .map_err(|reason| Error::Io { action: format!("run {}", script.display()), reason })?;
    if !status.success() {
        return Err(Error::Unsupported("tools are missing, see above".to_owned()));
    }
    let mut bar: Option<ProgressBar> = None;
    setup::fetch(&mut |progress| match progress {
        Progress::Present(title) => eprintln!("{title}: present"),
        Progress::Begin(title, what) => bar = Some(begin_bar(&format!("{title}: fetching ({what})"))),
        Progress::Done(title) => {
            if let Some(bar) = bar.take() {
                bar.finish_and_clear();
            }
            eprintln!("{title}: fetched");
        }
    })?;
    eprintln!("ready in {:.1} s", begin.elapsed().as_secs_f64());
    Ok(())
}

/// A spinner on a terminal, a plain line elsewhere. The package tools do not say how far they are.
fn begin_bar(message: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        eprintln!("{message}");
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
        bar.set_style(style);
    }
    bar.set_message(message.to_owned());
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

fn print_table(rows: &[Status]) {
    println!("{:<11} {:<8} {:<8} ADDRESS", "SERVER", "STATE", "PROCESS");
    for row in rows {
        let state = if row.problem.is_none() { "ready" } else { "down" };
        let process = match (row.pid, row.foreign) {
            (Some(pid), _) => pid.to_string(),
            (None, true) => "yours".to_owned(),
            (None, false) => "-".to_owned(),
        };
        println!("{:<11} {state:<8} {process:<8} {}", row.kind, row.url);
    }
}

fn show_log(config: &StackConfig, server: Server) -> Result<()> {
    let kind = match server {
        Server::Kafka => Kind::Kafka,
        Server::Postgres => Kind::Postgres,
        Server::Clickhouse => Kind::ClickHouse,
    };
    let log = detached::status(config).into_iter().find(|one| one.kind == kind);
    let Some(log) = log.map(|one| one.log) else { return Ok(()) };
    eprintln!("{}", log.display());
    let bytes = std::fs::read(&log)
        .map_err(|reason| Error::Io { action: format!("read {}", log.display()), reason })?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    for line in &lines[lines.len().saturating_sub(100)..] {
        println!("{line}");
    }
    Ok(())
}
