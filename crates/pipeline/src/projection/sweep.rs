//! Counts what is in ClickHouse, a run of batches at a time, round and round, against what the
//! ledger accepted. Where they differ the run is projected again from the journal, and what
//! does not belong there goes. What Kafka no longer holds is not looked at: raw events may
//! have been let go there too, and could not be brought back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use weir_backends::StoreError;
use weir_backends::ledger::partition::PartitionRow;
use weir_backends::ledger::projecting::AcceptedRun;
use weir_core::Partition;

use super::catch_up::project;
use super::filling::follow;
use super::lost_rollups::restate;
use super::purge::raise;
use super::queue::Reached;
use super::rounds::{Pace, Rounds};
use crate::counting::shared::Shared;
use crate::world::{JournalReader, Ledger, ProjectionStore, Runtime, World};

/// Batches that are counted at once in a partition.
const BATCHES: i64 = 2_000;

/// Counting takes ClickHouse the longer the more it has: at most a twentieth of the time.
const PACE: Pace = Pace { rest: 19, least: Duration::from_secs(5), most: Duration::from_secs(600) };

/// How far each partition has been counted, and when the next run is.
#[derive(Debug)]
pub(super) struct Sweep {
    counted_to: BTreeMap<Partition, i64>,
    rounds: Rounds<PartitionRow>,
}

impl Sweep {
    pub(super) fn new(now: Duration) -> Self {
        Self { counted_to: BTreeMap::new(), rounds: Rounds::new(PACE, now) }
    }

    /// Takes a turn, if one is due: counts a run of some of this process's partitions. What goes
    /// wrong is told to `said`.
    pub(super) async fn go_on<W: World>(
        &mut self,
        shared: &Arc<Shared<W>>,
        projection: &W::Projection,
        said: impl Fn(Result<(), StoreError>) + Send,
    ) {
        if !self.rounds.goes_on() {
            if !self.rounds.has_rested(shared.runtime.elapsed()) {
                return;
            }
            match follow(shared).await {
                Ok(rows) => self.rounds.begin(rows),
                Err(error) => said(Err(error)),
            }
        }
        while let Some(row) = self.rounds.next(shared.runtime.elapsed()) {
            shared.status.projecting(Some(("counting what ClickHouse holds", Some(row.partition))));
            said(self.look(shared, projection, &row).await);
        }
    }

    /// Counts the next run of a partition.
    async fn look<W: World>(
        &mut self,
        shared: &Arc<Shared<W>>,
        projection: &W::Projection,
        row: &PartitionRow,
    ) -> Result<(), StoreError> {
        match shared.projection.reached(row.partition) {
            Some(reached) if reached.purge_from.is_none() && reached.epoch == row.epoch => {
                self.count(shared, projection, row, reached).await?;
            }
            _ => return Ok(()),
        }
        // What a frozen process wrote of a time that the ledger has lost, after the purge.
        match shared.projection.reached(row.partition) {
            Some(reached) => restate(shared, projection, (row.partition, reached)).await,
            None => Ok(()),
        }
    }

    async fn count<W: World>(
        &mut self,
        shared: &Arc<Shared<W>>,
        projection: &W::Projection,
        row: &PartitionRow,
        reached: Reached,
    ) -> Result<(), StoreError> {
        let place = (row.partition, row.generation);
        let (low, _) = shared.reader.watermarks(row.partition).await?;
        let from = self.counted_to.get(&row.partition).copied().unwrap_or(row.first_offset);
        let span = (from.max(row.first_offset).max(low), row.projected_to);
        let Some(run) = shared.ledger.accepted(place, span, BATCHES).await? else {
            self.counted_to.remove(&row.partition);
            return Ok(());
        };
        let found = projection.count_positions(place, (run.from, run.to)).await?;
        if found != run.accepted {
            mend(shared, projection, (row.partition, reached), run, found).await?;
        }
        self.counted_to.insert(row.partition, run.to);
        Ok(())
    }
}

/// Projects a run again, under an epoch of its own, so that what was there before can go.
async fn mend<W: World>(
    shared: &Arc<Shared<W>>,
    projection: &W::Projection,
    (partition, reached): (Partition, Reached),
    run: AcceptedRun,
    found: u64,
) -> Result<(), StoreError> {
    let AcceptedRun { from, to, accepted } = run;
    tracing::error!(partition, from, to, accepted, found, "ClickHouse does not hold what was accepted");
    let Some(epoch) = raise(shared, (partition, reached), reached.epoch + 1).await? else { return Ok(()) };
    let reached = Reached { epoch, ..reached };
    let is_whole = project(shared, projection, (partition, reached), (from, to)).await?;
    let place = (partition, reached.generation);
    if is_whole {
        projection.remove_events(place, (from, to), epoch).await?;
    }
    let found = projection.count_positions(place, (from, to)).await?;
    if found == accepted {
        tracing::warn!(partition, from, to, accepted, "projected again what ClickHouse did not hold");
    } else {
        tracing::error!(partition, from, to, accepted, found, "ClickHouse still does not hold it");
    }
    Ok(())
}
