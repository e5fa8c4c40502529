//! What somebody who waits for a command sees, on a terminal only, and log lines beside it.

use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use indicatif::{ProgressBar, ProgressStyle};
use weir_pipeline::told::Told;

/// The bar that is on the terminal; a command shows one at a time.
static SHOWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

fn shown() -> MutexGuard<'static, Option<ProgressBar>> {
    SHOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How far something has come: a bar where its length is known. Gone when it is dropped.
pub(crate) struct Waiting(ProgressBar);

impl Waiting {
    /// Nothing is known yet.
    pub(crate) fn begin() -> Self {
        let bar = ProgressBar::new_spinner();
        *shown() = Some(bar.clone());
        Self(bar)
    }
}

impl Told for Waiting {
    fn told(&self, what: &str, done: u64, of: Option<u64>) {
        if self.0.message() != what || self.0.length() != of {
            // The length first: what is changed is drawn at once.
            let template = match of {
                Some(of) => {
                    self.0.set_length(of);
                    "{bar:30} {human_pos} of {human_len} {msg}"
                }
                None => {
                    self.0.unset_length();
                    "{spinner} {human_pos} {msg}"
                }
            };
            self.0.set_position(done);
            self.0.set_message(what.to_owned());
            self.0.set_style(
                ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
        }
        self.0.set_position(done);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        *shown() = None;
        self.0.finish_and_clear();
    }
}

/// Where log lines go: stderr, with the bar out of their way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogLines;

impl Write for LogLines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match &*shown() {
            Some(bar) => bar.suspend(|| io::stderr().write(line)),
            None => io::stderr().write(line),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
