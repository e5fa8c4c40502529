//! What can go wrong while load is sent or compared.

use std::path::PathBuf;

/// Why load could not be made, sent or compared.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A profile that describes no stream.
    #[error("{option} is {value}: {rule}")]
    Profile {
        /// The option.
        option: &'static str,
        /// What it was set to.
        value: String,
        /// What it must be.
        rule: &'static str,
    },
    /// Kafka refused, or acknowledged too late.
    #[error("{attempt}")]
    Kafka {
        /// What was attempted.
        attempt: String,
        /// The driver's words.
        source: rdkafka::error::KafkaError,
    },
    /// Records that Kafka did not acknowledge.
    #[error("{count} of the records were not acknowledged; the first: {first}")]
    Unacknowledged {
        /// How many.
        count: u64,
        /// Why the first of them was not.
        first: String,
    },
    /// No answer over HTTP.
    #[error("{attempt}")]
    Http {
        /// What was attempted.
        attempt: String,
        /// The client's words.
        source: reqwest::Error,
    },
    /// A connection that broke, or spoke no HTTP.
    #[error("{attempt}")]
    Connection {
        /// What was attempted.
        attempt: &'static str,
        /// The system's words.
        source: std::io::Error,
    },
    /// An answer that says no.
    #[error("{attempt}: the answer was {status}: {body}")]
    Refused {
        /// What was attempted.
        attempt: String,
        /// The status.
        status: u16,
        /// The beginning of its body.
        body: String,
    },
    /// A file could not be read or written.
    #[error("{attempt} {}", path.display())]
    File {
        /// What was attempted.
        attempt: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// A line that is none of an expected total's.
    #[error("line {line} of the expected totals is not one: {text}")]
    NotTotals {
        /// Its number, from one.
        line: usize,
        /// What stands there.
        text: String,
    },
    /// A thread ended before its work did.
    #[error("a producer ended early")]
    Ended,
}
