//! What is wrong with a server's settings, in words: what must not be counted on, and what is
//! only told. Refused is what could lose, forget or misjudge usage; told is what may stop counting
//! or hurt elsewhere.

use serde::Serialize;

/// A setting that breaks a promise, or may.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// Whether nothing may be counted until it is corrected.
    pub refuses: bool,
    /// Which setting, what it is, what it must be and why, and the way out.
    pub words: String,
}

/// What must not be counted on, in words; `None` where everything may be.
pub fn refusal(findings: &[Finding]) -> Option<String> {
    let words: Vec<&str> = findings.iter().filter(|one| one.refuses).map(|one| one.words.as_str()).collect();
    (!words.is_empty()).then(|| words.join("; "))
}
