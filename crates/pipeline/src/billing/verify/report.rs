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
    /// Derived again byte for byte from the ledger's sums; why raw events need not be there.
    RestsOnLedger(String),
    /// The ledger agrees, but raw events could not be looked at; why.
    Unproved(String),
    /// Something differs.
    Differs,
}

/// How all of it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every document is proved; from the ledger's sums alone where raw events have expired.
    Proved,
    /// Something differs.
    Differs,
    /// Nothing differs, but raw events could not be looked at.
    Unproved,
}

impl VerifyReport {
    /// Whether everything is proved.
    pub fn ok(&self) -> bool {
        self.outcome() == Outcome::Proved
    }

    /// How it ended.
    pub fn outcome(&self) -> Outcome {
        if !self.general.is_empty() || self.proofs.iter().any(|proof| proof.verdict == Verdict::Differs) {
            Outcome::Differs
        } else if self.count(|verdict| matches!(verdict, Verdict::Unproved(_))) > 0 {
            Outcome::Unproved
        } else {
            Outcome::Proved
        }
    }

    fn count(&self, of: impl Fn(&Verdict) -> bool) -> usize {
        self.proofs.iter().filter(|proof| of(&proof.verdict)).count()
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, tenant, period, .. } = self;
        write!(f, "{number}  {tenant}  {} to {}  ", period.start, period.end)?;
        match &self.verdict {
            Verdict::Proved => write!(f, "proved")?,
            Verdict::RestsOnLedger(why) => write!(f, "proved from the ledger's sums alone: {why}")?,
            Verdict::Unproved(why) => write!(f, "could not be proved from raw events: {why}")?,
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
        let proved = self.count(|verdict| *verdict == Verdict::Proved);
        let rests = self.count(|verdict| matches!(verdict, Verdict::RestsOnLedger(_)));
        let unproved = self.count(|verdict| matches!(verdict, Verdict::Unproved(_)));
        let differ = self.count(|verdict| *verdict == Verdict::Differs);
        write!(
            f,
            "{proved} documents proved from raw events, {rests} from the ledger's sums alone, {unproved} could not be proved, {differ} differ"
        )?;
        let general = self.general.len();
        if general == 0 { Ok(()) } else { write!(f, "; {general} differences beside the documents") }
    }
}
