//! The inner parts by themselves, on one thread, with input that a seed gives: `weir-micro list`,
//! `weir-micro run PART`. No server is needed. It prints one line for each thing it measured: name,
//! unit and value, parted by tabs; `weir-bench` reads them, and counts instructions of the same
//! parts. What a part comes to is checked, else nothing was measured.

mod clock;
mod parts;

mod journal;
mod stage;

mod counting;
mod decoding;
mod money;
mod sealed;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::parts::Size;

/// Measures the inner parts of Weir by themselves.
#[derive(Debug, Parser)]
#[command(name = "weir-micro", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Name every part.
    List,
    /// Run one part.
    Run {
        /// Which.
        part: String,
        /// How many events (or lines) it is given.
        #[arg(long, default_value_t = 1_000_000)]
        units: u64,
        /// Event ids that are remembered before it begins, where it remembers any.
        #[arg(long, default_value_t = 0)]
        ids: u64,
    },
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::List => {
            for part in parts::ALL {
                println!("{:16} {}", part.name, part.about);
            }
        }
        Command::Run { part, units, ids } => {
            for (name, unit, value) in parts::find(&part)?.run(Size { units, ids })? {
                println!("{name}\t{unit}\t{value}");
            }
        }
    }
    Ok(())
}
