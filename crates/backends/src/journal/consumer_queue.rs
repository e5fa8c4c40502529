//! The records of one partition on their way from the consumer's thread to the task that
//! counts them. Bounded by the thread, which pauses the partition; it drops nothing.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::record::OwnedRecord;

/// Records that come after so long a silence may be another topic's of the same name.
const SILENCE: Duration = Duration::from_secs(1);

/// A queue of one partition.
#[derive(Debug, Default)]
pub struct PartitionQueue {
    state: Mutex<QueueState>,
    changed: Notify,
}

#[derive(Debug)]
struct QueueState {
    records: VecDeque<OwnedRecord>,
    bytes: usize,
    refusal: Option<String>,
    pushed_at: Instant,
    silence: bool,
}

impl Default for QueueState {
    fn default() -> Self {
        let (records, pushed_at) = (VecDeque::new(), Instant::now());
        Self { records, bytes: 0, refusal: None, pushed_at, silence: false }
    }
}

impl PartitionQueue {
    fn state(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds records; returns records and bytes that it holds now.
    pub(crate) fn push(&self, records: &mut Vec<OwnedRecord>) -> (usize, usize) {
        let mut state = self.state();
        state.silence |= state.pushed_at.elapsed() >= SILENCE;
        state.pushed_at = Instant::now();
        state.bytes += records.iter().map(OwnedRecord::bytes_about).sum::<usize>();
        state.records.extend(records.drain(..));
        let held = (state.records.len(), state.bytes);
        drop(state);
        self.changed.notify_one();
        held
    }

    /// The partition cannot be counted, in words.
    pub(crate) fn refuse(&self, reason: String) {
        self.state().refusal = Some(reason);
        self.changed.notify_one();
    }

    /// Why the partition cannot be counted, if so.
    pub fn refusal(&self) -> Option<String> {
        self.state().refusal.clone()
    }

    /// Whether records came after a silence of a second or more since this was last asked.
    pub fn take_silence(&self) -> bool {
        std::mem::take(&mut self.state().silence)
    }

    /// How many records and bytes it holds.
    pub fn held(&self) -> (usize, usize) {
        let state = self.state();
        (state.records.len(), state.bytes)
    }

    /// Waits until something was added since this was last waited for.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Takes records from the front, up to a number and about so many bytes, but at least one.
    pub fn take(&self, records_max: usize, bytes_max: usize) -> Vec<OwnedRecord> {
        let mut state = self.state();
        let mut taken = Vec::with_capacity(state.records.len().min(records_max));
        let mut bytes = 0;
        while taken.len() < records_max {
            let Some(next) = state.records.front().map(OwnedRecord::bytes_about) else { break };
            if bytes + next > bytes_max && !taken.is_empty() {
                break;
            }
            bytes += next;
            taken.extend(state.records.pop_front());
        }
        state.bytes = state.bytes.saturating_sub(bytes);
        taken
    }
}
