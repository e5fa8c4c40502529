//! Everything that can go wrong with the local servers, each with the way out.

use std::io;
use std::path::{Path, PathBuf};

use crate::kind::Kind;

/// The result of an operation on the local servers.
pub type Result<T> = std::result::Result<T, Error>;

/// What was attempted and why it failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another program listens on a port that a server needs.
    #[error(
        "port {port}, which {component} needs, is in use by another program: stop it (`make down` stops an earlier stack), or move {component} with {variable}=<port>"
    )]
    PortInUse {
        /// The server that needs the port.
        component: Kind,
        /// The port.
        port: u16,
        /// The environment variable that moves it.
        variable: &'static str,
    },
    /// A variable that moves a port holds none.
    #[error("{variable}={value} is no port: give a number from 1 to 65535")]
    NoPort {
        /// The environment variable.
        variable: &'static str,
        /// What it holds.
        value: String,
    },
    /// Two servers were given the same port.
    #[error("{first} and {second} are both {port}: give each a port of its own")]
    SamePort {
        /// One environment variable.
        first: &'static str,
        /// The other one.
        second: &'static str,
        /// What both hold.
        port: u16,
    },
    /// No run of free ports was found.
    #[error("no free ports between {from} and {to} on 127.0.0.1: stop some servers and try again")]
    NoFreePorts {
        /// First port tried.
        from: u16,
        /// Last port tried.
        to: u16,
    },
    /// A program or library has not been fetched or built.
    #[error("{what} is not at {}: run `{remedy}`", path.display())]
    Missing {
        /// What is missing.
        what: &'static str,
        /// Where it was looked for.
        path: PathBuf,
        /// The command that brings it.
        remedy: &'static str,
    },
    /// A file or process operation failed.
    #[error("cannot {action}: {reason}")]
    Io {
        /// What was attempted, with its path.
        action: String,
        /// The operating system's reason. Not the error's `source()`, since it is said already.
        reason: io::Error,
    },
    /// A helper program ended with an error.
    #[error("{program} failed ({status}): {output}")]
    Program {
        /// The program and its purpose.
        program: String,
        /// How it ended.
        status: String,
        /// The last lines of what it said.
        output: String,
    },
    /// A server ended by itself.
    #[error("{component} ended ({status}) before it was ready; the end of {}:\n{tail}", log.display())]
    Ended {
        /// The server.
        component: Kind,
        /// How it ended.
        status: String,
        /// Its log file.
        log: PathBuf,
        /// The last lines of the log.
        tail: String,
    },
    /// A server did not answer in time.
    #[error("{component} at {address} gave no answer in {seconds} s ({reason}); the end of {}:\n{tail}", log.display())]
    NotReady {
        /// The server.
        component: Kind,
        /// Where it was asked.
        address: String,
        /// How long it was given.
        seconds: u64,
        /// Why the last attempt failed.
        reason: String,
        /// Its log file.
        log: PathBuf,
        /// The last lines of the log.
        tail: String,
    },
    /// The server is not one that this process started.
    #[error("{component} at {address} was not started here, so it cannot be {what}")]
    NotOurs {
        /// The server.
        component: Kind,
        /// Where it is.
        address: String,
        /// What was asked for.
        what: &'static str,
    },
    /// The server was stopped or killed before.
    #[error("{component} is not running: call restart() first")]
    NotRunning {
        /// The server.
        component: Kind,
    },
    /// A fetched file is not the one that was pinned.
    #[error(
        "{} has the SHA-256 sum {found}, not the pinned {expected}: delete it and run `make setup` again; if it stays so, do not use it", path.display()
    )]
    Checksum {
        /// The file.
        path: PathBuf,
        /// The sum in deploy/local/checksums.txt.
        expected: String,
        /// The sum of the file.
        found: String,
    },
    /// Nothing can be done here without something that the user must provide.
    #[error("{0}")]
    Unsupported(String),
}

impl Error {
    /// Wraps an input or output error with what was attempted.
    pub(crate) fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |reason| Self::Io { action, reason }
    }
}

/// The last lines of a log, for an error.
pub(crate) fn tail(log: &Path) -> String {
    const LINES: usize = 20;
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}
