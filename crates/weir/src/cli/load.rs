//! The arguments of `weir load`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::help;

const EXAMPLES: &str = "Examples:
  weir load catalog > load.toml && weir catalog apply load.toml
  weir load tenants --tenants 1000 --key \"$KEY\"
  weir load --events 1000000 --tenants 1000 --expect expected.tsv
  weir load check expected.tsv             compare with what Weir has counted; exit 1 if it differs";

/// `weir load`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
pub(crate) struct Load {
    /// What else than sending.
    #[command(subcommand)]
    pub other: Option<LoadCommand>,
    /// What to send, and where to.
    #[command(flatten)]
    pub send: LoadSend,
}

/// What there is to do before load is sent, and after it.
#[derive(Debug, Subcommand)]
pub(crate) enum LoadCommand {
    /// Print a catalogue with the load's meters, for `weir catalog apply`.
    #[command(after_help = help::LOAD_CATALOG)]
    Catalog {
        /// Meters.
        #[arg(long, default_value_t = 3)]
        meters: u32,
        /// Different values of their dimension; 0: no dimension.
        #[arg(long, default_value_t = 4)]
        dimensions: u32,
    },
    /// Make the load's tenants through the API; those that are there stay.
    #[command(after_help = help::LOAD_TENANTS)]
    Tenants {
        /// How many.
        #[arg(long, default_value_t = 1_000)]
        tenants: u32,
        /// Where the API is.
        #[command(flatten)]
        api: LoadApi,
    },
    /// Compare expected totals with what ClickHouse's view `usage_hourly` shows.
    #[command(after_help = help::LOAD_CHECK)]
    Check {
        /// The file that `--expect` wrote.
        file: PathBuf,
    },
}

/// Where the API is.
#[derive(Debug, Args)]
pub(crate) struct LoadApi {
    /// The API (default: where `api.listen` says).
    #[arg(long)]
    pub url: Option<String>,
    /// A platform's key.
    #[arg(long, env = "WEIR_LOAD_KEY", hide_env_values = true)]
    pub key: Option<String>,
}

/// What to send, and where to.
#[derive(Debug, Args)]
pub(crate) struct LoadSend {
    /// Records, duplicates and late ones among them.
    #[arg(long, default_value_t = 100_000)]
    pub events: u64,
    /// Tenants that they are of.
    #[arg(long, default_value_t = 1_000)]
    pub tenants: u32,
    /// The k-th tenant's share is in proportion to 1/k^skew.
    #[arg(long, default_value_t = 1.0)]
    pub skew: f64,
    /// Meters.
    #[arg(long, default_value_t = 3)]
    pub meters: u32,
    /// Different values of their dimension; 0: no dimension.
    #[arg(long, default_value_t = 4)]
    pub dimensions: u32,
    /// Per cent of records that repeat an earlier one.
    #[arg(long, default_value_t = 1.0, value_name = "PERCENT")]
    pub duplicates: f64,
    /// Per cent of records that are 40 days late, which counting refuses.
    #[arg(long, default_value_t = 0.0, value_name = "PERCENT")]
    pub late: f64,
    /// Records a second; as fast as possible when it is left out.
    #[arg(long)]
    pub rate: Option<u32>,
    /// Chooses all that looks like chance. The same seed sends the same ids again.
    #[arg(long, default_value_t = 1)]
    pub seed: u32,
    /// The first event's time (default: `--span` before now).
    #[arg(long, value_name = "RFC3339")]
    pub from: Option<String>,
    /// How much later the last event's time is, in seconds.
    #[arg(long, default_value_t = 3_600, value_name = "SECONDS")]
    pub span: u32,
    /// Which way in.
    #[arg(long, value_enum, default_value_t = LoadTo::Kafka)]
    pub to: LoadTo,
    /// Threads with a Kafka client each, or requests under way at once.
    #[arg(long, default_value_t = 1)]
    pub producers: u32,
    /// Write the totals that Weir must come to, by tenant and meter.
    #[arg(long, value_name = "FILE")]
    pub expect: Option<PathBuf>,
    /// Where the API is.
    #[command(flatten)]
    pub api: LoadApi,
}

/// Which way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LoadTo {
    /// CloudEvents to the API.
    Http,
    /// Avro straight to the usage topic.
    Kafka,
}
