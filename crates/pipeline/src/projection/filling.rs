//! Which filling of ClickHouse this is. A mark stands there, and the ledger keeps the same
//! id: a database, table or folder that was dropped has no mark, and everything is projected
//! again. It also follows what others have moved back.

use weir_backends::StoreError;
use weir_backends::ledger::partition::PartitionRow;

use crate::counting::shared::Shared;
use crate::world::{Ledger, ProjectionStore, Runtime, World};

/// Makes tables and mark where they are missing, and has everything projected again then.
pub(super) async fn look_after<W: World>(
    shared: &Shared<W>,
    projection: &W::Projection,
) -> Result<(), StoreError> {
    let known = shared.ledger.projection_id().await?;
    let marks = projection.marks().await?;
    if known.as_ref().is_some_and(|known| marks.contains(known)) {
        return Ok(());
    }
    if known.is_some() {
        tracing::error!("ClickHouse is not what this ledger has filled: everything is projected again");
    }
    projection.prepare().await?;
    let random = shared.runtime.random().map_err(|error| StoreError::corrupt("draw a random id", error))?;
    let id: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    // Where another process was faster, its mark will stand there.
    if shared.ledger.renew_projection(known.as_deref(), &id).await? {
        projection.mark(&id).await?;
    }
    follow(shared).await.map(|_| ())
}

/// Takes over what the ledger says of the partitions of this process: another epoch means that
/// `projected_to` was moved back. Returns their rows.
pub(super) async fn follow<W: World>(shared: &Shared<W>) -> Result<Vec<PartitionRow>, StoreError> {
    let mine = shared.projection.mine();
    if mine.is_empty() {
        return Ok(Vec::new());
    }
    let rows = shared.ledger.owned(&mine).await?;
    for row in &rows {
        for one in mine.iter().filter(|one| one.partition == row.partition) {
            shared.projection.change(row.partition, one.owner, |reached| reached.follow(row));
        }
    }
    Ok(rows)
}
