//! What goes to stdout: the data that was asked for. A reader that has seen enough
//! (`weir ledger status | head -1`) ends the program quietly; a full disk is told in words.

use std::fmt::{self, Display};
use std::io::{ErrorKind, Write};

use anyhow::Context;

/// What a shell reports of a program that a closed pipe has ended: 128 + SIGPIPE.
pub(crate) const CLOSED_EXIT_CODE: u8 = 141;

/// Whoever read stdout has closed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closed;

impl Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("stdout is closed")
    }
}

impl std::error::Error for Closed {}

/// Writes a line, or several.
pub(crate) fn line(text: impl Display) -> anyhow::Result<()> {
    bytes(format!("{text}\n").as_bytes())
}

/// Writes bytes as they are.
///
/// # Errors
/// [`Closed`] when nobody reads any more; the system's reason otherwise.
pub(crate) fn bytes(bytes: &[u8]) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Closed.into()),
        written => written.context("write to stdout"),
    }
}

/// How many, with a noun whose plural ends in s.
pub(crate) fn counted<N: Display + PartialEq + From<u8>>(count: N, noun: &str) -> String {
    let ending = if count == N::from(1) { "" } else { "s" };
    format!("{count} {noun}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_one_and_nothing_is_many() {
        let check = |count: i64, words: &str| assert_eq!(counted(count, "change"), words);
        check(0, "0 changes");
        check(1, "1 change");
        check(2, "2 changes");
    }
}
