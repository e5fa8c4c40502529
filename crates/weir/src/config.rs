//! The process's configuration: defaults, then a TOML file, then `WEIR_SECTION__KEY`,
//! then flags. `WEIR_SECTION__KEY_FILE` names a file that holds the value, for secrets.
//! Whatever is set and means nothing is refused: a key, a section, a `WEIR_` variable.

mod environment;
mod explained;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use serde::{Deserialize, Serialize};
use weir_backends::config::{ArchiveConfig, ClickHouseConfig, KafkaConfig, PostgresConfig};
use weir_pipeline::billing::BillingSettings;
use weir_pipeline::settings::CountingSettings;

/// The furthest that events may lie ahead: a day, on which the catalogue's checks of what was
/// counted already rely.
const FUTURE_MS_MAX: i64 = weir_backends::catalog::FUTURE_BOUND_MS_MAX;

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
    /// The archive of the journal.
    pub archive: ArchiveConfig,
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
    /// Connections to the ledger that requests share, apart from `postgres.connections_max`:
    /// whatever callers ask for, counting has its own.
    pub ledger_connections_max: u32,
    /// How long the ledger may take over one question of a request, in milliseconds; then it
    /// is ended and the answer is 503.
    pub ledger_timeout_ms: u64,
    /// Requests that an API key may send to this process in a minute; 0: any number.
    pub key_requests_per_minute_max: u32,
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
            archive: ArchiveConfig::default(),
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
            ledger_connections_max: 8,
            ledger_timeout_ms: 5_000,
            key_requests_per_minute_max: 0,
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
    let variables: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())))
        .collect();
    let in_folder = Path::new("weir.toml");
    let path = match file {
        Some(path) if !path.is_file() => bail!("the configuration file {} does not exist", path.display()),
        Some(path) => Some(path),
        None => Some(in_folder).filter(|path| path.is_file()),
    };
    let text = path.map(std::fs::read_to_string).transpose().context("read the configuration file")?;
    read(path.zip(text.as_deref()), &variables)
}

fn read(file: Option<(&Path, &str)>, variables: &[(String, String)]) -> anyhow::Result<Config> {
    let defaults = serde_json::to_value(Config::default()).context("write down the defaults")?;
    let settings = environment::settings(&defaults);
    let named = variables.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let unknown = environment::unknown(named, &settings);
    if !unknown.is_empty() {
        bail!("the configuration cannot be used:\n{}", unknown.join("\n"));
    }
    let mut figment = Figment::from(Serialized::defaults(Config::default()));
    if let Some((path, _)) = file {
        figment = figment.merge(Toml::file_exact(path));
    }
    figment = figment.merge(from_variables(settings.clone()));
    for (key, value) in secrets_from_files(variables, &settings)? {
        figment = figment.merge(Serialized::default(&key, value));
    }
    let config: Config = figment.extract().map_err(|error| {
        let words = explained::explained(error, file, &settings);
        anyhow::anyhow!("the configuration cannot be used:\n{words}")
    })?;
    if !(0..=FUTURE_MS_MAX).contains(&config.counting.future_ms) {
        let found = config.counting.future_ms;
        bail!(
            "the configuration cannot be used:\ncounting.future_ms is {found}; 0 to {FUTURE_MS_MAX} can be used"
        );
    }
    Ok(config)
}

fn from_variables(settings: BTreeSet<String>) -> Env {
    let holds = move |name: &str| {
        let name = format!("{}{name}", environment::PREFIX);
        environment::setting(&name, &settings).is_some_and(|(_, is_file)| !is_file)
    };
    Env::prefixed(environment::PREFIX).filter(move |key| holds(key.as_str())).split("__")
}

/// `WEIR_POSTGRES__URL_FILE=/run/secrets/url` becomes `postgres.url`.
fn secrets_from_files(
    variables: &[(String, String)],
    settings: &BTreeSet<String>,
) -> anyhow::Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for (name, path) in variables {
        let Some((setting, true)) = environment::setting(name, settings) else { continue };
        let path = PathBuf::from(path);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("read {} that {name} names", path.display()))?;
        found.push((setting, text.trim_end().to_owned()));
    }
    Ok(found)
}

/// Settings of an object store that are shown as they are; all others may be secrets.
const SHOWN_ARCHIVE_SETTINGS: [&str; 4] =
    ["aws_region", "aws_endpoint", "aws_allow_http", "aws_virtual_hosted_style_request"];

/// What stands for a secret.
const BLANK: &str = "…";
/// Settings of the Kafka driver that hold no secret; of the others only the names are shown.
const SHOWN_KAFKA_SETTINGS: [&str; 10] = [
    "security.protocol",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.username",
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.key.location",
    "ssl.endpoint.identification.algorithm",
    "client.id",
    "broker.address.family",
];

