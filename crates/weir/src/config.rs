//! The process's configuration: defaults, then a TOML file, then `WEIR_SECTION__KEY`,
//! then flags. `WEIR_SECTION__KEY_FILE` names a file that holds the value, for secrets.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use serde::{Deserialize, Serialize};
use weir_backends::config::{ClickHouseConfig, KafkaConfig, PostgresConfig};
use weir_pipeline::billing::BillingSettings;
use weir_pipeline::settings::CountingSettings;

/// Sections of the file and of the environment.
const SECTIONS: [&str; 10] =
    ["env", "kafka", "postgres", "clickhouse", "api", "admin", "counting", "billing", "ledger", "log"];

/// Everything that can be configured.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Which environment this is; part of every API key.
    pub env: String,
    /// Kafka.
    pub kafka: KafkaConfig,
    /// Postgres.
    pub postgres: PostgresConfig,
    /// ClickHouse.
    pub clickhouse: ClickHouseConfig,
    /// The HTTP API.
    pub api: ApiConfig,
    /// Health and metrics.
    pub admin: AdminConfig,
    /// The aggregator.
    pub counting: CountingSettings,
    /// Billing runs.
    pub billing: BillingSettings,
    /// What the operator promises of the ledger.
    pub ledger: LedgerConfig,
    /// Logs.
    pub log: LogConfig,
}

/// The HTTP API.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ApiConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The largest request body after decompression, in bytes.
    pub body_bytes_max: usize,
    /// Bytes of requests that may wait for Kafka at a time; past it the answer is 503.
    pub in_flight_bytes_max: usize,
    /// Past this age a quota answer follows the limit's `when_stale`, in milliseconds.
    pub max_staleness_ms: i64,
    /// Whether webhooks may go to private addresses.
    pub allow_private_webhooks: bool,
}

/// Health and metrics.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AdminConfig {
    /// Where it listens.
    pub listen: SocketAddr,
}

/// What the operator promises of the ledger.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LedgerConfig {
    /// The ledger is one server without a synchronous standby: a disk lost is numbers lost.
    pub single_node: bool,
}

/// Logs.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LogConfig {
    /// `human` or `json`.
    pub format: LogFormat,
    /// A filter such as `info` or `weir_pipeline=debug,info`. The Kafka driver's own lines are
    /// off: it repeats itself while a broker is away, which Weir says once; `librdkafka=info`
    /// turns them on when a connection cannot be made and one wants to know why.
    pub filter: String,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For a terminal.
    Human,
    /// One JSON object a line.
    Json,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            env: "dev".into(),
            kafka: KafkaConfig::default(),
            postgres: PostgresConfig::default(),
            clickhouse: ClickHouseConfig::default(),
            api: ApiConfig::default(),
            admin: AdminConfig::default(),
            counting: CountingSettings::default(),
            billing: BillingSettings::default(),
            ledger: LedgerConfig::default(),
            log: LogConfig::default(),
        }
    }
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8787)),
            body_bytes_max: 8 << 20,
            in_flight_bytes_max: 64 << 20,
            max_staleness_ms: 60_000,
            allow_private_webhooks: false,
        }
    }
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 8788)) }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Human, filter: "info,sqlx=warn,rdkafka=off,librdkafka=off".into() }
    }
}

/// Reads the configuration. `file` is what `--config` named; without it `weir.toml` in the
/// working folder is read when it is there.
pub(crate) fn load(file: Option<&Path>) -> anyhow::Result<Config> {
    let mut figment = Figment::from(Serialized::defaults(Config::default()));
    match file {
        Some(path) if !path.is_file() => bail!("the configuration file {} does not exist", path.display()),
        Some(path) => figment = figment.merge(Toml::file_exact(path)),
        None if Path::new("weir.toml").is_file() => figment = figment.merge(Toml::file_exact("weir.toml")),
        None => {}
    }
    figment = figment.merge(environment());
    for (key, value) in secrets_from_files()? {
        figment = figment.merge(Serialized::default(&key, value));
    }
    figment.extract().map_err(|error| anyhow::anyhow!("the configuration cannot be used: {error}"))
}

fn is_ours(key: &str) -> bool {
    let section = key.split("__").next().unwrap_or_default().to_ascii_lowercase();
    SECTIONS.contains(&section.as_str())
}

fn environment() -> Env {
    Env::prefixed("WEIR_")
        .filter(|key| is_ours(key.as_str()) && !key.as_str().to_ascii_lowercase().ends_with("_file"))
        .split("__")
}

/// `WEIR_POSTGRES__URL_FILE=/run/secrets/url` becomes `postgres.url`.
fn secrets_from_files() -> anyhow::Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for (name, path) in std::env::vars() {
        let Some(key) = name.strip_prefix("WEIR_").and_then(|rest| rest.strip_suffix("_FILE")) else {
            continue;
        };
        if !is_ours(key) || !key.contains("__") {
            continue;
        }
        let path = PathBuf::from(path);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("read {} that {name} names", path.display()))?;
        found.push((key.to_ascii_lowercase().replace("__", "."), text.trim_end().to_owned()));
    }
    Ok(found)
}

/// The configuration as TOML with secrets blanked.
pub(crate) fn redacted(config: &Config) -> anyhow::Result<String> {
    let mut shown = config.clone();
    if let Some((scheme, rest)) = shown.postgres.url.split_once("://")
        && let Some((user, host)) = rest.split_once('@')
    {
        let user = user.split(':').next().unwrap_or_default();
        shown.postgres.url = format!("{scheme}://{user}@{host}");
    }
    if !shown.clickhouse.password.is_empty() {
        shown.clickhouse.password = "…".into();
    }
    for (name, value) in &mut shown.kafka.settings {
        if name.contains("password") || name.contains("secret") {
            *value = "…".into();
        }
    }
    toml::to_string_pretty(&shown).context("show the configuration")
}
