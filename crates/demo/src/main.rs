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
        Action::Down => down(),
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
    let place = Place::new("run")?;
    let watch = Stopwatch::default();
    weir::program()?;
    let _only_one = lock(&place.folder)?;
    weir::stop_in(&place.folder)?;
    place.check_ports().map_err(|error| match weir::runs_in(&place.folder.with_file_name("up")) {
        true => error.context("`make up` is running; `make down` stops it"),
        false => error,
    })?;
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
    let place = Place::new("up")?;
    let watch = Stopwatch::default();
    let _only_one = lock(&place.folder)?;
    if let Some(text) = stay::told(&place) {
        return go_on(&place, &text)
            .await
            .inspect_err(|_| eprintln!("what runs already keeps running: `make down` stops it"));
    }
    weir::program()?;
    stop_what_a_killed_run_left()?;
    stay::stop(&place)?;
    place.check_ports()?;
    make_empty(&place.folder)?;
    let told = begin(&place, seed, watch).await;
    if told.is_err() {
        print::doing("stopping everything");
        stay::stop(&place)?;
    }
    told
}

async fn begin(place: &Place, seed: u64, watch: Stopwatch) -> Result<()> {
    let servers = start_in_background(place).await?;
    let mut serving = None;
    let told = async {
        let scene = story::tell(place, &servers, &mut serving, seed, watch).await?;
        stay::settle(place, &scene).await
    };
    tokio::select! {
        told = told => told,
        stopped = interrupted() => stopped,
    }
}

fn down() -> Result<()> {
    let left = stop_what_a_killed_run_left()?;
    if !stay::stop(&Place::new("up")?)? && !left {
        eprintln!("nothing was running");
    }
    Ok(())
}

/// A `run` that was killed took its servers along, and left `weir serve` behind.
fn stop_what_a_killed_run_left() -> Result<bool> {
    let place = Place::new("run")?;
    if !weir::runs_in(&place.folder) {
        return Ok(false);
    }
    let _only_one = lock(&place.folder)?;
    eprintln!("stopped weir, which a demo that was killed had left");
    weir::stop_in(&place.folder)
}

/// Goes on where an earlier `up` left off.
async fn go_on(place: &Place, text: &str) -> Result<()> {
    let counting = weir::runs_in(&place.folder);
    if !counting {
        stop_what_a_killed_run_left()?;
        place.check_ports()?;
    }
    let servers = start_in_background(place).await?;
    if !counting {
        let mut serving = Weir::new(place.environment(&servers))?.serve(place)?;
        tokio::select! {
            ready = serving.ready() => ready?,
            stopped = interrupted() => {
                stay::stop(place)?;
                return stopped;
            }
        }
    }
    print::title("It runs. Where to look");
    print::say(text);
    Ok(())
}

async fn start_in_background(place: &Place) -> Result<Servers> {
    print::doing("starting Kafka, Postgres and ClickHouse in the background");
    let own = place.clone();
    let mut starting = tokio::task::spawn_blocking(move || stay::start(&own));
    tokio::select! {
        started = &mut starting => started?,
        stopped = interrupted() => {
            // It may be about to start another server: it gives up when the first one is gone,
            // and then all that it started can be stopped.
            stay::stop(place)?;
            let _ = starting.await;
            stay::stop(place)?;
            stopped.and_then(|()| bail!("interrupted"))
        }
    }
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
