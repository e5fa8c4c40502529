//! The command line: `run` (make chaos), `list`, `case`, `soak`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use weir_chaos::cases::{self, Way};
use weir_chaos::plan::Plan;
use weir_chaos::report::Report;
use weir_chaos::round::{self, Outcome, Shape};
use weir_chaos::site::{Site, can_mount};
use weir_chaos::soak;
use weir_demo::print;

/// Breaks a whole Weir on purpose and compares what is left with an independent count.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Examples:\n  weir-chaos run --rounds 3            # what make chaos does\n  weir-chaos run --rounds 1 --seed 42  # one round again\n  weir-chaos list                      # the failure table, row by row\n  weir-chaos case frozen\n  weir-chaos soak --minutes 60"
)]
struct Arguments {
    #[command(subcommand)]
    command: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Rounds with every kind of fault.
    Run(Run),
    /// The failure table: each row with the command that runs it.
    List,
    /// One row of the failure table.
    Case(Case),
    /// Load without faults, and samples of memory, file handles and threads.
    Soak(Soak),
}

#[derive(Debug, clap::Args)]
struct Run {
    /// How many rounds.
    #[arg(long, default_value_t = 3)]
    rounds: u64,
    /// Decides load and faults; each round has the next one.
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    flow: Flow,
    /// Go on until so many processes were killed, however many rounds that takes.
    #[arg(long)]
    kills: Option<u64>,
}

#[derive(Clone, Copy, Debug, clap::Args)]
struct Flow {
    /// How long load flows in a round.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Milliseconds from one fault to the next.
    #[arg(long, default_value_t = 1_000)]
    every_ms: u64,
    /// One part in so many of the demo's usage (30,000 records) is sent.
    #[arg(long, default_value_t = 2)]
    thin: usize,
}

#[derive(Debug, clap::Args)]
struct Case {
    /// Its name in `weir-chaos list`.
    name: String,
    /// Decides load and victims.
    #[arg(long)]
    seed: Option<u64>,
    /// How often its faults are done; each once when left out.
    #[arg(long)]
    times: Option<usize>,
}

#[derive(Debug, clap::Args)]
struct Soak {
    /// How long.
    #[arg(long, default_value_t = 60)]
    minutes: u64,
    /// Decides the load.
    #[arg(long)]
    seed: Option<u64>,
    /// Where all samples go (default: soak.csv in the run's folder's parent).
    #[arg(long)]
    csv: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Action::Run(run) => rounds(run).await,
        Action::List => {
            list();
            Ok(true)
        }
        Action::Case(case) => one_case(case).await,
        Action::Soak(soak) => soaked(soak).await,
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn seed_of(asked: Option<u64>) -> u64 {
    asked.unwrap_or_else(|| rand::random_range(1..1_000_000))
}

async fn rounds(run: Run) -> Result<bool> {
    let begin = Instant::now();
    let first = seed_of(run.seed);
    let site = open(&format!("run-{first}"), Vec::new()).await?;
    let mut report = Report::default();
    let mut nth = 0;
    while nth < run.rounds || run.kills.is_some_and(|kills| report.kills() < kills) {
        let seed = first + nth;
        let Flow { seconds, every_ms, thin } = run.flow;
        let (load, every) = (Duration::from_secs(seconds), Duration::from_millis(every_ms));
        let shape = Shape { seed, load, every, thin, faults_max: usize::MAX };
        let count = usize::try_from(load.as_millis() / every.as_millis().max(1))?;
        let again = format!(
            "weir-chaos run --rounds 1 --seed {seed} --seconds {seconds} --every-ms {every_ms} --thin {thin}"
        );
        let done = round::run(&site, &format!("round_{seed}"), shape, Plan::of_all(seed, count)).await;
        if !told(done, seed, &again, &site, &mut report) {
            report.print(begin.elapsed());
            return Ok(false);
        }
        nth += 1;
    }
    report.print(begin.elapsed());
    close(site).await?;
    Ok(true)
}

/// Says what came of a round; false when something did not agree.
fn told(done: Result<Outcome>, seed: u64, again: &str, site: &Site, report: &mut Report) -> bool {
    let why = match done {
        Ok(outcome) => {
            report.add(&outcome);
            let Outcome { kills, records, alerts, documents, .. } = &outcome;
            print::say(&format!(
                "seed {seed}: {kills} kills, {records} records, {alerts} alerts, {documents} documents: {}",
                if outcome.differences.is_empty() { "everything agrees" } else { "DIFFERENT" }
            ));
            outcome.differences.join("\n")
        }
        Err(error) => format!("{error:#}"),
    };
    if why.is_empty() {
        return true;
    }
    print::title(&format!("The round with seed {seed} failed"));
    print::say(&why);
    print::say(&format!("\nIt can be repeated: {again}\nData and logs: {}", site.folder.display()));
    false
}

fn list() {
    let row = |case: cases::Case| {
        let command = match case.way {
            Way::Here(_) => format!("weir-chaos case {}", case.name),
            Way::Test(command) => command.to_owned(),
        };
        vec![case.name.to_owned(), case.what.to_owned(), command]
    };
    print::table(&["case", "what happens", "command"], cases::all().into_iter().map(row));
}

async fn one_case(asked: Case) -> Result<bool> {
    let Some(case) = cases::of(&asked.name) else { bail!("no case {}: see `weir-chaos list`", asked.name) };
    let faults = match case.way {
        Way::Here(faults) => faults,
        Way::Test(command) => {
            print::say(&format!("This row is a test: {command}"));
            return Ok(true);
        }
    };
    let disks = cases::own_disks(&faults);
    if !disks.is_empty() && !can_mount() {
        print::say("Skipped: a disk can be filled only where a small one can be mounted, which needs root.");
        return Ok(true);
    }
    let (begin, seed) = (Instant::now(), seed_of(asked.seed));
    let site = open(&format!("case-{}", case.name), disks).await?;
    let faults_max = asked.times.unwrap_or(faults.len());
    let load = Duration::from_secs(20 + 3 * u64::try_from(faults_max)?);
    let shape = Shape { seed, load, every: Duration::from_secs(3), thin: 3, faults_max };
    let mut report = Report::default();
    let done = round::run(&site, "case_round", shape, Plan::only(seed, faults)).await;
    let again = format!("weir-chaos case {} --seed {seed}", case.name);
    let held = told(done, seed, &again, &site, &mut report);
    report.print(begin.elapsed());
    if held {
        close(site).await?;
    }
    Ok(held)
}

async fn soaked(asked: Soak) -> Result<bool> {
    let site = open("soak", Vec::new()).await?;
    let csv = asked.csv.unwrap_or_else(|| site.folder.with_file_name("soak.csv"));
    let time = Duration::from_secs(asked.minutes * 60);
    let is_flat = soak::run(&site, seed_of(asked.seed), time, &csv).await?;
    close(site).await?;
    Ok(is_flat)
}

async fn open(name: &str, disks: Vec<local_stack::Kind>) -> Result<Arc<Site>> {
    print::doing("starting Kafka, Postgres and ClickHouse");
    let name = name.to_owned();
    Ok(Arc::new(tokio::task::spawn_blocking(move || Site::open(&name, &disks)).await??))
}

async fn close(site: Arc<Site>) -> Result<()> {
    let site = Arc::into_inner(site).context("something still uses the servers")?;
    tokio::task::spawn_blocking(move || site.remove()).await?
}
