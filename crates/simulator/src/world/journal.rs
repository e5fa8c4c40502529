//! The simulated journal, read and written. Records reach a process when the scheduler
//! delivers them, as many as it likes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use weir_backends::StoreError;
use weir_backends::journal::{OutgoingRecord, OwnedRecord, TopicIdentity};
use weir_core::Partition;
use weir_pipeline::world::{JournalReader, JournalWriter, RecordQueue, RecordRange};

use crate::mutation::Mutation;
use crate::servers::Servers;
use crate::stage::{Hand, Server, lock};

/// A partition that a process follows.
pub(crate) struct Feed {
    /// The next offset to be delivered.
    pub(crate) next_offset: i64,
    /// Where to.
    pub(crate) queue: SimQueue,
}

#[derive(Default)]
struct QueueState {
    records: VecDeque<OwnedRecord>,
    changed: bool,
    waker: Option<Waker>,
    silence: bool,
    refusal: Option<String>,
}

/// Records on their way to a worker.
#[derive(Clone, Default)]
pub(crate) struct SimQueue(Arc<Mutex<QueueState>>);

impl SimQueue {
    /// Adds records; `silence` when none came for a second before.
    pub(crate) fn push(&self, records: Vec<OwnedRecord>, silence: bool) {
        let waker = {
            let mut state = lock(&self.0);
            state.records.extend(records);
            state.changed = true;
            state.silence |= silence;
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl RecordQueue for SimQueue {
    fn refusal(&self) -> Option<String> {
        lock(&self.0).refusal.clone()
    }

    fn take_silence(&self) -> bool {
        std::mem::take(&mut lock(&self.0).silence)
    }

    fn held(&self) -> (usize, usize) {
        let count = lock(&self.0).records.len();
        (count, count * 256)
    }

    async fn changed(&self) {
        std::future::poll_fn(|context| {
            let mut state = lock(&self.0);
            if std::mem::take(&mut state.changed) {
                return Poll::Ready(());
            }
            state.waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }

    fn take(&self, records_max: usize, _: usize) -> Vec<OwnedRecord> {
        let mut state = lock(&self.0);
        let count = records_max.min(state.records.len());
        state.records.drain(..count).collect()
    }
}

/// The journal, read by a process.
pub(crate) struct SimReader(pub(crate) Hand);

impl JournalReader for SimReader {
    type Queue = SimQueue;
    type Range = SimRange;

    fn start(&self, partition: Partition, offset: i64) -> SimQueue {
        let queue = SimQueue::default();
        let feed = Feed { next_offset: offset, queue: queue.clone() };
        let mut state = self.0.stage.state();
        state.trace.line(|| format!("    process {} follows {partition} from {offset}", self.0.process));
        state.feeds.insert((self.0.process, partition), feed);
        queue
    }

    fn stop(&self, partition: Partition) {
        self.0.stage.state().feeds.remove(&(self.0.process, partition));
    }

    async fn watermarks(&self, partition: Partition) -> Result<(i64, i64), StoreError> {
        let work = move |servers: &mut Servers| {
            let log = servers.journal.log(partition);
            Ok((log.low, log.high))
        };
        self.0.call(Server::Journal, "watermarks", || partition.to_string(), work).await
    }

    async fn read_one(&self, partition: Partition, offset: i64) -> Result<Option<OwnedRecord>, StoreError> {
        let work = move |servers: &mut Servers| {
            let records = servers.read_range(partition, (offset, offset + 1), 1)?;
            Ok(records.into_iter().next())
        };
        self.0.call(Server::Journal, "read one", || format!("{partition}/{offset}"), work).await
    }

    async fn partitions(&self) -> Result<i32, StoreError> {
        let work = |servers: &mut Servers| Ok(servers.journal.width());
        self.0.call(Server::Journal, "look at the topic", String::new, work).await
    }

    async fn identity(&self) -> Result<TopicIdentity, StoreError> {
        // Topics of a simulation have no ids: the fingerprint alone must find another one.
        self.0
            .call(Server::Journal, "ask which topic it is", String::new, |_| Ok(TopicIdentity::Unnamed))
            .await
    }

    fn range(&self, partition: Partition, from: i64, to: i64) -> SimRange {
        SimRange { hand: self.0.clone(), partition, from, to }
    }
}

/// Records that are read again.
pub(crate) struct SimRange {
    hand: Hand,
    partition: Partition,
    from: i64,
    to: i64,
}

/// Records that are read again at once.
const CHUNK: usize = 40;

impl RecordRange for SimRange {
    async fn next(&mut self) -> Result<Option<Vec<OwnedRecord>>, StoreError> {
        if self.from >= self.to {
            return Ok(None);
        }
        let (partition, from, to) = (self.partition, self.from, self.to);
        let work = move |servers: &mut Servers| servers.read_range(partition, (from, to), CHUNK);
        let detail = || format!("{partition} [{from}, {to})");
        let records = self.hand.call(Server::Journal, "read again", detail, work).await?;
        match records.last() {
            Some(last) => {
                self.from = last.offset + 1;
                Ok(Some(records))
            }
            None => {
                self.from = self.to;
                Ok(None)
            }
        }
    }
}

/// All topics, written by a process.
#[derive(Clone)]
pub(crate) struct SimWriter(pub(crate) Hand);

impl JournalWriter for SimWriter {
    async fn send(&self, record: OutgoingRecord) -> Result<(i32, i64), StoreError> {
        let topic = record.topic.clone();
        let work = move |servers: &mut Servers| {
            if servers.is_of_a_lost_time(&record) {
                let reason = "its process was stopped for the restore".to_owned();
                return Err(StoreError::Transient { attempt: "write a record", reason });
            }
            Ok(servers.append(record))
        };
        let what = if self.0.errand.is_some() { "deliver" } else { "send" };
        self.0.call(Server::Journal, what, || topic, work).await
    }

    async fn send_all(&self, records: Vec<OutgoingRecord>) -> Result<(), StoreError> {
        if records.is_empty() {
            return Ok(());
        }
        let early = self.0.stage.state().mutation == Some(Mutation::ForwardsNotWaitedFor)
            && records.iter().all(|record| record.topic != crate::servers::QUOTA);
        let (count, topic) = (records.len(), records.first().map(|record| record.topic.clone()));
        let work = move |servers: &mut Servers| {
            servers.append_all(records);
            Ok(())
        };
        let hand = self.0.clone();
        let sent = async move {
            let detail = || format!("{count} to {}", topic.unwrap_or_default());
            hand.call(Server::Journal, "send all", detail, work).await
        };
        if early {
            self.0.stage.spawner.spawn(self.0.process, async move {
                let _ = sent.await;
            });
            return Ok(());
        }
        sent.await
    }
}
