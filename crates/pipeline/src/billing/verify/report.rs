//! What a proof found, for people: it prints itself.

use std::fmt;

use weir_core::{Span, TenantId};

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// One for each document, by legal entity and number.
    pub proofs: Vec<Proof>,
    /// Differences that concern no single document: numbers, the chain, changed raw events.
    pub general: Vec<String>,
}

/// What was found about one document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Its number.
    pub number: String,
    /// `inv_…`.
    pub id: String,
    /// Who is billed.
    pub tenant: TenantId,
    /// The billing period.
    pub period: Span,
    /// What was compared, in the order in which it was.
    pub checks: Vec<&'static str>,
    /// What the proof rests on, or that it failed.
    pub verdict: Verdict,
    /// What differs, the first one first; empty when nothing does.
    pub differences: Vec<String>,
    /// Legal entity and counter.
    pub(super) order: (String, u64),
}

/// How a proof ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Derived again from raw events and from the ledger, byte for byte.
    Proved,
    /// Derived again byte for byte from the ledger's sums; why not from raw events.
    RestsOnLedger(String),
    /// Something differs.
    Differs,
}

impl VerifyReport {
    /// Whether nothing differs.
    pub fn ok(&self) -> bool {
        self.general.is_empty() && self.proofs.iter().all(|proof| proof.verdict != Verdict::Differs)
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, tenant, period, .. } = self;
        write!(f, "{number}  {tenant}  {} to {}  ", period.start, period.end)?;
        match &self.verdict {
            Verdict::Proved => write!(f, "proved")?,
            Verdict::RestsOnLedger(why) => write!(f, "proved from the ledger's sums alone: {why}")?,
            Verdict::Differs => write!(f, "DIFFERS")?,
        }
        write!(f, "  ({})", self.checks.join(", "))?;
        for difference in &self.differences {
            write!(f, "\n    {difference}")?;
        }
        Ok(())
    }
}

impl fmt::Display for VerifyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for proof in &self.proofs {
            writeln!(f, "{proof}")?;
        }
        for difference in &self.general {
            writeln!(f, "DIFFERS  {difference}")?;
        }
        let failed = self.proofs.iter().filter(|proof| proof.verdict == Verdict::Differs).count();
        let rests =
            self.proofs.iter().filter(|proof| matches!(proof.verdict, Verdict::RestsOnLedger(_))).count();
        let proved = self.proofs.len() - failed - rests;
        write!(
            f,
            "{proved} documents proved from raw events, {rests} from the ledger's sums alone, {failed} differ"
        )?;
        let general = self.general.len();
        if general == 0 { Ok(()) } else { write!(f, "; {general} differences beside the documents") }
    }
}