/// Leaves a URL's user, and blanks its password and what stands behind `?`.
fn blank_secrets_in(url: &mut String) {
    let (before, query) = match url.split_once('?') {
        Some((before, _)) => (before, format!("?{BLANK}")),
        None => (url.as_str(), String::new()),
    };
    let (scheme, rest) = before.split_once("://").map_or(("", before), |(scheme, rest)| (scheme, rest));
    let mark = if scheme.is_empty() { "" } else { "://" };
    // A password may hold an `@`; what stands behind the last one is the host.
    let rest = match rest.rsplit_once('@') {
        Some((user, host)) => match user.split_once(':') {
            Some((user, _)) => format!("{user}:{BLANK}@{host}"),
            None => format!("{user}@{host}"),
        },
        None => rest.to_owned(),
    };
    *url = format!("{scheme}{mark}{rest}{query}");
}

/// The configuration as TOML with secrets blanked.
pub(crate) fn redacted(config: &Config) -> anyhow::Result<String> {
    let mut shown = config.clone();
    blank_secrets_in(&mut shown.postgres.url);
    blank_secrets_in(&mut shown.clickhouse.url);
    if let Some(url) = &mut shown.kafka.schema_registry_url {
        blank_secrets_in(url);
    }
    if !shown.clickhouse.password.is_empty() {
        shown.clickhouse.password = BLANK.into();
    }
    for (name, value) in &mut shown.kafka.settings {
        if !SHOWN_KAFKA_SETTINGS.contains(&name.as_str()) {
            *value = BLANK.into();
        }
    }
    for (name, value) in &mut shown.archive.settings {
        if !SHOWN_ARCHIVE_SETTINGS.contains(&name.as_str()) {
            *value = BLANK.into();
        }
    }
    toml::to_string_pretty(&shown).context("show the configuration")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands over a file of this text.
    fn in_file<T>(text: &str, use_it: impl FnOnce(&Path) -> T) -> T {
        let folder = std::env::temp_dir().join(format!("weir-config-{}-{}", std::process::id(), text.len()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("weir.toml");
        std::fs::write(&path, text).unwrap();
        let found = use_it(&path);
        std::fs::remove_dir_all(&folder).unwrap();
        found
    }

    /// What is wrong with a file of this text.
    fn refused(text: &str) -> String {
        in_file(text, |path| {
            let error = read(Some((path, text)), &[]).unwrap_err().to_string();
            error.replace(&format!("{}/", path.parent().unwrap().display()), "")
        })
    }

    fn check(text: &str, words: &str) {
        assert_eq!(refused(text), format!("the configuration cannot be used:\n{words}"));
    }

    #[test]
    fn what_is_wrong_in_a_file_is_said_with_section_key_and_line() {
        check(
            "env = \"x\"\n[kafka]\n# bootstrap = \"a\"\nbootstrap = \"a\"\n",
            "weir.toml line 4: there is no key bootstrap in section [kafka]; \
             the nearest that is: key bootstrap_servers in section [kafka]",
        );
        check(
            "[postgres]\nconnections_max = \"many\"\n",
            "weir.toml line 2: key connections_max in section [postgres]: \
             invalid type: found string \"many\", expected u32",
        );
        check(
            "kafak.group = \"x\"\n",
            "weir.toml line 1: there is no key kafak; the nearest that is: key alerts_topic in section [kafka]",
        );
    }

    #[test]
    fn a_file_that_is_no_toml_is_said_with_its_line() {
        let words = refused("[kafka\n");
        assert!(words.contains("weir.toml: ") && words.contains("line 1"), "{words}");
    }

    #[test]
    fn what_is_shown_holds_no_secret() {
        let text = "[postgres]\nurl = \"postgres://weir:s3cret@with@at@db:5432/weir?password=s3cret\"\n\
                    [clickhouse]\nurl = \"http://reader:s3cret@clickhouse:8123\"\npassword = \"s3cret\"\n\
                    [kafka]\nschema_registry_url = \"https://key:s3cret@registry\"\n\
                    [kafka.settings]\n\"security.protocol\" = \"SASL_SSL\"\n\"ssl.key.pem\" = \"s3cret\"\n\
                    \"sasl.oauthbearer.config\" = \"s3cret\"\n\"sasl.password\" = \"s3cret\"\n\
                    [archive.settings]\naws_secret_access_key = \"s3cret\"\naws_region = \"eu-central-1\"\n";
        let config = in_file(text, |path| read(Some((path, text)), &[]));
        let shown = redacted(&config.unwrap()).unwrap();
        assert!(!shown.contains("s3cret") && !shown.contains("with@"), "{shown}");
        for part in [
            "weir:…@db:5432/weir?…",
            "reader:…@clickhouse:8123",
            "key:…@registry",
            "SASL_SSL",
            "ssl.key.pem",
            "aws_secret_access_key",
            "eu-central-1",
        ] {
            assert!(shown.contains(part), "{part} in {shown}");
        }
    }

    #[test]
    fn events_lie_a_day_ahead_at_most() {
        check(
            "[counting]\nfuture_ms = 86400001\n",
            "counting.future_ms is 86400001; 0 to 86400000 can be used",
        );
    }

    #[test]
    fn a_variable_that_means_nothing_is_refused() {
        let variables = [("WEIR_KAFKA__GRUOP".to_owned(), "x".to_owned())];
        let error = read(None, &variables).unwrap_err().to_string();
        assert_eq!(
            error,
            "the configuration cannot be used:\n\
             the variable WEIR_KAFKA__GRUOP is none of Weir's; the nearest that is: WEIR_KAFKA__GROUP"
        );
    }
}
