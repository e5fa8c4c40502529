//! Where the servers' programs, data and ports are. Values only; nothing is started here.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};

use crate::error::{Error, Result};
use crate::kind::Kind;

/// The ports of a stack, all on 127.0.0.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// Kafka's clients.
    pub kafka: u16,
    /// Kafka's controller, used by Kafka itself.
    pub kafka_controller: u16,
    /// PostgreSQL.
    pub postgres: u16,
    /// ClickHouse's HTTP interface.
    pub clickhouse: u16,
}

/// Below the range from which Linux takes the ports of outgoing connections, so that a server
/// which is down for a moment finds its port again.
const FREE_PORTS: std::ops::Range<u16> = 20_000..32_000;

impl Ports {
    /// The ports of `make demo` and `make up`, unless moved by environment variables.
    ///
    /// # Errors
    /// A variable that holds no port, or another server's.
    pub fn defaults() -> Result<Self> {
        Self::moved_by(|variable| std::env::var(variable).ok())
    }

    /// The default ports, unless `read` has another one under the variable's name.
    fn moved_by(read: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let port = |variable: &'static str, default: u16| match read(variable) {
            None => Ok(default),
            Some(value) => match value.trim().parse() {
                Ok(port) if port > 0 => Ok(port),
                _ => Err(Error::NoPort { variable, value }),
            },
        };
        let ports = Self {
            kafka: port(Kind::Kafka.port_variable(), 19_092)?,
            kafka_controller: port(CONTROLLER_PORT_VARIABLE, 19_093)?,
            postgres: port(Kind::Postgres.port_variable(), 15_432)?,
            clickhouse: port(Kind::ClickHouse.port_variable(), 18_123)?,
        };
        ports.check_different()?;
        Ok(ports)
    }

    /// Each port with its server and the variable that moves it.
    pub fn by_variable(&self) -> [(Kind, &'static str, u16); 4] {
        [
            (Kind::Kafka, Kind::Kafka.port_variable(), self.kafka),
            (Kind::Kafka, CONTROLLER_PORT_VARIABLE, self.kafka_controller),
            (Kind::Postgres, Kind::Postgres.port_variable(), self.postgres),
            (Kind::ClickHouse, Kind::ClickHouse.port_variable(), self.clickhouse),
        ]
    }

    fn check_different(&self) -> Result<()> {
        let ports = self.by_variable();
        for (index, &(_, second, port)) in ports.iter().enumerate() {
            if let Some(&(_, first, _)) = ports[..index].iter().find(|(.., other)| *other == port) {
                return Err(Error::SamePort { first, second, port });
            }
        }
        Ok(())
    }

    /// Ports that nothing listens on, different for each caller in this process.
    pub fn free() -> Result<Self> {
        Ok(Self {
            kafka: free_port()?,
            kafka_controller: free_port()?,
            postgres: free_port()?,
            clickhouse: free_port()?,
        })
    }
}

/// Moves the port of Kafka's controller.
pub(crate) const CONTROLLER_PORT_VARIABLE: &str = "WEIR_STACK__KAFKA_CONTROLLER_PORT";

fn free_port() -> Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let count = FREE_PORTS.end - FREE_PORTS.start;
    // Processes begin at different places, so that they rarely try the same port.
    let offset = u16::try_from(std::process::id() % u32::from(count / 8)).unwrap_or(0) * 8;
    for _ in 0..count {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FREE_PORTS.start + offset.wrapping_add(step) % count;
        if is_free(port) {
            return Ok(port);
        }
    }
    Err(Error::NoFreePorts { from: FREE_PORTS.start, to: FREE_PORTS.end - 1 })
}

/// True when a server could listen on the port now.
pub(crate) fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// How to run a stack.
#[derive(Debug, Clone)]
pub struct StackConfig {
    /// Folder of the fetched programs, filled by `local-stack setup`.
    pub root: PathBuf,
    /// Folder of this stack's data and logs.
    pub state: PathBuf,
    /// Where the servers listen.
    pub ports: Ports,
}

impl StackConfig {
    /// The stack of `make demo` and `make up`: everything under `<repository>/.weir`.
    ///
    /// # Errors
    /// A variable that moves a port and holds none.
    pub fn defaults() -> Result<Self> {
        let home = repository().join(".weir");
        Ok(Self { root: components(), state: home.join("stack"), ports: Ports::defaults()? })
    }
}

/// Folder of the fetched programs: `WEIR_COMPONENTS`, or `.weir/components` in the repository.
pub(crate) fn components() -> PathBuf {
    match std::env::var_os("WEIR_COMPONENTS") {
        Some(folder) => PathBuf::from(folder),
        None => repository().join(".weir").join("components"),
    }
}

/// The checkout: the nearest folder above the current one that holds `deploy/local`, else the
/// one that this program was built in.
pub fn repository() -> PathBuf {
    let built_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let is_checkout = |folder: &&Path| folder.join("deploy/local/kafka/pom.xml").is_file();
    let current = std::env::current_dir().unwrap_or_default();
    match current.ancestors().find(is_checkout) {
        Some(folder) => folder.to_owned(),
        None => built_in.canonicalize().unwrap_or(built_in),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_ports_differ() {
        let ports = Ports::free().expect("ports");
        let mut all = vec![ports.kafka, ports.kafka_controller, ports.postgres, ports.clickhouse];
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 4);
    }

    #[test]
    fn a_port_is_moved_or_refused() {
        let moved = |value: &str| {
            let value = value.to_owned();
            Ports::moved_by(move |variable| (variable == "WEIR_STACK__POSTGRES_PORT").then(|| value.clone()))
        };
        let ports = moved("25432").expect("a port");
        assert_eq!((ports.kafka, ports.postgres), (19_092, 25_432));
        for value in ["", "0", "65536", "5432x"] {
            let error = moved(value).expect_err(value).to_string();
            let words =
                format!("WEIR_STACK__POSTGRES_PORT={value} is no port: give a number from 1 to 65535");
            assert_eq!(error, words);
        }
        let error = moved("19093").expect_err("Kafka's controller has it").to_string();
        let words = "WEIR_STACK__KAFKA_CONTROLLER_PORT and WEIR_STACK__POSTGRES_PORT are both 19093: give each a port of its own";
        assert_eq!(error, words);
    }

    #[test]
    fn an_error_says_its_cause_once() {
        let error = Error::io("read the pins")(std::io::Error::other("no such disk"));
        let mut said = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(next) = cause {
            said = format!("{said}: {next}");
            cause = next.source();
        }
        assert_eq!(said, "cannot read the pins: no such disk");
    }
}
