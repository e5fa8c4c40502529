//! The command line: what can be asked of `weir`, with examples. Data goes to stdout,
//! words to stderr; exit codes are 0 for yes, 1 for no or failed, 2 for a wrong call, and for
//! a proof that could not be carried through.

pub(crate) mod adjust;
pub(crate) mod dlq;
pub(crate) mod load;

use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};

use crate::help;

use adjust::{Adjust, VoidEvent};
use dlq::Dlq;
use load::Load;

/// Counts usage events exactly once and turns them into invoices that can be proved.
#[derive(Debug, Parser)]
#[command(name = "weir", version, after_help = help::WEIR)]
pub(crate) struct Cli {
    /// The configuration file (default: weir.toml, when it is there).
    #[arg(long, global = true, env = "WEIR_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the API, the aggregator and the delivery of alerts.
    #[command(after_help = help::SERVE)]
    Serve(Serve),
    /// Bring Postgres, ClickHouse and Kafka's topics up to date.
    #[command(after_help = help::MIGRATE)]
    Migrate,
    /// Meters, plans and prices from a file.
    #[command(subcommand)]
    Catalog(Catalog),
    /// Tenants.
    #[command(subcommand)]
    Tenant(Tenant),
    /// API keys.
    #[command(subcommand)]
    Key(Key),
    /// What was counted.
    #[command(subcommand)]
    Ledger(Ledger),
    /// What ClickHouse holds.
    #[command(subcommand)]
    Projection(Projection),
    /// Records that were not counted.
    #[command(subcommand)]
    Dlq(Dlq),
    /// Add usage that no event brought, or take usage away.
    #[command(after_help = help::ADJUST)]
    Adjust(Adjust),
    /// Take an event that was counted out of usage.
    #[command(after_help = help::VOID_EVENT)]
    VoidEvent(VoidEvent),
    /// What is kept of the journal beyond Kafka's retention.
    #[command(subcommand)]
    Archive(Archive),
    /// Billing runs.
    #[command(subcommand)]
    Bill(Bill),
    /// Invoices.
    #[command(subcommand)]
    Invoice(Invoice),
    /// Derive invoices again from raw events and the ledger, and compare byte for byte.
    #[command(after_help = help::VERIFY)]
    Verify(Verify),
    /// Write invoices or lines for finance.
    #[command(after_help = help::EXPORT)]
    Export(Export),
    /// Send usage with known totals, for trying out and for measuring.
    Load(Load),
    /// The configuration in use.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print the OpenAPI document of the API.
    #[command(after_help = help::OPENAPI)]
    Openapi,
    /// Print completions for a shell.
    #[command(after_help = help::COMPLETIONS)]
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

/// `weir serve`.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Which parts to run in this process.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Role::Api, Role::Aggregator, Role::Delivery])]
    pub roles: Vec<Role>,
}

/// A part of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// The HTTP API.
    Api,
    /// Counting and projection.
    Aggregator,
    /// Webhooks, alerts, control records.
    Delivery,
}

/// `weir catalog`.
#[derive(Debug, Subcommand)]
pub(crate) enum Catalog {
    /// Show what applying the file would change; changes nothing.
    #[command(after_help = help::CATALOG_PLAN)]
    Plan {
        /// The catalogue file.
        file: PathBuf,
    },
    /// Publish what is new in the file.
    #[command(after_help = help::CATALOG_APPLY)]
    Apply {
        /// The catalogue file.
        file: PathBuf,
    },
}

/// `weir tenant`.
#[derive(Debug, Subcommand)]
pub(crate) enum Tenant {
    /// Create a tenant with a subscription.
    #[command(after_help = help::TENANT_CREATE)]
    Create(TenantCreate),
}

