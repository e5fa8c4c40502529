//! What the ledger does not know goes from ClickHouse when a partition is taken: the ledger
//! went back in time, and what it has lost would stay there for ever.
//!
//! Rows at or above the taken `next_offset` that are of an earlier epoch are unknown: whatever
//! is committed from there on is written with this epoch or a later one. That stays true for
//! ever, so a purge may happen at any time, even after others have taken the partition.

use weir_backends::StoreError;
use weir_backends::projection::RollupRow;
use weir_core::Partition;

use super::queue::{Reached, whole};
use crate::counting::shared::Shared;
use crate::world::{Ledger, ProjectionStore, World};

/// Removes what the ledger does not know, before the first insert of a taken partition.
pub(super) async fn purge<W: World>(
    shared: &Shared<W>,
    projection: &W::Projection,
    partition: Partition,
) -> Result<(), StoreError> {
    let Some(reached) = shared.projection.reached(partition) else { return Ok(()) };
    let Some(from) = reached.purge_from else { return Ok(()) };
    let Some(epoch) = highest(shared, projection, partition, reached, from).await? else { return Ok(()) };
    let place = (partition, reached.generation);
    let found = projection.remove_events(place, (from, i64::MAX), epoch).await?;
    if found > 0 {
        tracing::warn!(partition, from, found, "removed events that the ledger does not know");
    }
    restate_rollups(shared, projection, place, (from, epoch)).await?;
    shared.projection.change(partition, reached.owner, |reached| {
        if reached.purge_from == Some(from) {
            reached.purge_from = None;
        }
    });
    Ok(())
}

/// The epoch, above that of everything unknown: a ledger that went back in time has lost
/// epochs, too. `None` when it or the owner is another one by now.
async fn highest<W: World>(
    shared: &Shared<W>,
    projection: &W::Projection,
    partition: Partition,
    reached: Reached,
    from: i64,
) -> Result<Option<i64>, StoreError> {
    let found = projection.epoch_max((partition, reached.generation), from).await?;
    if found < reached.epoch {
        return Ok(Some(reached.epoch));
    }
    let epoch = found + 1;
    if !shared.ledger.raise_epoch(&whole(partition, reached), epoch).await? {
        return Ok(None);
    }
    shared.projection.change(partition, reached.owner, |reached| reached.epoch = epoch);
    Ok(Some(epoch))
}

/// What the ledger says of the keys of unknown rollups is written with this epoch, so that it
/// wins; then the unknown ones go. Ended between, the next owner finds them again.
async fn restate_rollups<W: World>(
    shared: &Shared<W>,
    projection: &W::Projection,
    place: (Partition, weir_core::Generation),
    (from, epoch): (i64, i64),
) -> Result<(), StoreError> {
    let keys = projection.rollups_above(place, from, epoch).await?;
    if keys.is_empty() {
        return Ok(());
    }
    let mut restated = shared.ledger.totals_of(place.0, &keys).await?;
    let totals = std::mem::take(&mut restated.totals);
    let rows: Vec<_> = totals.into_iter().map(|total| RollupRow::of(&restated, total, epoch)).collect();
    projection.insert_rollups(&rows).await?;
    projection.remove_rollups_above(place, from, epoch).await?;
    tracing::warn!(partition = place.0, found = keys.len(), "removed rollups that the ledger does not know");
    Ok(())
}
