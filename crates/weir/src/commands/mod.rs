//! What each subcommand does: reach the servers it needs, call one part, print.
//! `Ok(false)` means that the answer is "no" (exit code 1); a proof may also stay open.

mod accept_topic;
mod adjust;
mod archive;
mod books;
mod catalog;
mod configuration;
mod dlq;
mod health;
mod ledger;
mod load;
mod plane;
mod projection;
mod proof;
mod serve;
mod widen;

use std::process::ExitCode;

use anyhow::Context;
use clap::CommandFactory;
use weir_backends::postgres::{self, Pool};
use weir_backends::tenants;
use weir_core::{TenantId, Timestamp};

use crate::cli::{Cli, Command};
use crate::config::{self, Config};
use crate::out;
use crate::telemetry;

/// How a command that did not fail ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Yes, or done.
    Yes,
    /// No.
    No,
    /// It could not be found out.
    Open,
}

impl From<bool> for Answer {
    fn from(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }
}

impl From<Answer> for ExitCode {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Yes => Self::SUCCESS,
            Answer::No => Self::FAILURE,
            Answer::Open => Self::from(2),
        }
    }
}

/// Carries out the command; what its answer is.
pub(crate) async fn run(cli: Cli) -> anyhow::Result<Answer> {
    if let Command::Completions { shell } = cli.command {
        let mut completions = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "weir", &mut completions);
        out::bytes(&completions)?;
        return Ok(Answer::Yes);
    }
    if let Command::Openapi = cli.command {
        out::line(weir_api::openapi().to_pretty_json().context("print the OpenAPI document")?)?;
        return Ok(Answer::Yes);
    }
    let config = config::load(cli.config.as_deref())?;
    telemetry::begin(&config.log);
    let yes = match cli.command {
        Command::Serve(serve) => serve::run(config, &serve.roles).await,
        Command::Migrate => configuration::migrate(&config).await,
        Command::Catalog(command) => catalog::run(&config, &command).await,
        Command::Tenant(command) => plane::tenant(&config, &command).await,
        Command::Key(command) => plane::key(&config, &command).await,
        Command::Ledger(command) => ledger::run(&config, &command).await,
        Command::Projection(command) => projection::run(&config, &command).await,
        Command::Dlq(command) => dlq::run(&config, &command).await,
        Command::Adjust(asked) => adjust::adjust(&config, &asked).await,
        Command::VoidEvent(asked) => adjust::void_event(&config, &asked).await,
        Command::Archive(command) => archive::run(&config, &command).await,
        Command::Bill(command) => books::bill(&config, &command).await,
        Command::Invoice(command) => books::invoice(&config, &command).await,
        Command::Verify(which) => return books::verify(&config, &which).await,
        Command::Export(what) => books::export(&config, &what).await,
        Command::Load(load) => load::run(&config, &load).await,
        Command::Config(command) => configuration::run(&config, &command).await,
        Command::Openapi | Command::Completions { .. } => Ok(true),
    };
    yes.map(Answer::from)
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

/// The tenant that was named, which must exist or have existed.
async fn known_tenant(pool: &Pool, named: &str) -> anyhow::Result<TenantId> {
    let tenant = TenantId::new(named).with_context(|| format!("{named:?} is no tenant's id"))?;
    tenants::get(pool, named).await?;
    Ok(tenant)
}

/// The same where one may be named.
async fn known_tenant_if(pool: &Pool, named: Option<&str>) -> anyhow::Result<Option<TenantId>> {
    match named {
        Some(named) => known_tenant(pool, named).await.map(Some),
        None => Ok(None),
    }
}