/// `weir tenant create`.
#[derive(Debug, Args)]
pub(crate) struct TenantCreate {
    /// The id under which its events are sent; made when it is left out.
    #[arg(long)]
    pub id: Option<String>,
    /// For people.
    #[arg(long)]
    pub name: String,
    /// Its domain.
    #[arg(long)]
    pub domain: String,
    /// The plan's key.
    #[arg(long)]
    pub plan: String,
    /// Its first administrator.
    #[arg(long)]
    pub admin_email: String,
    /// Billing time zone (IANA).
    #[arg(long, default_value = "UTC")]
    pub timezone: String,
    /// First day of its first billing period (default: today there).
    #[arg(long, value_name = "YYYY-MM-DD")]
    pub anchor: Option<String>,
    /// ISO 4217 code (default: the plan's).
    #[arg(long)]
    pub currency: Option<String>,
    /// Who bills it (default: the only legal entity).
    #[arg(long)]
    pub legal_entity: Option<String>,
}

/// `weir key`.
#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Make a key. It is printed once, alone, and cannot be shown again.
    #[command(after_help = help::KEY_CREATE)]
    Create(KeyCreate),
}

/// `weir key create`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("whose").required(true).args(["tenant", "platform"])))]
pub(crate) struct KeyCreate {
    /// For people.
    #[arg(long)]
    pub name: String,
    /// Whose key it is.
    #[arg(long)]
    pub tenant: Option<String>,
    /// The platform's key: may speak for every tenant.
    #[arg(long)]
    pub platform: bool,
    /// What it may do (`all`, or such as `events:write`); may be repeated.
    #[arg(long = "scope", required = true)]
    pub scopes: Vec<String>,
    /// CloudEvents sources that it may send, as prefixes; any when left out.
    #[arg(long = "source-prefix")]
    pub source_prefixes: Vec<String>,
}

/// `weir ledger`.
#[derive(Debug, Subcommand)]
pub(crate) enum Ledger {
    /// Where counting stands in each partition.
    #[command(after_help = help::LEDGER_STATUS)]
    Status(Output),
    /// Prove that nothing was lost or doubled; exit 1 if something was.
    #[command(after_help = help::LEDGER_CHECK)]
    Check(Output),
    /// Go on with a topic that is no longer the one that was counted.
    #[command(after_help = help::LEDGER_ACCEPT_TOPIC)]
    AcceptTopic(AcceptTopic),
    /// Give the usage topic more partitions, and count them.
    #[command(after_help = help::LEDGER_WIDEN)]
    Widen(Widen),
}

/// `weir ledger widen`.
#[derive(Debug, Args)]
pub(crate) struct Widen {
    /// How many partitions there shall be.
    #[arg(long, value_parser = clap::value_parser!(i32).range(1..=10_000))]
    pub to: i32,
    /// Do it; without this nothing is changed.
    #[arg(long)]
    pub yes: bool,
    /// How.
    #[command(flatten)]
    pub output: Output,
}

/// `weir ledger accept-topic`.
#[derive(Debug, Args)]
pub(crate) struct AcceptTopic {
    /// Do it; without this nothing is changed.
    #[arg(long)]
    pub yes: bool,
    /// How.
    #[command(flatten)]
    pub output: Output,
}

/// `weir projection`.
#[derive(Debug, Subcommand)]
pub(crate) enum Projection {
    /// Fill ClickHouse again from the journal and the ledger, while counting goes on.
    #[command(after_help = help::PROJECTION_REBUILD)]
    Rebuild(Rebuild),
}

/// `weir projection rebuild`.
#[derive(Debug, Args)]
pub(crate) struct Rebuild {
    /// Only this partition.
    #[arg(long)]
    pub partition: Option<i32>,
    /// From this offset, or from what arrived at this time (RFC 3339), on.
    #[arg(long, value_name = "OFFSET|TIME")]
    pub from: Option<String>,
}

/// `weir archive`.
#[derive(Debug, Subcommand)]
pub(crate) enum Archive {
    /// How far each partition is archived.
    #[command(after_help = help::ARCHIVE_STATUS)]
    Status(Output),
    /// Read every file and compare it with the ledger; exit 1 if something differs.
    #[command(after_help = help::ARCHIVE_CHECK)]
    Check(Output),
}

