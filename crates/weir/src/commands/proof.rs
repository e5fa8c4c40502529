//! How a command that proves something says what it found: a cell for each part, a sentence at
//! the end.

use crate::table::Cell;

/// What a part's row says of the differences found in it.
pub(super) fn result(differences: &[String]) -> Cell {
    match differences.len() {
        0 => "ok".to_owned().into(),
        count => format!("{count} differences").into(),
    }
}

/// Says what it comes to, beside the table, and gives it back.
pub(super) fn verdict(proved: bool, proved_words: &str, refuted_words: &str) -> bool {
    eprintln!("{}", if proved { proved_words } else { refuted_words });
    proved
}
