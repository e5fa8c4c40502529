//! The process: the command line, the configuration, the clock, logs, and the wiring of
//! the parts. It decides nothing about usage or money.

mod cli;
mod commands;
mod config;
mod help;
mod out;
mod table;
mod telemetry;
mod waiting;

use std::process::ExitCode;

use clap::Parser;

use cli::Cli;

/// Counting allocates on some threads and frees on others, which this one is made for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("weir: no threads to run on: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(commands::run(cli)) {
        Ok(answer) => answer.into(),
        Err(error) if error.is::<out::Closed>() => ExitCode::from(out::CLOSED_EXIT_CODE),
        Err(error) => {
            eprintln!("weir: {error:#}");
            ExitCode::FAILURE
        }
    }
}
