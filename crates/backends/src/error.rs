//! What can go wrong between Weir and its servers, told apart by what the caller
//! should do: try again later, or stop and say so.

/// A failed attempt at a store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The server is away, slow or shutting down: the same call may succeed later.
    #[error("could not {attempt}: {reason}")]
    Transient {
        /// What was attempted, as in "read the partitions".
        attempt: &'static str,
        /// What the server or driver said.
        reason: String,
    },
    /// The server understood and refused, or what it holds makes no sense: trying again is no use.
    #[error("could not {attempt}: {reason}")]
    Permanent {
        /// What was attempted.
        attempt: &'static str,
        /// What the server or driver said, or what is wrong with what it holds.
        reason: String,
    },
    /// The server refused the data itself, for good; it takes other data.
    #[error("could not {attempt}: {reason}")]
    Refused {
        /// What was attempted.
        attempt: &'static str,
        /// What the server said.
        reason: String,
    },
}

impl StoreError {
    /// Whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Transient { .. })
    }

    /// Whether the data itself was refused, so that it may be taken without the part at fault.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }

    /// A permanent error of our own finding (a row that makes no sense, for example).
    pub fn corrupt(attempt: &'static str, reason: impl std::fmt::Display) -> Self {
        Self::Permanent { attempt, reason: reason.to_string() }
    }

    /// Sorts a Postgres error: connection trouble, shutdown, serialization and lock
    /// failures (classes 08, 40, 53, 55, 57) are transient; data, constraints and limits
    /// (22, 23 but for doubled keys, 54) are refusals; everything else is permanent.
    pub(crate) fn postgres(attempt: &'static str, error: &sqlx::Error) -> Self {
        let reason = error.to_string();
        let transient = match error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => true,
            sqlx::Error::Database(database) => {
                let code = database.code().unwrap_or_default();
                if code != "23505" && ["22", "23", "54"].iter().any(|class| code.starts_with(class)) {
                    return Self::Refused { attempt, reason };
                }
                ["08", "40", "53", "55", "57"].iter().any(|class| code.starts_with(class))
            }
            _ => false,
        };
        if transient { Self::Transient { attempt, reason } } else { Self::Permanent { attempt, reason } }
    }

    /// Sorts a ClickHouse error: what the engine itself refused is permanent, unless it says
    /// that it is overloaded, out of memory or shutting down.
    pub(crate) fn clickhouse(attempt: &'static str, error: &clickhouse::error::Error) -> Self {
        let reason = error.to_string();
        let busy = [
            "Code: 202",
            "Code: 241",
            "Code: 242",
            "Code: 252",
            "Code: 159",
            "Code: 209",
            "Code: 210",
            "Code: 394",
        ];
        let answered = matches!(error, clickhouse::error::Error::BadResponse(_));
        // Values that cannot be read, converted or stored, and violated constraints.
        let data = [6, 27, 33, 69, 70, 72, 117, 131, 321, 349, 407, 469];
        if answered && data.iter().any(|code| reason.contains(&format!("Code: {code}."))) {
            return Self::Refused { attempt, reason };
        }
        let permanent = answered && !busy.iter().any(|code| reason.contains(code));
        if permanent { Self::Permanent { attempt, reason } } else { Self::Transient { attempt, reason } }
    }

    /// A Kafka error; those that librdkafka calls fatal are permanent.
    pub(crate) fn kafka(attempt: &'static str, error: &rdkafka::error::KafkaError) -> Self {
        let reason = error.to_string();
        match error.rdkafka_error_code() {
            Some(
                rdkafka::types::RDKafkaErrorCode::Fatal
                | rdkafka::types::RDKafkaErrorCode::TopicAuthorizationFailed
                | rdkafka::types::RDKafkaErrorCode::InvalidTopic,
            ) => Self::Permanent { attempt, reason },
            _ => Self::Transient { attempt, reason },
        }
    }
}
