//! Measures Weir against its budgets on real servers, which it starts itself: `weir-bench list`,
//! `weir-bench run NAME…`. It sees Weir only from outside; the inner parts are measured by
//! `weir-micro`, which it asks. Each measurement goes into one JSON file; the table on the screen
//! and `docs/benchmarks.md` are made from that file and nothing else.

mod benches;
mod spent;

mod house;
mod open_house;
mod tenants;
mod weir;

mod percentiles;
mod probes;
mod settled;

mod adversary;
mod backlog;
mod billing;
mod day;
mod instructions;
mod latency;
mod micro;
mod quota;
mod restart;

mod machine;
mod results;
mod table;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

use crate::results::Results;

/// Measures Weir against its budgets.
#[derive(Debug, Parser)]
#[command(name = "weir-bench", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Name every bench.
    List,
    /// Run benches and add what they measured to the results.
    Run {
        /// Which, or with a star how they begin; all when none is named.
        names: Vec<String>,
        /// How often each is run; the median is shown. Each bench has a number of its own
        /// otherwise.
        #[arg(long)]
        runs: Option<u32>,
        /// Events of each backlog, as a part of what the real run takes.
        #[arg(long, default_value_t = 1.0)]
        scale: f64,
        /// Where measurements are kept.
        #[arg(long, default_value = "docs/benchmarks.json", value_name = "FILE")]
        results: PathBuf,
    },
    /// Count instructions of the inner parts under valgrind, and fail when they are more than
    /// before.
    Instructions {
        /// Where the numbers are kept.
        #[arg(long, default_value = "crates/micro/instructions.tsv", value_name = "FILE")]
        kept: PathBuf,
        /// Keep the new numbers instead of comparing.
        #[arg(long)]
        update: bool,
    },
    /// Print the table of what was measured.
    Table {
        /// Where measurements are kept.
        #[arg(long, default_value = "docs/benchmarks.json", value_name = "FILE")]
        results: PathBuf,
        /// As the document that stands in `docs/`.
        #[arg(long)]
        markdown: bool,
    },
}

#[tokio::main]
async fn main() -> Result<()> {
    match Cli::parse().command {
        Command::List => {
            for bench in benches::ALL {
                println!("{:24} {}", bench.name, bench.about);
            }
        }
        Command::Run { names, runs, scale, results } => {
            let mut kept = Results::read(&results)?;
            for bench in benches::chosen(&names)? {
                let runs = runs.unwrap_or(bench.runs);
                for run in 1..=runs {
                    eprintln!("{}: run {run} of {runs}", bench.name);
                    let measured = benches::run(bench, scale, &kept).await;
                    let measured = measured.with_context(|| format!("the bench {}", bench.name))?;
                    kept.keep(bench.name, run, measured);
                    kept.write(&results)?;
                }
            }
            println!("{}", table::text(&kept));
        }
        Command::Instructions { kept, update } => instructions::run(&kept, update)?,
        Command::Table { results, markdown } => {
            let kept = Results::read(&results)?;
            println!("{}", if markdown { table::markdown(&kept) } else { table::text(&kept) });
        }
    }
    Ok(())
}
