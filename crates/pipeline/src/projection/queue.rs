//! What waits for the projection: rows of committed batches, bounded, and how far each
//! partition of this process has been brought.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use weir_backends::ledger::partition::{OwnerToken, PartitionRow, Progress};
use weir_backends::projection::EventRow;
use weir_core::{Generation, Partition, Timestamp};

/// Rows that wait at most; further ones are dropped and read again from the journal.
const ROWS_MAX: usize = 600_000;
/// Memory of rows that wait, at most, in bytes.
const BYTES_MAX: usize = 256 << 20;
/// Where ClickHouse has not answered for so long, nothing moves.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);
/// Rows of one insert at most, about.
pub(super) const INSERT_ROWS_MAX: usize = 400_000;
/// Rows that are set aside at most, in all partitions; then the projection waits.
const ASIDE_ROWS_MAX: usize = 100;

/// The accepted events of a committed batch.
#[derive(Debug)]
pub(crate) struct CommittedRows {
    pub(crate) partition: Partition,
    pub(crate) generation: Generation,
    pub(crate) from: i64,
    pub(crate) to: i64,
    pub(crate) rows: Vec<EventRow>,
    /// The memory that they hold, in bytes.
    pub(crate) bytes: usize,
    /// Whether the batch was full: more records may wait behind it.
    pub(crate) full: bool,
}

impl CommittedRows {
    /// The broker's time of its first row, in milliseconds since 1970.
    fn since(&self) -> Option<i64> {
        self.rows.first().map(|row| row.broker_time.millis())
    }
}

/// How far a partition has been brought.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reached {
    pub(crate) generation: Generation,
    pub(crate) owner: OwnerToken,
    /// What rows carry that are written now.
    pub(crate) epoch: i64,
    /// Everything below is in ClickHouse, or in the insert under way.
    pub(crate) to: i64,
    /// Rows at or above of earlier epochs must go before the first insert.
    pub(crate) purge_from: Option<i64>,
    /// Whether something between here and the commits was dropped.
    pub(crate) behind: bool,
    /// About since when the first record that is missing has waited, in milliseconds since 1970.
    pub(crate) behind_since: Option<i64>,
}

impl Reached {
    /// The ledger's row says that the partition is to be projected again, or it was taken anew.
    pub(crate) fn follow(&mut self, row: &PartitionRow) {
        if row.epoch < self.epoch {
            // The ledger went back in time, and the partition is still ours in it.
            self.purge_from = Some(row.projected_to);
        }
        if row.epoch != self.epoch {
            self.epoch = row.epoch;
            if row.projected_to < self.to {
                self.to = row.projected_to;
                self.behind = true;
            }
        }
    }

    fn lacks(&mut self, since: Option<i64>) {
        self.behind = true;
        self.behind_since = self.behind_since.or(since);
    }
}

/// Where an insert brings a partition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moved {
    /// Where a batch begins that the insert holds first.
    pub(crate) from: i64,
    pub(crate) reached: Reached,
}

/// A row that ClickHouse refuses for good.
#[derive(Clone, Debug)]
struct Aside {
    row: EventRow,
    /// Where a batch begins, at or before the row: the ledger notes progress up to here.
    from: i64,
    why: String,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<CommittedRows>,
    rows: usize,
    /// The memory of what waits, in bytes.
    bytes: usize,
    reached: BTreeMap<Partition, Reached>,
    /// Whether ClickHouse takes what it is given, as far as is known.
    moves: bool,
    /// Since when an answer is waited for.
    asking_since: Option<Duration>,
    /// Since when the oldest row that is being inserted has waited.
    writing_since: Option<i64>,
    /// By partition and offset.
    aside: BTreeMap<(Partition, i64), Aside>,
}

impl State {
    /// Whether rows may be added. A batch that is larger than all room has it alone.
    fn has_room(&self, more: &CommittedRows) -> bool {
        let fits = self.rows + more.rows.len() <= ROWS_MAX && self.bytes + more.bytes <= BYTES_MAX;
        fits || self.waiting.is_empty()
    }
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
    pub(crate) fn own(&self, row: &PartitionRow, owner: OwnerToken, behind_since: Option<Timestamp>) {
        let reached = Reached {
            generation: row.generation,
            owner,
            epoch: row.epoch,
            to: row.projected_to,
            purge_from: Some(row.projected_to),
            behind: row.projected_to < row.next_offset,
            behind_since: behind_since.map(Timestamp::millis),
        };
        let mut state = self.state();
        state.aside.retain(|(partition, _), _| *partition != row.partition);
        // Where the ledger went back in time, what still waits was cut in a future that is lost.
        state.waiting.retain(|waiting| waiting.partition != row.partition);
        state.rows = state.waiting.iter().map(|waiting| waiting.rows.len()).sum();
        state.bytes = state.waiting.iter().map(|waiting| waiting.bytes).sum();
        state.reached.insert(row.partition, reached);
    }

