//! What is played, and the one command that plays it.

use std::collections::BTreeSet;

use super::faults::FaultKey;
use crate::mutation::{MUTATIONS, Mutation};

/// What is played.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Which seed.
    pub seed: u64,
    /// With which mistake.
    pub mutation: Option<Mutation>,
    /// Whether every decision is told.
    pub told: bool,
    /// The acts that are kept, by their index; all where none are given.
    pub acts: Option<Vec<usize>>,
    /// Faults that are left out.
    pub spared: BTreeSet<FaultKey>,
}

impl Options {
    /// The command that plays this, decision by decision.
    pub fn command(&self) -> String {
        let mut command = format!("cargo run --bin simulate -- --from {} --steps", self.seed);
        if let Some(case) = MUTATIONS.iter().find(|case| Some(case.mutation) == self.mutation) {
            command.push_str(&format!(" --mutation {}", case.name));
        }
        if let Some(acts) = &self.acts {
            let acts: Vec<String> = acts.iter().map(usize::to_string).collect();
            command.push_str(&format!(" --acts {}", acts.join(",")));
        }
        if !self.spared.is_empty() {
            let spared: Vec<&str> = self.spared.iter().map(String::as_str).collect();
            command.push_str(&format!(" --spare {}", spared.join(",")));
        }
        command
    }
}
