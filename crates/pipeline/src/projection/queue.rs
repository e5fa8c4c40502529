//! What waits for the projection: rows of committed batches, bounded, and how far each
//! partition of this process has been brought.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use weir_backends::ledger::partition::{OwnerToken, PartitionRow, Progress};
use weir_backends::projection::EventRow;
use weir_core::{Generation, Partition};

/// Rows that wait at most; further ones are dropped and read again from the journal.
const ROWS_MAX: usize = 300_000;
/// Rows of one insert at most, about.
const INSERT_ROWS_MAX: usize = 200_000;

/// The accepted events of a committed batch.
#[derive(Debug)]
pub(crate) struct CommittedRows {
    pub(crate) partition: Partition,
    pub(crate) generation: Generation,
    pub(crate) from: i64,
    pub(crate) to: i64,
    pub(crate) rows: Vec<EventRow>,
}

/// How far a partition has been brought.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reached {
    pub(crate) generation: Generation,
    pub(crate) owner: OwnerToken,
    /// Everything below is in ClickHouse, or in the insert under way.
    pub(crate) to: i64,
    /// Rows at or above are unknown to the ledger and must go before the first insert.
    pub(crate) purge_from: Option<i64>,
    /// Whether something between here and the commits was dropped.
    pub(crate) behind: bool,
}

impl Reached {
    pub(crate) fn progress(&self, partition: Partition) -> Progress {
        Progress { partition, generation: self.generation, owner: self.owner, to: self.to }
    }
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<CommittedRows>,
    rows: usize,
    reached: BTreeMap<Partition, Reached>,
}

/// The queue in front of the writer.
#[derive(Debug, Default)]
pub(crate) struct ProjectionQueue {
    state: Mutex<State>,
}

impl ProjectionQueue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A partition was taken.
    pub(crate) fn own(&self, row: &PartitionRow, owner: OwnerToken) {
        let reached = Reached {
            generation: row.generation,
            owner,
            to: row.projected_to,
            purge_from: Some(row.next_offset),
            behind: row.projected_to < row.next_offset,
        };
        self.state().reached.insert(row.partition, reached);
    }

    /// A partition was given away.
    pub(crate) fn release(&self, partition: Partition) {
        self.state().reached.remove(&partition);
    }

    /// The partitions of this process.
    pub(crate) fn partitions(&self) -> Vec<Partition> {
        self.state().reached.keys().copied().collect()
    }

    /// Adds rows, or drops them where there is no room.
    pub(crate) fn push(&self, rows: CommittedRows) {
        let mut state = self.state();
        if state.rows + rows.rows.len() > ROWS_MAX && !state.waiting.is_empty() {
            if let Some(reached) = state.reached.get_mut(&rows.partition) {
                reached.behind = true;
            }
            return;
        }
        state.rows += rows.rows.len();
        state.waiting.push_back(rows);
    }

    /// How many rows wait.
    pub(crate) fn rows(&self) -> usize {
        self.state().rows
    }

    /// Takes rows that follow what was reached, and where that brings their partitions. Rows of
    /// a partition that is still to be purged stay: the purge would take them away again.
    pub(crate) fn take(&self) -> (Vec<EventRow>, BTreeMap<Partition, Reached>) {
        let mut state = self.state();
        let mut rows = Vec::new();
        let mut moved = BTreeMap::new();
        let mut kept = VecDeque::new();
        while rows.len() < INSERT_ROWS_MAX {
            let Some(next) = state.waiting.pop_front() else { break };
            if state.reached.get(&next.partition).is_some_and(|reached| reached.purge_from.is_some()) {
                kept.push_back(next);
                continue;
            }
            state.rows -= next.rows.len();
            let Some(reached) = state.reached.get_mut(&next.partition) else { continue };
            if reached.generation != next.generation || next.to <= reached.to {
                continue;
            }
            if next.from != reached.to {
                reached.behind = true;
                continue;
            }
            reached.to = next.to;
            rows.extend(next.rows);
            moved.insert(next.partition, *reached);
        }
        kept.append(&mut state.waiting);
        state.waiting = kept;
        (rows, moved)
    }

    /// How far a partition has been brought, if it is of this process.
    pub(crate) fn reached(&self, partition: Partition) -> Option<Reached> {
        self.state().reached.get(&partition).copied()
    }

    /// Changes how far a partition has been brought, if it still has this owner.
    pub(crate) fn change(&self, partition: Partition, owner: OwnerToken, change: impl FnOnce(&mut Reached)) {
        if let Some(reached) =
            self.state().reached.get_mut(&partition).filter(|reached| reached.owner == owner)
        {
            change(reached);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_core::{Position, Timestamp};
    use weir_metering::event::UsageEvent;

    const OWNER: OwnerToken = [7; 16];

    fn committed(partition: Partition, from: i64) -> CommittedRows {
        let event = UsageEvent {
            tenant: "acme".into(),
            source: "gateway".into(),
            id: from.to_string(),
            event_type: "request".into(),
            time: None,
            data: Vec::new(),
        };
        let position = Position { generation: 1, partition, offset: from };
        let rows = vec![EventRow::of(position, Timestamp::EPOCH, event)];
        CommittedRows { partition, generation: 1, from, to: from + 1, rows }
    }

    fn owned(queue: &ProjectionQueue, partition: Partition, purge_from: Option<i64>) {
        let reached = Reached { generation: 1, owner: OWNER, to: 10, purge_from, behind: false };
        queue.state().reached.insert(partition, reached);
    }

    #[test]
    fn rows_wait_for_the_purge_of_their_partition() {
        let queue = ProjectionQueue::default();
        owned(&queue, 0, Some(10));
        owned(&queue, 1, None);
        for (partition, offset) in [(0, 10), (1, 10), (0, 11)] {
            queue.push(committed(partition, offset));
        }
        let offsets =
            |rows: &[EventRow]| rows.iter().map(|row| (row.partition, row.offset)).collect::<Vec<_>>();
        let (rows, _) = queue.take();
        assert_eq!((offsets(&rows), queue.rows()), (vec![(1, 10)], 2));
        queue.change(0, OWNER, |reached| reached.purge_from = None);
        let (rows, moved) = queue.take();
        assert_eq!((offsets(&rows), queue.rows()), (vec![(0, 10), (0, 11)], 0));
        assert_eq!(moved[&0].to, 12);
    }
}
