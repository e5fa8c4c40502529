//! Rollups of a time that the ledger has lost: of an epoch that it does not know to have given, or
//! folded further than their epoch lasted. They would stand above what is counted since, or
//! where no key replaces them, for ever: so what the ledger says of their keys is written above
//! them, and they go.
//!
//! ClickHouse is asked first, and then the ledger: what was written by anyone whom the ledger
//! knew at that moment is known by then. What an owner wrote that had lost the partition, but not the
//! ledger, may be taken for lost, too; its keys are then written a second time, and nothing else
//! comes of it.

use weir_backends::StoreError;
use weir_backends::ledger::partition::GivenEpoch;
use weir_backends::projection::RollupRow;
use weir_core::Partition;

use super::purge::raise;
use super::queue::Reached;
use crate::counting::shared::Shared;
use crate::world::{Ledger, ProjectionStore, World};

/// Rollups of an epoch that were folded beyond an offset.
type Beyond = (i64, i64);

/// Writes anew what rollups of a lost time hide, and removes those. Ended between, whoever looks
/// next finds them again.
pub(super) async fn restate<W: World>(
    shared: &Shared<W>,
    projection: &W::Projection,
    (partition, reached): (Partition, Reached),
) -> Result<(), StoreError> {
    let place = (partition, reached.generation);
    let found = projection.rollup_epochs(place).await?;
    if found.iter().all(|(epoch, _)| *epoch == reached.epoch) {
        return Ok(());
    }
    let lost = lost(&found, &shared.ledger.given_epochs(place).await?);
    let Some((highest, _)) = lost.last() else { return Ok(()) };
    let epoch = if *highest < reached.epoch {
        reached.epoch
    } else {
        let Some(epoch) = raise(shared, (partition, reached), highest + 1).await? else { return Ok(()) };
        epoch
    };
    for beyond in lost {
        let keys = projection.rollups_beyond(place, beyond).await?;
        let mut restated = shared.ledger.totals_of(partition, &keys).await?;
        if restated.generation != reached.generation {
            return Ok(());
        }
        let totals = std::mem::take(&mut restated.totals);
        let rows: Vec<_> = totals.into_iter().map(|total| RollupRow::of(&restated, total, epoch)).collect();
        projection.insert_rollups(&rows).await?;
        projection.remove_rollups_beyond(place, beyond).await?;
        tracing::warn!(partition, epoch = beyond.0, found = keys.len(), "removed rollups of a lost time");
    }
    Ok(())
}

/// Which of the rollups found, by epoch and how far they were folded at most, are of a lost time.
/// Both lists rise.
fn lost(found: &[Beyond], given: &[GivenEpoch]) -> Vec<Beyond> {
    let beyond = |(epoch, folded_to): &Beyond| {
        let next = given.iter().find(|one| one.epoch > *epoch);
        let known = given.iter().any(|one| one.epoch == *epoch) || next.is_some_and(|next| next.earlier);
        let end = if known { next?.folded_to } else { i64::MIN };
        (*folded_to > end).then_some((*epoch, end))
    };
    found.iter().filter_map(beyond).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(epoch: i64, folded_to: i64) -> GivenEpoch {
        GivenEpoch { epoch, folded_to, earlier: false }
    }

    #[test]
    fn what_was_folded_while_its_epoch_lasted_is_not_lost() {
        let given = [given(10, 0), given(20, 50), given(30, 80)];
        assert_eq!(lost(&[(10, 50), (20, 80), (30, 1_000)], &given), []);
    }

    #[test]
    fn an_epoch_that_the_ledger_does_not_know_is_lost_with_all_its_rows() {
        let given = [given(10, 0), given(20, 50)];
        let never = i64::MIN;
        assert_eq!(
            lost(&[(5, 1), (15, 10), (20, 60), (25, 70)], &given),
            [(5, never), (15, never), (25, never)]
        );
        assert_eq!(lost(&[(5, 1)], &[]), [(5, never)]);
    }

    #[test]
    fn of_an_epoch_that_ended_what_was_folded_further_is_lost() {
        let given = [given(10, 0), given(20, 50)];
        assert_eq!(lost(&[(10, 51)], &given), [(10, 50)]);
    }

    /// A ledger from before epochs were noted knows the one that it had then.
    #[test]
    fn epochs_before_the_first_noted_are_known() {
        let given = [GivenEpoch { earlier: true, ..given(10, 40) }, given(20, 50)];
        assert_eq!(lost(&[(3, 40), (10, 50), (15, 1)], &given), [(15, i64::MIN)]);
        assert_eq!(lost(&[(3, 41)], &given), [(3, 40)]);
    }
}
