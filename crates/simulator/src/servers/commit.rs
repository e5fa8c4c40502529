//! The commit in memory: the statement of `ledger::commit`, and the question what became of
//! one whose answer was lost.

use weir_backends::StoreError;
use weir_backends::ledger::commit::{Commit, CommitAnswer};
use weir_backends::ledger::partition::OwnerToken;
use weir_core::TenantId;
use weir_metering::outcome::Adjusted;

use super::Servers;
use super::ledger::{BatchLine, LimitsLine};
use crate::mutation::Mutation;

/// By what a row of `adjustment` is found.
fn key_of(adjusted: &Adjusted) -> (TenantId, String) {
    (adjusted.adjustment.tenant.clone(), adjusted.adjustment.id.clone())
}

impl Servers {
    /// `commit`, by whoever took the partition with a token.
    pub(crate) fn commit(
        &mut self,
        commit: &Commit,
        taken_with: OwnerToken,
    ) -> Result<CommitAnswer, StoreError> {
        const ATTEMPT: &str = "commit a batch";
        let any_owner = self.mistaken(Mutation::NoOwnerToken);
        let same_catalogue = self.ledger.catalogue_version == commit.catalog_version;
        let step = self.step;
        let homes = self.ledger.homes();
        let Some(line) = self.ledger.partitions.get_mut(&commit.partition) else {
            return Ok(if same_catalogue { CommitAnswer::Lost } else { CommitAnswer::CatalogueMoved });
        };
        let row = &mut line.row;
        let stands = row.generation == commit.generation
            && (line.owner == Some(commit.owner) || any_owner)
            && row.next_offset == commit.from;
        if !stands || !same_catalogue {
            return Ok(if same_catalogue { CommitAnswer::Lost } else { CommitAnswer::CatalogueMoved });
        }
        if line.taken_with != Some(taken_with) {
            self.zombie = Some(format!("{} [{}, {})", commit.partition, commit.from, commit.to));
        }
        let counts = commit.counts;
        let sum = counts.accepted + counts.duplicate + counts.rejected + counts.forwarded + counts.control;
        if commit.from >= commit.to || counts.read != sum {
            return Err(StoreError::corrupt(ATTEMPT, "a check of the table batch is broken"));
        }
        let counted = &self.ledger.adjustments;
        if commit.adjustments.iter().any(|one| counted.contains_key(&key_of(one))) {
            return Err(StoreError::corrupt(ATTEMPT, "duplicate key of the table adjustment"));
        }
        row.next_offset = commit.to;
        row.broker_time_max = commit.broker_time_max;
        if commit.last.is_some() {
            row.last.clone_from(&commit.last);
        }
        let batch = BatchLine {
            to: commit.to,
            counts,
            exceptions: commit.exceptions.clone(),
            deltas: commit.deltas.clone(),
            content_sum: commit.content_sum,
            broker_time_max: commit.broker_time_max,
            homes,
            step,
        };
        let key = (commit.partition, commit.generation, commit.from);
        if self.ledger.batches.insert(key, batch).is_some() {
            return Err(StoreError::corrupt(ATTEMPT, "duplicate key of the table batch"));
        }
        self.tell_and_limit(commit);
        for adjusted in &commit.adjustments {
            self.ledger.adjustments.insert(key_of(adjusted), adjusted.clone());
        }
        Ok(CommitAnswer::Committed)
    }

    fn tell_and_limit(&mut self, commit: &Commit) {
        for alert in &commit.alerts {
            self.enqueue_event(&alert.id, &alert.tenant, &alert.event_type, &alert.body);
        }
        for set in &commit.limits {
            let known = self.ledger.limits.get(&set.tenant);
            if known.is_some_and(|known| known.revision >= set.revision) {
                continue;
            }
            let limits = serde_json::from_value(set.limits.clone()).unwrap_or_default();
            let line = LimitsLine { partition: commit.partition, revision: set.revision, limits };
            self.ledger.limits.insert(set.tenant.clone(), line);
        }
    }

    /// `find_out`.
    pub(crate) fn find_out(&self, commit: &Commit) -> Option<CommitAnswer> {
        let Some(line) = self.ledger.partitions.get(&commit.partition) else {
            return Some(CommitAnswer::Lost);
        };
        if line.owner != Some(commit.owner) {
            return Some(CommitAnswer::Lost);
        }
        if self.mistaken(Mutation::FoundOutByOwner) {
            return Some(CommitAnswer::Committed);
        }
        if line.row.next_offset == commit.from {
            return None;
        }
        let key = (commit.partition, commit.generation, commit.from);
        let batch = self.ledger.batches.get(&key).filter(|batch| batch.to == commit.to);
        let same = batch.is_some_and(|batch| batch.content_sum == commit.content_sum);
        let committed = line.row.next_offset == commit.to && same;
        Some(if committed { CommitAnswer::Committed } else { CommitAnswer::Lost })
    }
}
