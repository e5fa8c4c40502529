//! Where this run of the demo lives: folders, addresses, and the configuration that the `weir`
//! program gets through its environment. Values only.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use local_stack::{Kind, StackConfig, repository};

/// Where things are.
#[derive(Clone, Debug)]
pub struct Place {
    /// Folder of this run: the servers' data, Weir's log and process number.
    pub folder: PathBuf,
    /// The servers, as local-stack starts them.
    pub stack: StackConfig,
    /// `host:port` of the API.
    pub api: String,
    /// `host:port` of health and metrics.
    pub admin: String,
    /// Sets this run apart on servers of the user's own; empty on fresh ones.
    run: String,
}

/// Where the three servers answer.
#[derive(Clone, Debug)]
pub struct Servers {
    /// `host:port`.
    pub kafka: String,
    /// `postgres://…`.
    pub postgres: String,
    /// `http://…`.
    pub clickhouse: String,
}

const API_VARIABLE: &str = "WEIR_API__LISTEN";
const ADMIN_VARIABLE: &str = "WEIR_ADMIN__LISTEN";

impl Place {
    /// The folder `.weir/demo/<name>`, on the default ports or those that the environment names.
    /// Fails, naming the variable, when one that moves a port holds none.
    pub fn new(name: &str) -> Result<Self> {
        let folder = repository().join(".weir").join("demo").join(name);
        let stack = StackConfig { state: folder.join("servers"), ..StackConfig::defaults()? };
        let listen = |variable, default: &str| std::env::var(variable).unwrap_or_else(|_| default.to_owned());
        Ok(Self {
            folder,
            stack,
            api: listen(API_VARIABLE, "127.0.0.1:8787"),
            admin: listen(ADMIN_VARIABLE, "127.0.0.1:8788"),
            run: format!("{:x}", chrono::Utc::now().timestamp_millis()),
        })
    }

    /// Fails, naming the port, when something else listens where Weir should, or is to.
    pub fn check_ports(&self) -> Result<()> {
        let mut taken = self.stack_addresses();
        for (address, variable) in [(&self.api, API_VARIABLE), (&self.admin, ADMIN_VARIABLE)] {
            let parsed: SocketAddr =
                address.parse().with_context(|| format!("{variable}={address} is no address and port"))?;
            if let Some((other, _)) = taken.iter().find(|(_, other)| clash(*other, parsed)) {
                bail!("{other} and {variable} both want port {}: give each a port of its own", parsed.port());
            }
            taken.push((variable, parsed));
            if TcpListener::bind(parsed).is_err() {
                bail!("{address} is in use: stop what listens there, or set {variable} to another address");
            }
        }
        Ok(())
    }

    /// Where the servers that are started here will listen, with the variables that move them.
    fn stack_addresses(&self) -> Vec<(&'static str, SocketAddr)> {
        let own = self.stack.ports.by_variable().into_iter().filter(|(kind, ..)| !is_foreign(*kind));
        own.map(|(_, variable, port)| (variable, SocketAddr::from((Ipv4Addr::LOCALHOST, port)))).collect()
    }

    /// The usage topic of this run.
    pub fn usage_topic(&self) -> String {
        self.topic("usage.v1")
    }

    /// The ledger's URL. On a server of the user's own it names a schema for this run.
    pub fn ledger_url(&self, servers: &Servers) -> String {
        match self.schema() {
            None => servers.postgres.clone(),
            Some(schema) => {
                let mark = if servers.postgres.contains('?') { '&' } else { '?' };
                format!("{}{mark}options=-c%20search_path%3D{schema}", servers.postgres)
            }
        }
    }

    /// The schema for this run in a Postgres of the user's own.
    pub fn schema(&self) -> Option<String> {
        is_foreign(Kind::Postgres).then(|| format!("weir_demo_{}", self.run))
    }

    /// ClickHouse's database.
    pub fn database(&self) -> String {
        match is_foreign(Kind::ClickHouse) {
            true => format!("weir_demo_{}", self.run),
            false => "weir".to_owned(),
        }
    }

    /// Who reads ClickHouse, and with which password.
    pub fn projection_reader(&self) -> (String, String) {
        let variable = |name| std::env::var(name).unwrap_or_default();
        match is_foreign(Kind::ClickHouse) {
            true => (variable("WEIR_CLICKHOUSE__USER"), variable("WEIR_CLICKHOUSE__PASSWORD")),
            false => ("grafana".to_owned(), String::new()),
        }
    }

