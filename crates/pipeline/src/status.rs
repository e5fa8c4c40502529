//! How counting goes, for health checks and for people: one line a partition, one a store.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use weir_backends::settings::{self, Finding};
use weir_core::Partition;

use crate::progress::{Step, Turn};

/// What a partition is at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state", content = "reason")]
pub enum PartitionState {
    /// Being taken: memory is rebuilt.
    #[default]
    Starting,
    /// Counting.
    Counting,
    /// Waiting for something that passes, in words.
    Waiting(String),
    /// Held, in words: someone must look.
    Held(String),
    /// Not counted, in words with the way out.
    Refused(String),
}

/// One partition of this process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PartitionStatus {
    /// What it is at.
    #[serde(flatten)]
    pub state: PartitionState,
    /// The first offset that is not committed.
    pub next_offset: i64,
    /// The first offset that the topic does not hold yet.
    pub high_watermark: i64,
    /// What its worker is at.
    pub step: Step,
    /// How many steps its worker has begun.
    pub steps: u64,
    /// How often something of what precedes counting was done: batches folded, ids read again.
    #[serde(skip)]
    pub prepared: u64,
    /// The last error, if any, be it over or not.
    pub last_error: Option<String>,
}

impl PartitionStatus {
    /// Records that are not committed yet.
    pub fn lag_records(&self) -> i64 {
        (self.high_watermark - self.next_offset).max(0)
    }
}

/// What is wrong with archiving, in words; nothing where all is well or there is no archive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ArchiveTrouble {
    /// Why partitions are not archived at the moment.
    pub trouble: Vec<String>,
    /// What Kafka may soon delete, or has deleted, before it is archived.
    pub endangered: Vec<String>,
}

/// How counting goes.
#[derive(Debug, Default)]
pub struct PipelineStatus {
    inner: Mutex<StatusSnapshot>,
}

/// A copy of the status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StatusSnapshot {
    /// The partitions of this process.
    pub partitions: BTreeMap<Partition, PartitionStatus>,
    /// Whether the group has given partitions at least once (or none, knowingly).
    pub joined: bool,
    /// What is wrong with reading the journal, if anything.
    pub journal: Option<String>,
    /// What is wrong with the projection, if anything; counting goes on.
    pub projection: Option<String>,
    /// Rows that ClickHouse refuses for good, in words; everything else is projected.
    pub set_aside: Vec<String>,
    /// Why the usage topic cannot be counted any more, with the way out.
    pub topic: Option<String>,
    /// Settings of Kafka and Postgres that break a promise, or may; `None` until they are looked at.
    pub settings: Option<Vec<Finding>>,
    /// What is wrong with folding usage, if anything.
    pub fold: Option<String>,
    /// What folding is at.
    pub folding: Turn,
    /// What the projection is at.
    pub projecting: Turn,
    /// The partitions where records wait and nothing moves: which step, since when.
    pub stalled: BTreeMap<Partition, String>,
    /// What folding has been at for too long.
    pub folding_stalled: Option<String>,
    /// What the projection has been at for too long; counting goes on.
    pub projecting_stalled: Option<String>,
    /// How archiving goes; counting does not wait for it.
    pub archive: ArchiveTrouble,
}

impl PipelineStatus {
    fn inner(&self) -> MutexGuard<'_, StatusSnapshot> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A copy.
    pub fn snapshot(&self) -> StatusSnapshot {
        self.inner().clone()
    }

    /// Everything that keeps this process from counting, in words; empty when it counts.
    pub fn problems(&self) -> Vec<String> {
        let inner = self.inner();
        let mut problems: Vec<String> = inner.journal.iter().chain(&inner.fold).cloned().collect();
        if !inner.joined {
            problems.push("the consumer group has not answered yet".into());
        }
        for (partition, status) in &inner.partitions {
            match &status.state {
                PartitionState::Starting => problems.push(format!("partition {partition} is starting")),
                PartitionState::Counting => {}
                PartitionState::Waiting(reason)
                | PartitionState::Held(reason)
                | PartitionState::Refused(reason) => {
                    problems.push(format!("partition {partition}: {reason}"))
                }
            }
        }
        problems
    }

    /// Why nothing may be counted: the topic is another one, or a server's settings would break a
    /// promise.
    pub(crate) fn refusal(&self) -> Option<String> {
        let inner = self.inner();
        inner.topic.clone().or_else(|| settings::refusal(inner.settings.as_deref()?))
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut StatusSnapshot)) {
        change(&mut self.inner());
    }

    pub(crate) fn partition(&self, partition: Partition, change: impl FnOnce(&mut PartitionStatus)) {
        change(self.inner().partitions.entry(partition).or_default());
    }

    /// Notes what a partition's worker is at, if it is of this process.
    pub(crate) fn step(&self, partition: Partition, step: Step) {
        if let Some(status) = self.inner().partitions.get_mut(&partition) {
            status.step = step;
            status.steps = status.steps.wrapping_add(1);
        }
    }

    /// Notes that a part of what precedes counting a partition was done.
    pub(crate) fn prepared(&self, partition: Partition) {
        if let Some(status) = self.inner().partitions.get_mut(&partition) {
            status.prepared = status.prepared.wrapping_add(1);
        }
    }

    /// Notes what folding is at.
    pub(crate) fn folding(&self, work: Option<(&'static str, Option<Partition>)>) {
        self.inner().folding.begin(work);
    }

    /// Notes what the projection is at.
    pub(crate) fn projecting(&self, work: Option<(&'static str, Option<Partition>)>) {
        self.inner().projecting.begin(work);
    }

    /// Notes a state; true when it is another one than before.
    pub(crate) fn state(&self, partition: Partition, state: PartitionState) -> bool {
        let mut inner = self.inner();
        let status = inner.partitions.entry(partition).or_default();
        if let PartitionState::Waiting(reason)
        | PartitionState::Held(reason)
        | PartitionState::Refused(reason) = &state
        {
            status.last_error = Some(reason.clone());
        }
        std::mem::replace(&mut status.state, state.clone()) != state
    }
}
