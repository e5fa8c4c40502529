//! What differs between the three servers in a word: names, ports, variables, signals. How each is
//! started and asked is in its own file.

use std::fmt;

use libc::c_int;

use crate::config::StackConfig;

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Apache Kafka, one node.
    Kafka,
    /// PostgreSQL.
    Postgres,
    /// ClickHouse.
    ClickHouse,
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Kafka => "Kafka",
            Self::Postgres => "PostgreSQL",
            Self::ClickHouse => "ClickHouse",
        })
    }
}

impl Kind {
    /// All of them, in the order in which they are listed.
    pub const ALL: [Self; 3] = [Self::Kafka, Self::Postgres, Self::ClickHouse];

    /// The name of its folder, log and pid file.
    pub(crate) fn folder(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::Postgres => "postgres",
            Self::ClickHouse => "clickhouse",
        }
    }

    /// The environment variable that moves its port.
    pub(crate) fn port_variable(self) -> &'static str {
        match self {
            Self::Kafka => "WEIR_STACK__KAFKA_PORT",
            Self::Postgres => "WEIR_STACK__POSTGRES_PORT",
            Self::ClickHouse => "WEIR_STACK__CLICKHOUSE_PORT",
        }
    }

    /// The environment variable that names a server of the user's own.
    pub(crate) fn url_variable(self) -> &'static str {
        match self {
            Self::Kafka => "WEIR_KAFKA__BOOTSTRAP_SERVERS",
            Self::Postgres => "WEIR_POSTGRES__URL",
            Self::ClickHouse => "WEIR_CLICKHOUSE__URL",
        }
    }

    /// The signal that stops it in good order.
    pub(crate) fn stop_signal(self) -> c_int {
        match self {
            // SIGTERM makes PostgreSQL wait for its clients; SIGINT disconnects them.
            Self::Postgres => libc::SIGINT,
            Self::Kafka | Self::ClickHouse => libc::SIGTERM,
        }
    }

    /// The signal by which it ends when its parent dies.
    pub(crate) fn orphan_signal(self) -> c_int {
        match self {
            // Killing only PostgreSQL's first process would leave its shared memory behind.
            Self::Postgres => libc::SIGINT,
            Self::Kafka | Self::ClickHouse => libc::SIGKILL,
        }
    }

    pub(crate) fn port(self, config: &StackConfig) -> u16 {
        match self {
            Self::Kafka => config.ports.kafka,
            Self::Postgres => config.ports.postgres,
            Self::ClickHouse => config.ports.clickhouse,
        }
    }

    /// The address that clients are given for a server that is started here.
    pub(crate) fn url(self, config: &StackConfig) -> String {
        let port = self.port(config);
        match self {
            Self::Kafka => format!("127.0.0.1:{port}"),
            Self::Postgres => format!("postgres://weir@127.0.0.1:{port}/weir"),
            Self::ClickHouse => format!("http://127.0.0.1:{port}"),
        }
    }
}