/// `weir bill`.
#[derive(Debug, Subcommand)]
pub(crate) enum Bill {
    /// Bill every period that the journal has closed, and correct what came late.
    #[command(after_help = help::BILL_RUN)]
    Run {
        /// Only this tenant.
        #[arg(long)]
        tenant: Option<String>,
    },
    /// Tell the topic of invoice numbers all of them again, after it was lost.
    #[command(after_help = help::BILL_RETELL)]
    Retell,
}

/// `weir invoice`.
#[derive(Debug, Subcommand)]
pub(crate) enum Invoice {
    /// Show one invoice in full.
    #[command(after_help = help::INVOICE_SHOW)]
    Show {
        /// Its number or id.
        number: String,
        /// How.
        #[command(flatten)]
        output: Output,
    },
    /// Record that a document was paid.
    #[command(after_help = help::INVOICE_PAID)]
    Paid {
        /// Its number or id.
        number: String,
        /// When the money came, as RFC 3339.
        #[arg(long, value_name = "TIME")]
        at: String,
        /// Of the bank or the payment service.
        #[arg(long)]
        reference: String,
    },
}

/// `weir verify`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("which").required(true).args(["invoice", "all"])))]
pub(crate) struct Verify {
    /// These invoices, and what corrects them.
    #[arg(long, value_name = "NUMBER", num_args = 1..)]
    pub invoice: Vec<String>,
    /// Every finalized document.
    #[arg(long)]
    pub all: bool,
    /// Do not ask ClickHouse: prove from the ledger's sums alone, knowingly.
    #[arg(long)]
    pub ledger_only: bool,
}

/// `weir export`.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// What.
    #[arg(value_enum)]
    pub what: Exported,
    /// How. In JSON, whole numbers are numbers, decimals are texts, so that none is rounded.
    #[arg(long, value_enum, default_value_t = ExportFormat::Csv)]
    pub format: ExportFormat,
    /// Only this tenant.
    #[arg(long)]
    pub tenant: Option<String>,
}

/// What is exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Exported {
    /// One row a document.
    Invoices,
    /// One row a line.
    Lines,
}

/// How it is exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    /// RFC 4180.
    Csv,
    /// An array of objects.
    Json,
}

/// `weir config`.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Read the configuration, reach every server, say what is wrong.
    #[command(after_help = help::CONFIG_CHECK)]
    Check,
    /// Print the configuration in use, secrets blanked.
    #[command(after_help = help::CONFIG_PRINT)]
    Print,
}

/// How a table is printed.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Output {
    /// How. In JSON, whole numbers are numbers, decimals are texts, so that none is rounded.
    #[arg(long, value_enum, default_value_t = OutputFormat::Table)]
    pub output: OutputFormat,
}

/// How a table is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// For people.
    Table,
    /// An array of objects.
    Json,
    /// RFC 4180.
    Csv,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn every_command_says_what_it_changes_an_example_and_its_exit_codes() {
        fn walk(command: &clap::Command, path: &str, without: &mut Vec<String>) {
            let path = format!("{path} {}", command.get_name()).trim().to_owned();
            for inner in command.get_subcommands() {
                walk(inner, &path, without);
            }
            if command.has_subcommands() {
                return;
            }
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let says = command.get_about().is_some() && help.starts_with("Changes ");
            if !(says && help.contains(&format!("\n  {path}")) && help.contains("\nExit codes: 0 ")) {
                without.push(path);
            }
        }
        let mut without = Vec::new();
        walk(&Cli::command(), "", &mut without);
        assert!(without.is_empty(), "{without:?}");
    }

    #[test]
    fn a_key_without_an_owner_is_told_both_choices() {
        let call = ["weir", "key", "create", "--name", "n", "--scope", "all"];
        let error = Cli::try_parse_from(call).unwrap_err().to_string();
        assert!(error.contains("<--tenant <TENANT>|--platform>"), "{error}");
        let both = Cli::try_parse_from(call.iter().copied().chain(["--tenant", "a", "--platform"]));
        assert!(both.is_err());
    }
}
