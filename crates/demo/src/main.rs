//! The command line of the demo: `run` (make demo), `up` (make up), `down` (make down).

use std::fs::{self, File, TryLockError};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use local_stack::Stack;
use tokio::signal::unix::{SignalKind, signal};
use weir_demo::place::{Place, Servers};
use weir_demo::print::{self, Stopwatch};
use weir_demo::weir::{self, Weir};
use weir_demo::{stay, story};

/// Sends real usage through Weir and shows what became of it.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Examples:\n  weir-demo run             # what make demo does\n  weir-demo run --seed 7    # other mishaps\n  weir-demo up              # the same, and then it stays\n  weir-demo down"
)]
struct Arguments {
    #[command(subcommand)]
    command: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Start everything, send usage, show the invoices, stop.
    Run(Telling),
    /// Start everything in the background, send usage, and keep it running.
    Up(Telling),
    /// Stop what `up` started; data stays.
    Down,
}

#[derive(Debug, Clone, Copy, clap::Args)]
struct Telling {
    /// Decides duplicates, mishaps and users.
    #[arg(long, default_value_t = 20_261_124)]
    seed: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Action::Run(telling) => run(telling.seed).await,
        Action::Up(telling) => up(telling.seed).await,
        Action::Down => stay::stop(&Place::new("up")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(seed: u64) -> Result<()> {
    let place = Place::new("run");
    let watch = Stopwatch::default();
    weir::program()?;
    let _only_one = lock(&place.folder)?;
    weir::stop_in(&place.folder)?;
    place.check_ports()?;
    make_empty(&place.folder)?;
    print::doing("starting Kafka, Postgres and ClickHouse");
    let config = place.stack.clone();
    let stack = tokio::task::spawn_blocking(move || Stack::start(&config)).await??;
    let servers = Servers {
        kafka: stack.kafka_bootstrap(),
        postgres: stack.postgres_url(),
        clickhouse: stack.clickhouse_url(),
    };
    let mut serving = None;
    let told = tokio::select! {
        told = story::tell(&place, &servers, &mut serving, seed, watch) => told.map(|_| ()),
        stopped = interrupted() => stopped,
    };
    print::doing("stopping everything");
    let stopped = tokio::task::spawn_blocking(move || {
        let weir = serving.map_or(Ok(()), weir::Serving::stop);
        stack.stop().map_err(anyhow::Error::from).and(weir)
    })
    .await?;
    if let Some(left) = place.left_behind() {
        print::say(&format!("\nYour servers still hold what this run wrote: {left}."));
    }
    told.and(stopped)
}

async fn up(seed: u64) -> Result<()> {
    let place = Place::new("up");
    let watch = Stopwatch::default();
    let _only_one = lock(&place.folder)?;
    if let Some(text) = stay::told(&place) {
        return go_on(&place, &text).await;
    }
    weir::program()?;
    stay::stop(&place)?;
    place.check_ports()?;
    make_empty(&place.folder)?;
    let mut serving = None;
    let told = tokio::select! {
        told = begin(&place, &mut serving, seed, watch) => told,
        stopped = interrupted() => stopped,
    };
    if told.is_err() {
        print::doing("stopping everything");
        stay::stop(&place)?;
    }
    told
}

async fn begin(
    place: &Place,
    serving: &mut Option<weir::Serving>,
    seed: u64,
    watch: Stopwatch,
) -> Result<()> {
    let servers = start_in_background(place).await?;
    let scene = story::tell(place, &servers, serving, seed, watch).await?;
    stay::settle(place, &scene)
}

/// Goes on where an earlier `up` left off.
async fn go_on(place: &Place, text: &str) -> Result<()> {
    let servers = start_in_background(place).await?;
    if !weir::runs_in(&place.folder) {
        place.check_ports()?;
        Weir::new(place.environment(&servers))?.serve(place)?.ready().await?;
    }
    print::title("It runs. Where to look");
    print::say(text);
    Ok(())
}

async fn start_in_background(place: &Place) -> Result<Servers> {
    print::doing("starting Kafka, Postgres and ClickHouse in the background");
    let place = place.clone();
    tokio::task::spawn_blocking(move || stay::start(&place)).await?
}

/// Keeps a second demo away from the folder, which it would empty.
fn lock(folder: &Path) -> Result<File> {
    let path = folder.with_extension("lock");
    fs::create_dir_all(path.parent().unwrap_or(folder)).context("create the demo's folder")?;
    let file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!("another demo is under way in {}", folder.display()),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("lock {}", path.display())),
    }
}

fn make_empty(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("empty {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))
}

/// Returns, with an error, when the demo is told to stop.
async fn interrupted() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("watch for SIGTERM")?;
    tokio::select! {
        pressed = tokio::signal::ctrl_c() => pressed.context("watch for Ctrl-C")?,
        _ = terminate.recv() => {}
    }
    bail!("interrupted")
}