    /// A partition was given away.
    pub(crate) fn release(&self, partition: Partition) {
        let mut state = self.state();
        state.aside.retain(|(other, _), _| *other != partition);
        state.reached.remove(&partition);
    }

    /// The partitions of this process.
    pub(crate) fn partitions(&self) -> Vec<Partition> {
        self.state().reached.keys().copied().collect()
    }

    /// Whether it helps to wait before rows are added: there is no room, and what waits is being
    /// written. A full batch, behind which more records wait, also waits while its partition is
    /// being brought up, which would not end as long as counting is as fast.
    pub(crate) fn is_worth_waiting(&self, rows: &CommittedRows, now: Duration) -> bool {
        let state = self.state();
        let hangs = state.asking_since.is_some_and(|since| now.saturating_sub(since) > ANSWER_PATIENCE);
        let behind = || state.reached.get(&rows.partition).is_some_and(|reached| reached.behind);
        (!state.has_room(rows) || rows.full && behind()) && state.moves && !hangs
    }

    /// Notes whether ClickHouse takes what it is given.
    pub(crate) fn moves(&self, moves: bool) {
        self.state().moves = moves;
    }

    /// Notes since when an answer of ClickHouse is waited for.
    pub(crate) fn asking(&self, since: Option<Duration>) {
        self.state().asking_since = since;
    }

    /// Adds rows, or drops them where there is no room.
    pub(crate) fn push(&self, rows: CommittedRows) {
        let mut state = self.state();
        if !state.has_room(&rows) {
            if let Some(reached) = state.reached.get_mut(&rows.partition) {
                reached.lacks(rows.since());
            }
            return;
        }
        state.rows += rows.rows.len();
        state.bytes += rows.bytes;
        state.waiting.push_back(rows);
    }

    /// How many rows wait.
    pub(crate) fn rows(&self) -> usize {
        self.state().rows
    }

    /// Takes rows that follow what was reached, and where that brings their partitions. Rows of
    /// a partition that is still to be purged stay: the purge would take them away again.
    pub(crate) fn take(&self) -> (Vec<EventRow>, BTreeMap<Partition, Moved>) {
        let mut state = self.state();
        let mut rows = Vec::with_capacity(state.rows);
        let mut moved: BTreeMap<Partition, Moved> = BTreeMap::new();
        let mut kept = VecDeque::new();
        while rows.len() < INSERT_ROWS_MAX {
            let Some(next) = state.waiting.pop_front() else { break };
            if state.reached.get(&next.partition).is_some_and(|reached| reached.purge_from.is_some()) {
                kept.push_back(next);
                continue;
            }
            state.rows -= next.rows.len();
            state.bytes -= next.bytes;
            let Some(reached) = state.reached.get_mut(&next.partition) else { continue };
            if reached.generation != next.generation || next.to <= reached.to {
                continue;
            }
            if next.from != reached.to {
                reached.lacks(next.since());
                continue;
            }
            reached.to = next.to;
            let epoch = reached.epoch;
            rows.extend(next.rows.into_iter().map(|mut row| {
                row.epoch = epoch;
                row
            }));
            let from = moved.get(&next.partition).map_or(next.from, |moved| moved.from);
            moved.insert(next.partition, Moved { from, reached: *reached });
        }
        state.writing_since = rows.iter().map(|row| row.broker_time.millis()).min();
        kept.append(&mut state.waiting);
        state.waiting = kept;
        (rows, moved)
    }

    /// What was taken is in ClickHouse, or set aside.
    pub(crate) fn written(&self) {
        self.state().writing_since = None;
    }

    /// The broker's time of the oldest committed record that is not in ClickHouse, about, in
    /// milliseconds since 1970; `None` when nothing waits. Rows set aside do not wait.
    pub(crate) fn waiting_since(&self) -> Option<i64> {
        let state = self.state();
        let behind = state.reached.values().filter(|reached| reached.behind);
        let behind = behind.filter_map(|reached| reached.behind_since);
        let waiting = state.waiting.iter().filter_map(CommittedRows::since);
        state.writing_since.into_iter().chain(waiting).chain(behind).min()
    }

    /// Sets a row aside that ClickHouse refuses; false when there are too many already, or the
    /// partition is no longer of this process.
    pub(crate) fn set_aside(&self, row: &EventRow, from: i64, why: &str) -> bool {
        let mut state = self.state();
        let place = place_of(row);
        if state.aside.len() >= ASIDE_ROWS_MAX && !state.aside.contains_key(&place) {
            return false;
        }
        if state.reached.contains_key(&row.position.partition) {
            state.aside.insert(place, Aside { row: row.detached(), from, why: why.to_owned() });
        }
        true
    }

    /// The rows that are set aside, and why, in words.
    pub(crate) fn aside(&self) -> Vec<(EventRow, String)> {
        let words = |aside: &Aside| {
            let (partition, offset) = place_of(&aside.row);
            format!("partition {partition}, offset {offset} is counted, but not projected: {}", aside.why)
        };
        self.state().aside.values().map(|aside| (aside.row.clone(), words(aside))).collect()
    }

