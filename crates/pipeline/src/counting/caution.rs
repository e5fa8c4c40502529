//! What a worker remembers of a batch that the ledger refused for good (invariant 11). The
//! batch is halved until one record is left, which is then rejected by name; everything
//! before and after it is counted. Where batches are cut never matters, so the halves are
//! simply smaller batches, and a restart begins again from what was committed.

/// A record without which the ledger should take its batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Suspect {
    pub(crate) offset: i64,
    /// What the ledger said, for the dead letter.
    pub(crate) why: String,
}

/// A batch that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The offset of its first record.
    pub(crate) offset: i64,
    pub(crate) records: usize,
    /// What the ledger said.
    pub(crate) why: String,
}

/// How carefully a partition is counted. The default is not at all.
#[derive(Debug, Default)]
pub(crate) struct Caution {
    records_max: Option<usize>,
    suspect: Option<Suspect>,
    /// A record that made no difference: it is not blamed again.
    spared: Option<i64>,
}

impl Caution {
    /// How many records the next batch may have.
    pub(crate) fn records_max(&self, usual: usize) -> usize {
        self.records_max.map_or(usual, |records| records.min(usual))
    }

    /// The record to be rejected, which is then alone in its batch.
    pub(crate) fn suspect(&self) -> Option<&Suspect> {
        self.suspect.as_ref()
    }

    /// Learns from a refusal; false when no record is to blame and the partition must be held.
    pub(crate) fn refused(&mut self, refusal: &Refusal) -> bool {
        if let Some(suspect) = self.suspect.take() {
            self.spared = Some(suspect.offset);
            return false;
        }
        self.records_max = Some(refusal.records.div_ceil(2).max(1));
        if refusal.records > 1 {
            return true;
        }
        if self.spared == Some(refusal.offset) {
            return false;
        }
        self.suspect = Some(Suspect { offset: refusal.offset, why: refusal.why.clone() });
        true
    }

    /// A batch was committed: the next may be twice as large.
    pub(crate) fn committed(&mut self, usual: usize) {
        self.suspect = None;
        self.spared = None;
        let doubled = self.records_max.map(|records| records.saturating_mul(2));
        self.records_max = doubled.filter(|records| *records < usual);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts `records` where the ledger refuses the offsets of `poison`, unless they are
    /// rejected and `helps`. Returns which were rejected, after how many commits; `None` when held.
    fn count(records: i64, poison: &[i64], helps: bool) -> Option<(Vec<i64>, usize)> {
        let mut caution = Caution::default();
        let (mut next, mut rejected, mut commits) = (0, Vec::new(), 0);
        while next < records {
            let left = usize::try_from(records - next).unwrap();
            let taken = caution.records_max(64).min(left);
            let to = next + i64::try_from(taken).unwrap();
            commits += 1;
            let blamed = caution.suspect().map(|suspect| suspect.offset);
            let spoils = |at: &&i64| (next..to).contains(*at) && !(helps && blamed == Some(**at));
            if poison.iter().find(spoils).is_some() {
                let refusal = Refusal { offset: next, records: taken, why: "no".into() };
                if !caution.refused(&refusal) {
                    return None;
                }
                continue;
            }
            rejected.extend(blamed);
            caution.committed(64);
            next = to;
        }
        Some((rejected, commits))
    }

    #[test]
    fn the_refused_records_alone_are_rejected_in_bounded_work() {
        assert_eq!(count(128, &[], true), Some((vec![], 2)));
        for poison in [vec![0], vec![63], vec![64, 65], vec![5, 40, 127]] {
            let (rejected, commits) = count(128, &poison, true).unwrap();
            assert_eq!(rejected, poison);
            assert!(commits <= 2 + poison.len() * 32, "{commits} commits for {poison:?}");
        }
    }

    #[test]
    fn a_refusal_that_no_record_causes_holds_the_partition() {
        assert_eq!(count(128, &[3], false), None);
    }
}
