//! Proving a document: is the stored one, byte for byte, the one that follows from the
//! facts, and do its hashes and sums hold? Pure; whoever fetches the facts is elsewhere.

use serde_json::Value;

use crate::canonical::{self, CanonicalError};
use crate::invoice::Invoice;

/// One place in which two documents differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Where: `lines[2].quantity`; empty for the whole document.
    pub path: String,
    /// What is stored there, as JSON; `(absent)` for nothing.
    pub stored: String,
    /// What follows from the facts, as JSON; `(absent)` for nothing.
    pub derived: String,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: stored {}, derived {}", self.path, self.stored, self.derived)
    }
}

/// Every difference between the canonical JSON of two documents; empty when they are the
/// same bytes. Facts come first, in the order of the bytes; then the hashes, which differ
/// because the facts do.
pub fn compare(stored: &Invoice, rederived: &Invoice) -> Vec<Difference> {
    match (canonical::value_of(stored), canonical::value_of(rederived)) {
        (Ok(stored), Ok(derived)) => compare_json(&stored, &derived),
        (Err(error), _) | (_, Err(error)) => vec![unwritable(&error)],
    }
}

/// The same for documents that are JSON already, such as a stored one that may have been
/// changed into something that is no longer an invoice.
pub fn compare_json(stored: &Value, derived: &Value) -> Vec<Difference> {
    let mut differences = Vec::new();
    walk("", Some(stored), Some(derived), &mut differences);
    differences.sort_by_key(|difference| is_hash(&difference.path));
    differences
}

/// Checks what a document says about itself: the hash of each line, the total, the hash
/// of the whole. Empty when all hold.
pub fn check_hashes(invoice: &Invoice) -> Vec<Difference> {
    let mut differences = Vec::new();
    for (index, line) in invoice.lines.iter().enumerate() {
        check(format!("lines[{index}].hash"), &line.hash, line.computed_hash(), &mut differences);
    }
    let total = invoice.computed_total().map_or_else(|error| error.to_string(), |total| total.to_string());
    if total != invoice.total.to_string() {
        let stored = invoice.total.to_string();
        differences.push(Difference { path: "total".to_owned(), stored, derived: total });
    }
    check("hash".to_owned(), &invoice.hash, invoice.computed_hash(), &mut differences);
    differences
}

fn check(path: String, stored: &str, computed: Result<String, CanonicalError>, out: &mut Vec<Difference>) {
    match computed {
        Ok(derived) if derived == stored => {}
        Ok(derived) => out.push(Difference { path, stored: stored.to_owned(), derived }),
        Err(error) => out.push(unwritable(&error)),
    }
}

fn unwritable(error: &CanonicalError) -> Difference {
    let text = error.to_string();
    Difference { path: String::new(), stored: text.clone(), derived: text }
}

fn is_hash(path: &str) -> bool {
    path == "hash" || path.ends_with(".hash")
}

fn walk(path: &str, stored: Option<&Value>, derived: Option<&Value>, out: &mut Vec<Difference>) {
    match (stored, derived) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            let mut names: Vec<_> = a.keys().chain(b.keys()).collect();
            names.sort_unstable();
            names.dedup();
            for name in names {
                let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                walk(&below, a.get(name), b.get(name), out);
            }
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) => {
            for index in 0..a.len().max(b.len()) {
                walk(&format!("{path}[{index}]"), a.get(index), b.get(index), out);
            }
        }
        (stored, derived) if stored == derived => {}
        (stored, derived) => {
            let text =
                |value: Option<&Value>| value.map_or_else(|| "(absent)".to_owned(), canonical::text_of);
            out.push(Difference { path: path.to_owned(), stored: text(stored), derived: text(derived) });
        }
    }
}
