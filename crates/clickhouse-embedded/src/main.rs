//! The command line of the development server; everything else is in the library.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use clickhouse_embedded::{Config, ReadonlyUser, serve};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// ClickHouse's HTTP interface in front of ClickHouse's engine, for development.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Example:\n  clickhouse-embedded --data .weir/clickhouse --library libchdb.so --readonly-user grafana\n  curl 'http://127.0.0.1:18123/?query=SELECT+version()'"
)]
struct Arguments {
    /// Folder of the databases; created when missing.
    #[arg(long)]
    data: PathBuf,
    /// Address of the HTTP interface.
    #[arg(long, default_value = "127.0.0.1:18123")]
    listen: SocketAddr,
    /// Path of libchdb.so.
    #[arg(long)]
    library: PathBuf,
    /// A user that may only read; may be given several times.
    #[arg(long = "readonly-user", value_name = "NAME[:PASSWORD]")]
    readonly_users: Vec<ReadonlyUser>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        // One line with every cause; a backtrace would push it out of the log's end.
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let Arguments { data, listen, library, readonly_users } = Arguments::parse();
    let mut terminate = signal(SignalKind::terminate()).context("cannot watch for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch for SIGINT")?;
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let (started, _) = oneshot::channel();
    serve(Config { data, listen, library, readonly_users }, started, stop).await
}