    /// Weir's configuration.
    pub fn environment(&self, servers: &Servers) -> Vec<(String, String)> {
        let mut variables = vec![
            ("WEIR_ENV", "demo".to_owned()),
            (API_VARIABLE, self.api.clone()),
            (ADMIN_VARIABLE, self.admin.clone()),
            ("WEIR_API__ALLOW_PRIVATE_WEBHOOKS", "true".to_owned()),
            ("WEIR_LEDGER__SINGLE_NODE", "true".to_owned()),
            ("WEIR_KAFKA__BOOTSTRAP_SERVERS", servers.kafka.clone()),
            ("WEIR_KAFKA__USAGE_TOPIC", self.usage_topic()),
            ("WEIR_KAFKA__DEAD_LETTER_TOPIC", self.topic("usage.dlq.v1")),
            ("WEIR_KAFKA__QUOTA_TOPIC", self.topic("quota.v1")),
            ("WEIR_KAFKA__ALERTS_TOPIC", self.topic("alerts.v1")),
            ("WEIR_KAFKA__INVOICES_TOPIC", self.topic("invoices.v1")),
            ("WEIR_POSTGRES__URL", self.ledger_url(servers)),
            ("WEIR_CLICKHOUSE__URL", servers.clickhouse.clone()),
            ("WEIR_COUNTING__ID_FOLDER", self.folder.join("ids").display().to_string()),
        ];
        if is_foreign(Kind::Kafka) {
            variables.push(("WEIR_KAFKA__GROUP", format!("weir-demo-{}", self.run)));
        }
        if is_foreign(Kind::ClickHouse) {
            variables.push(("WEIR_CLICKHOUSE__DATABASE", self.database()));
        }
        variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// What a run leaves on servers of the user's own, in words; `None` when there are none.
    pub fn left_behind(&self) -> Option<String> {
        let topics = is_foreign(Kind::Kafka).then(|| format!("topics weir.demo-{}.*", self.run));
        let schema = self.schema().map(|schema| format!("schema {schema}"));
        let database =
            is_foreign(Kind::ClickHouse).then(|| format!("ClickHouse database {}", self.database()));
        let left: Vec<String> = [topics, schema, database].into_iter().flatten().collect();
        (!left.is_empty()).then(|| left.join(", "))
    }

    fn topic(&self, name: &str) -> String {
        match is_foreign(Kind::Kafka) {
            true => format!("weir.demo-{}.{name}", self.run),
            false => format!("weir.{name}"),
        }
    }
}

/// Whether the user's own server is used instead of one that is started here.
fn is_foreign(kind: Kind) -> bool {
    let variable = match kind {
        Kind::Kafka => "WEIR_KAFKA__BOOTSTRAP_SERVERS",
        Kind::Postgres => "WEIR_POSTGRES__URL",
        Kind::ClickHouse => "WEIR_CLICKHOUSE__URL",
    };
    std::env::var_os(variable).is_some_and(|url| !url.is_empty())
}

/// Whether only one of them could listen.
fn clash(one: SocketAddr, other: SocketAddr) -> bool {
    let anywhere = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && (anywhere || one.ip() == other.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_that_want_one_port_are_named() {
        let place = |api: &str, admin: &str| Place {
            api: api.to_owned(),
            admin: admin.to_owned(),
            ..Place::new("ports").expect("no variable moves a port to none")
        };
        let free = local_stack::Ports::free().expect("free ports");
        let (one, other) = (format!("127.0.0.1:{}", free.kafka), format!("127.0.0.1:{}", free.postgres));
        assert!(place(&one, &other).check_ports().is_ok());
        let kafka = Place::new("ports").expect("as above").stack.ports.kafka;
        for (api, admin, said) in [
            (one.clone(), one, "WEIR_API__LISTEN and WEIR_ADMIN__LISTEN"),
            (other, format!("0.0.0.0:{kafka}"), "WEIR_STACK__KAFKA_PORT and WEIR_ADMIN__LISTEN"),
        ] {
            let error = place(&api, &admin).check_ports().expect_err(&api).to_string();
            assert!(error.starts_with(&format!("{said} both want port ")), "{error}");
        }
    }
}