    /// A row that was set aside is in ClickHouse now.
    pub(crate) fn take_back(&self, row: &EventRow) {
        self.state().aside.remove(&place_of(row));
    }

    /// What the ledger may note of a partition: never more than what precedes a row set aside.
    pub(crate) fn progress(&self, partition: Partition, reached: Reached) -> Progress {
        let state = self.state();
        let first = state.aside.range((partition, i64::MIN)..=(partition, i64::MAX)).next();
        let to = first.map_or(reached.to, |(_, aside)| reached.to.min(aside.from));
        Progress { to, ..whole(partition, reached) }
    }

    /// How far each partition of this process has been brought.
    pub(crate) fn mine(&self) -> Vec<Progress> {
        self.state().reached.iter().map(|(partition, reached)| whole(*partition, *reached)).collect()
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

fn place_of(row: &EventRow) -> (Partition, i64) {
    (row.position.partition, row.position.offset)
}

/// Rows that were set aside left out of account.
pub(crate) fn whole(partition: Partition, reached: Reached) -> Progress {
    let Reached { generation, owner, epoch, to, .. } = reached;
    Progress { partition, generation, owner, epoch, to }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_core::Position;
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
        let rows = vec![EventRow::alone(position, Timestamp::EPOCH, &event)];
        CommittedRows { partition, generation: 1, from, to: from + 1, rows, bytes: 100, full: false }
    }

    fn owned(queue: &ProjectionQueue, partition: Partition, purge_from: Option<i64>) {
        let reached = Reached {
            generation: 1,
            owner: OWNER,
            epoch: 3,
            to: 10,
            purge_from,
            behind: false,
            behind_since: None,
        };
        queue.state().reached.insert(partition, reached);
    }

    /// Only in front of a projection that moves, and only where there is no room.
    #[test]
    fn counting_waits_for_room_only_where_it_comes() {
        let queue = ProjectionQueue::default();
        owned(&queue, 0, None);
        let (now, later) = (Duration::from_secs(60), Duration::from_secs(66));
        let large = |from| CommittedRows { bytes: BYTES_MAX / 2 + 1, ..committed(0, from) };
        queue.push(large(10));
        assert!(!queue.is_worth_waiting(&large(11), now), "the writer has not begun");
        queue.moves(true);
        assert!(!queue.is_worth_waiting(&committed(0, 11), now), "there is room");
        assert!(queue.is_worth_waiting(&large(11), now));
        queue.asking(Some(now));
        assert!(queue.is_worth_waiting(&large(11), now));
        assert!(!queue.is_worth_waiting(&large(11), later), "it does not answer");
        queue.asking(None);
        queue.moves(false);
        assert!(!queue.is_worth_waiting(&large(11), now), "ClickHouse refuses or does not answer");
        queue.push(large(11));
        assert_eq!((queue.rows(), queue.reached(0).unwrap().behind), (1, true), "dropped, to be read again");
        queue.moves(true);
        let live = committed(0, 12);
        queue.take();
        let full = CommittedRows { full: true, ..committed(0, 12) };
        assert!(queue.is_worth_waiting(&full, now), "what was dropped is being read again");
        assert!(!queue.is_worth_waiting(&live, now), "it does not hold up who is up to date");
        queue.push(large(12));
        assert_eq!(queue.rows(), 1);
    }

    #[test]
    fn rows_wait_for_the_purge_of_their_partition() {
        let queue = ProjectionQueue::default();
        owned(&queue, 0, Some(10));
        owned(&queue, 1, None);
        for (partition, offset) in [(0, 10), (1, 10), (0, 11)] {
            queue.push(committed(partition, offset));
        }
        let offsets = |rows: &[EventRow]| rows.iter().map(place_of).collect::<Vec<_>>();
        let (rows, _) = queue.take();
        assert_eq!((offsets(&rows), queue.rows()), (vec![(1, 10)], 2));
        assert_eq!(rows[0].epoch, 3);
        queue.change(0, OWNER, |reached| reached.purge_from = None);
        let (rows, moved) = queue.take();
        assert_eq!((offsets(&rows), queue.rows()), (vec![(0, 10), (0, 11)], 0));
        assert_eq!((moved[&0].from, moved[&0].reached.to), (10, 12));
    }

    #[test]
    fn the_ledger_notes_nothing_beyond_a_row_set_aside() {
        let queue = ProjectionQueue::default();
        owned(&queue, 0, None);
        (10..13).for_each(|offset| queue.push(committed(0, offset)));
        assert_eq!(queue.waiting_since(), Some(0));
        let (rows, moved) = queue.take();
        let reached = moved[&0].reached;
        assert!(queue.set_aside(&rows[1], 11, "no"));
        assert_eq!(queue.progress(0, reached).to, 11);
        assert!(queue.aside()[0].1.contains("offset 11"));
        assert_eq!(queue.waiting_since(), Some(0));
        queue.written();
        assert_eq!(queue.waiting_since(), None);
        queue.take_back(&rows[1]);
        assert_eq!(queue.progress(0, reached).to, 13);
    }
}
