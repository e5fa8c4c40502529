//! What goes wrong with calls, by seed. Whether a call fails depends on whose it is, what it
//! is and how many of the kind there were before, not on what others did: so a shorter
//! script meets the same faults.

use std::collections::{BTreeMap, BTreeSet};

use crate::chance::Chance;
use crate::stage::{Fate, Server};

/// A fault, as host, kind of call, and the how-manieth of the kind it was: `0/commit/3`.
pub type FaultKey = String;

/// What is decided about a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Its fate.
    Fate(Fate),
    /// The process dies before it happens; it may still happen, as the packet may be under way.
    CrashBefore,
    /// The process dies when it has happened.
    CrashAfter,
}

/// The faults of a seed.
pub(crate) struct Faults {
    seed: u64,
    /// In how many of a thousand calls: fails, answer lost, answer late, part, crash before, crash after.
    rates: [u64; 6],
    counts: BTreeMap<(usize, &'static str), u64>,
    /// Faults that are left out.
    spared: BTreeSet<FaultKey>,
    /// Faults that happened.
    pub(crate) happened: Vec<FaultKey>,
    /// Nothing goes wrong any more.
    pub(crate) over: bool,
}

impl Faults {
    pub(crate) fn of(seed: u64, spared: BTreeSet<FaultKey>) -> Self {
        let mut chance = Chance::of(seed, "faults", 0);
        let mut rate = |most: u64| if chance.per_mille(650) { 1 + chance.below(most) } else { 0 };
        let rates = [rate(60), rate(60), rate(200), rate(60), rate(6), rate(6)];
        Self { seed, rates, counts: BTreeMap::new(), spared, happened: Vec::new(), over: false }
    }

    /// How many of a thousand calls take long.
    pub(crate) fn slow_per_mille(&self) -> u64 {
        let mut chance = Chance::of(self.seed, "slow", 0);
        if chance.per_mille(500) { chance.below(30) } else { 0 }
    }

    /// What becomes of a call.
    pub(crate) fn decide(&mut self, host: usize, server: Server, what: &'static str) -> Decision {
        const WORKS: Decision = Decision::Fate(Fate::Works);
        if self.over || server == Server::Machine {
            return WORKS;
        }
        let count = self.counts.entry((host, what)).or_default();
        *count += 1;
        let count = *count;
        let mut chance = Chance::of(self.seed, what, (count << 8) | u64::try_from(host).unwrap_or(0));
        let roll = chance.below(1_000);
        let [fails, lost, later, part, before, after] = self.rates;
        let mut bound = 0;
        let mut below = |width: u64| {
            bound += width;
            roll < bound
        };
        let decision = if below(fails) {
            Decision::Fate(Fate::Fails)
        } else if below(lost) {
            Decision::Fate(Fate::AnswerLost)
        } else if below(later) {
            Decision::Fate(Fate::AnswersLater)
        } else if below(part) {
            Decision::Fate(Fate::HappensInPart)
        } else if below(before) {
            Decision::CrashBefore
        } else if below(after) {
            Decision::CrashAfter
        } else {
            return WORKS;
        };
        let key = format!("{host}/{}/{count}", what.replace(' ', "-"));
        if self.spared.contains(&key) {
            return WORKS;
        }
        self.happened.push(key);
        decision
    }
}
