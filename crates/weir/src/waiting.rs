//! What somebody who waits for a command sees, on a terminal only.

use indicatif::{ProgressBar, ProgressStyle};
use weir_pipeline::told::Told;

/// How far something has come: a bar where its length is known. Gone when it is dropped.
pub(super) struct Waiting(ProgressBar);

impl Waiting {
    /// Nothing is known yet.
    pub(super) fn begin() -> Self {
        Self(ProgressBar::new_spinner())
    }
}

impl Told for Waiting {
    fn told(&self, what: &str, done: u64, of: Option<u64>) {
        if self.0.message() != what || self.0.length() != of {
            let template = match of {
                Some(_) => "{bar:30} {human_pos} of {human_len} {msg}",
                None => "{spinner} {human_pos} {msg}",
            };
            self.0.set_style(
                ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
            self.0.set_message(what.to_owned());
            match of {
                Some(of) => self.0.set_length(of),
                None => self.0.unset_length(),
            }
        }
        self.0.set_position(done);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
