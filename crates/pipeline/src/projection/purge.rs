//! What the ledger does not know goes from ClickHouse when a partition is taken: the ledger
//! went back in time, and what it has lost would stay there for ever.
//!
//! Whatever stands at or above the taken `projected_to` is written again with this epoch or a
//! later one, so rows of earlier epochs go: also those that an owner before, who died in its own
//! purge, had not yet removed when it committed beyond them. A purge does no harm when others take
//! the partition meanwhile. A ledger that goes back in time forgets the epoch, too: so it is
//! asked whether it still knows it.

use weir_backends::StoreError;
use weir_core::Partition;

use super::lost_rollups::restate;
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
        tracing::warn!(
            partition,
            from,
            found,
            "removed events that the ledger does not know, or that are written again"
        );
    }
    restate(shared, projection, (partition, Reached { epoch, ..reached })).await?;
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
        // A ledger that went back in time since then knows no such taking; whoever has the
        // partition now may write with a lower epoch.
        let rows = shared.ledger.owned(&[whole(partition, reached)]).await?;
        return Ok(rows.iter().any(|row| row.epoch == reached.epoch).then_some(reached.epoch));
    }
    raise(shared, (partition, reached), found + 1).await
}

/// Gives a partition an epoch that was never given, and is at least `least`; `None` when it or the
/// owner is another one by now.
pub(super) async fn raise<W: World>(
    shared: &Shared<W>,
    (partition, reached): (Partition, Reached),
    least: i64,
) -> Result<Option<i64>, StoreError> {
    let raised = shared.ledger.raise_epoch(&whole(partition, reached), least).await?;
    if let Some(epoch) = raised {
        shared.projection.change(partition, reached.owner, |now| now.epoch = epoch);
    }
    Ok(raised)
}
