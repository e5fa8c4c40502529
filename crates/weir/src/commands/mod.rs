//! What each subcommand does: reach the servers it needs, call one part, print.
//! `Ok(false)` means that the answer is "no" (exit code 1).

mod books;
mod catalog;
mod configuration;
mod health;
mod ledger;
mod plane;
mod serve;

use anyhow::Context;
use clap::CommandFactory;
use weir_backends::postgres::{self, Pool};
use weir_core::Timestamp;

use crate::cli::{Cli, Command};
use crate::config::{self, Config};
use crate::telemetry;

/// Carries out the command; whether its answer is "yes".
pub(crate) async fn run(cli: Cli) -> anyhow::Result<bool> {
    if let Command::Completions { shell } = cli.command {
        clap_complete::generate(shell, &mut Cli::command(), "weir", &mut std::io::stdout());
        return Ok(true);
    }
    if let Command::Openapi = cli.command {
        println!("{}", weir_api::openapi().to_pretty_json().context("print the OpenAPI document")?);
        return Ok(true);
    }
    let config = config::load(cli.config.as_deref())?;
    telemetry::begin(&config.log);
    match cli.command {
        Command::Serve(serve) => serve::run(config, &serve.roles).await,
        Command::Migrate => configuration::migrate(&config).await,
        Command::Catalog(command) => catalog::run(&config, &command).await,
        Command::Tenant(command) => plane::tenant(&config, &command).await,
        Command::Key(command) => plane::key(&config, &command).await,
        Command::Ledger(command) => ledger::run(&config, &command).await,
        Command::Bill(command) => books::bill(&config, &command).await,
        Command::Invoice(command) => books::show(&config, &command).await,
        Command::Verify(which) => books::verify(&config, &which).await,
        Command::Export(what) => books::export(&config, &what).await,
        Command::Config(command) => configuration::run(&config, &command).await,
        Command::Openapi | Command::Completions { .. } => Ok(true),
    }
}

/// The one place where the wall clock is read for commands.
fn now() -> Timestamp {
    Timestamp::from(chrono::Utc::now())
}

/// The ledger, for commands that expect it to be set up.
async fn ledger_pool(config: &Config) -> anyhow::Result<Pool> {
    let pool =
        postgres::connect(&config.postgres).await.context("is Postgres up, and postgres.url right?")?;
    let known = postgres::is_migrated(&pool).await?;
    anyhow::ensure!(known, "the ledger has no tables yet, or older ones; run `weir migrate` first");
    Ok(pool)
}
