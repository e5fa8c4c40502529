//! The journal's readers. One client is only a member of the group: it learns which
//! partitions this process has, answers every rebalance at once and fetches nothing, so
//! nothing that counting waits for can cost the membership. The other fetches the
//! partitions that were taken, from exact offsets. Both live on one thread of their own. A
//! third reads single records again, to compare them with what was counted (invariant 2).
//!
//! Offsets are never committed to Kafka; the ledger has them. A partition that another
//! process took meanwhile is told by the ledger, which refuses the commit (invariant 8).

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use weir_core::Partition;

use super::bulk::{Block, BulkReader, RawMessage};
use super::consumer_queue::PartitionQueue;
use super::producer::client_config;
use super::record::{NotBrokerTime, OwnedRecord};
use crate::StoreError;
use crate::config::KafkaConfig;

/// Records that a partition's queue holds before the partition is paused.
const QUEUE_RECORDS_MAX: usize = 60_000;
/// Bytes that a partition's queue holds before the partition is paused.
const QUEUE_BYTES_MAX: usize = 48 * 1_048_576;
/// Records that are copied before the group and the commands are looked at again.
const BURST_RECORDS: usize = 2_000;
/// How long one poll waits for records.
const POLL: Duration = Duration::from_millis(10);
/// The same trouble is told once in this time.
const TROUBLE_EVERY: Duration = Duration::from_secs(5);

/// What the group and the broker say.
#[derive(Debug)]
pub enum JournalEvent {
    /// These partitions are this process's from now on.
    Assigned(Vec<Partition>),
    /// These no longer are.
    Revoked(Vec<Partition>),
    /// Fetching fails at the moment, or for good when the error is permanent.
    Trouble(StoreError),
}

enum Command {
    Start { partition: Partition, offset: i64, queue: Arc<PartitionQueue> },
    Stop(Partition),
}

/// The handle of the consumer's thread; dropping it leaves the group.
pub struct JournalConsumer {
    commands: Sender<Command>,
    reader: Arc<BaseConsumer>,
    probe: Arc<Mutex<BaseConsumer>>,
    topic: String,
}

impl std::fmt::Debug for JournalConsumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "JournalConsumer({})", self.topic)
    }
}

/// Notes what the group says, for the thread to act on.
struct MemberContext {
    said: Mutex<Vec<JournalEvent>>,
}

impl ClientContext for MemberContext {}

impl ConsumerContext for MemberContext {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, error: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let partitions: Vec<Partition> = list.elements().iter().map(|one| one.partition()).collect();
        // The member fetches nothing: it answers with empty lists, at once.
        let nothing = TopicPartitionList::new();
        let (answer, event) = match error {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                (consumer.incremental_assign(&nothing), JournalEvent::Assigned(partitions))
            }
            _ => (consumer.incremental_unassign(&nothing), JournalEvent::Revoked(partitions)),
        };
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.push(event);
        if let Err(error) = answer {
            said.push(JournalEvent::Trouble(StoreError::kafka("answer a rebalance", &error)));
        }
    }
}

/// Settings of a client that fetches exact offsets and belongs to no group.
pub(crate) fn reader_config(config: &KafkaConfig, role: &str) -> ClientConfig {
    let mut client = client_config(config, role);
    client
        .set("group.id", format!("{}.{role}", config.group))
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("isolation.level", "read_committed")
        .set("check.crcs", "true")
        .set("fetch.queue.backoff.ms", "5")
        .set("fetch.wait.max.ms", "50")
        .set("queued.min.messages", "50000")
        .set("queued.max.messages.kbytes", "32768")
        .set("fetch.message.max.bytes", "2097152");
    client
}

impl JournalConsumer {
    /// Joins the group and begins to listen. Nothing is fetched until [`JournalConsumer::start`].
    pub fn join(config: &KafkaConfig) -> Result<(Self, UnboundedReceiver<JournalEvent>), StoreError> {
        const ATTEMPT: &str = "join the consumer group";
        let failed = |error| StoreError::kafka(ATTEMPT, &error);
        let mut member_config = client_config(config, "member");
        member_config
            .set("group.id", &config.group)
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "error")
            .set("session.timeout.ms", "10000")
            .set("heartbeat.interval.ms", "1000");
        if let Some(name) = &config.group_instance_id {
            member_config.set("group.instance.id", name);
        }
        let context = MemberContext { said: Mutex::new(Vec::new()) };
        let member: BaseConsumer<MemberContext> =
            member_config.create_with_context(context).map_err(failed)?;
        member.subscribe(&[&config.usage_topic]).map_err(failed)?;
        let reader: BaseConsumer = reader_config(config, "reader").create().map_err(failed)?;
        let reader = Arc::new(reader);
        let mut probe_config = reader_config(config, "probe");
        probe_config
            .set("enable.partition.eof", "true")
            .set("queued.min.messages", "1")
            .set("fetch.message.max.bytes", "65536");
        let probe = Arc::new(Mutex::new(probe_config.create().map_err(failed)?));
        let (commands, received) = channel();
        let (events, told) = unbounded_channel();
        let thread = ReaderThread {
            member,
            reader: Arc::clone(&reader),
            topic: config.usage_topic.clone(),
            commands: received,
            events,
            taken: HashMap::new(),
            last_trouble: None,
        };
        std::thread::Builder::new()
            .name("weir-journal".into())
            .spawn(move || thread.run())
            .map_err(|error| StoreError::corrupt(ATTEMPT, error))?;
        Ok((Self { commands, reader, probe, topic: config.usage_topic.clone() }, told))
    }

    /// Fetches a partition from `offset` on, into a new queue.
    pub fn start(&self, partition: Partition, offset: i64) -> Arc<PartitionQueue> {
        let queue = Arc::new(PartitionQueue::default());
        let command = Command::Start { partition, offset, queue: Arc::clone(&queue) };
        if self.commands.send(command).is_err() {
            queue.refuse("the thread that reads the journal has ended".into());
        }
        queue
    }

    /// Fetches a partition no longer.
    pub fn stop(&self, partition: Partition) {
        // A thread that has ended fetches nothing.
        let _ = self.commands.send(Command::Stop(partition));
    }

    /// The first offset that a partition holds, and the one after the last that may be read.
    pub async fn watermarks(&self, partition: Partition) -> Result<(i64, i64), StoreError> {
        const ATTEMPT: &str = "ask how far a partition reaches";
        let (reader, topic) = (Arc::clone(&self.reader), self.topic.clone());
        let asked = tokio::task::spawn_blocking(move || {
            reader.fetch_watermarks(&topic, partition, Duration::from_secs(5))
        });
        let answer = asked.await.map_err(|error| StoreError::corrupt(ATTEMPT, error))?;
        answer.map_err(|error| StoreError::kafka(ATTEMPT, &error))
    }

    /// The record at exactly `offset`, as the topic of this name holds it now; `None` when it
    /// holds none there.
    pub async fn read_one(
        &self,
        partition: Partition,
        offset: i64,
    ) -> Result<Option<OwnedRecord>, StoreError> {
        let (probe, topic) = (Arc::clone(&self.probe), self.topic.clone());
        let asked = tokio::task::spawn_blocking(move || {
            let probe = probe.lock().unwrap_or_else(PoisonError::into_inner);
            let read = probe_one(&probe, &topic, partition, offset);
            probe.unassign().map_err(|error| StoreError::kafka(PROBE, &error))?;
            read
        });
        asked.await.map_err(|error| StoreError::corrupt(PROBE, error))?
    }
}

const PROBE: &str = "read the last counted record again";
/// How long a record is waited for.
const PROBE_PATIENCE: Duration = Duration::from_secs(5);

fn probe_one(
    probe: &BaseConsumer,
    topic: &str,
    partition: Partition,
    offset: i64,
) -> Result<Option<OwnedRecord>, StoreError> {
    let failed = |error: KafkaError| StoreError::kafka(PROBE, &error);
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Offset(offset)).map_err(failed)?;
    probe.assign(&list).map_err(failed)?;
    let began = Instant::now();
    while began.elapsed() < PROBE_PATIENCE {
        match probe.poll(Duration::from_millis(100)) {
            Some(Ok(message)) if message.offset() == offset => {
                let record = RawMessage::of(&message).copy(&mut Block::default());
                return record.map(Some).map_err(|error| StoreError::corrupt(PROBE, error));
            }
            Some(Ok(_) | Err(KafkaError::PartitionEOF(_))) => return Ok(None),
            Some(Err(KafkaError::MessageConsumption(
                RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange,
            ))) => return Ok(None),
            // The driver gets over the rest by itself, or the time is up.
            Some(Err(_)) | None => {}
        }
    }
    let reason = format!("no answer within {PROBE_PATIENCE:?}");
    Err(StoreError::Transient { attempt: PROBE, reason })
}

/// A partition that is being fetched.
struct Taken {
    queue: Arc<PartitionQueue>,
    next_offset: i64,
    arrived: Vec<OwnedRecord>,
    /// Where what arrived is copied to.
    block: Block,
    paused: bool,
    assigned: bool,
    /// Whether something went wrong since it was assigned. The driver counts an error as a
    /// message that was consumed, so what it would go on from may lie behind a record that never
    /// came.
    failed: bool,
}

impl Taken {
    /// A message has come; one before the offset that is waited for is of an earlier assignment.
    fn arrive(&mut self, offset: i64, copy: impl FnOnce(&mut Block) -> Result<OwnedRecord, NotBrokerTime>) {
        if offset < self.next_offset {
            return;
        }
        match copy(&mut self.block) {
            Ok(record) => {
                self.next_offset = record.offset + 1;
                self.arrived.push(record);
            }
            Err(error) => self.queue.refuse(error.to_string()),
        }
    }
}

struct ReaderThread {
    member: BaseConsumer<MemberContext>,
    reader: Arc<BaseConsumer>,
    topic: String,
    commands: Receiver<Command>,
    events: UnboundedSender<JournalEvent>,
    taken: HashMap<Partition, Taken>,
    last_trouble: Option<Instant>,
}

impl ReaderThread {
    fn run(mut self) {
        let reader = Arc::clone(&self.reader);
        let mut bulk = BulkReader::new(&reader, BURST_RECORDS);
        while self.obey() {
            self.listen();
            self.assign_pending();
            self.fetch(&mut bulk);
            self.resume_drained();
        }
        tracing::debug!("the journal's reader ends");
        self.member.unsubscribe();
        let _ = self.reader.unassign();
    }

    /// Carries out what was asked; false when nobody can ask any more.
    fn obey(&mut self) -> bool {
        loop {
            match self.commands.try_recv() {
                Ok(Command::Start { partition, offset, queue }) => {
                    self.unassign(partition);
                    let taken = Taken {
                        queue,
                        next_offset: offset,
                        arrived: vec![],
                        block: Block::default(),
                        paused: false,
                        assigned: false,
                        failed: false,
                    };
                    self.taken.insert(partition, taken);
                }
                Ok(Command::Stop(partition)) => self.unassign(partition),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn unassign(&mut self, partition: Partition) {
        let Some(taken) = self.taken.remove(&partition) else { return };
        let list = self.list(partition);
        if taken.assigned
            && let Err(error) = self.reader.incremental_unassign(&list)
        {
            self.trouble(StoreError::kafka("stop fetching a partition", &error));
        }
        // The driver remembers a pause beyond the assignment: the next one would fetch nothing.
        if taken.paused
            && let Err(error) = self.reader.resume(&list)
        {
            self.trouble(StoreError::kafka("end the pause of a partition", &error));
        }
    }

    fn list(&self, partition: Partition) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.topic, partition);
        list
    }

    /// What the group has said since.
    fn listen(&mut self) {
        // All of it: while brokers are away a dozen errors a second queue up before the next
        // assignment.
        for _ in 0..BURST_RECORDS {
            let Some(polled) = self.member.poll(Duration::ZERO) else { break };
            if let Err(error) = polled {
                let error = StoreError::kafka("take part in the consumer group", &error);
                trouble(&mut self.last_trouble, &self.events, error);
            }
        }
        let said =
            std::mem::take(&mut *self.member.context().said.lock().unwrap_or_else(PoisonError::into_inner));
        for event in said {
            // Nobody listens any more when the process is ending.
            let _ = self.events.send(event);
        }
    }

    fn assign_pending(&mut self) {
        let mut failed = None;
        for (partition, taken) in self.taken.iter_mut().filter(|(_, taken)| !taken.assigned) {
            let mut list = TopicPartitionList::new();
            let added = list.add_partition_offset(&self.topic, *partition, Offset::Offset(taken.next_offset));
            match added.and_then(|()| self.reader.incremental_assign(&list)) {
                Ok(()) => (taken.assigned, taken.failed) = (true, false),
                Err(error) => failed = Some(error),
            }
        }
        if let Some(error) = failed {
            self.trouble(StoreError::kafka("fetch a partition", &error));
        }
    }

    /// Waits for a message, and takes what has come with it. What concerns the whole client is
    /// told only by its own poll.
    fn fetch(&mut self, bulk: &mut BulkReader<'_>) {
        match self.reader.poll(POLL) {
            None => {}
            Some(Ok(message)) => {
                if let Some(taken) = self.taken.get_mut(&message.partition()) {
                    taken.arrive(message.offset(), |block| RawMessage::of(&message).copy(block));
                }
                self.fetch_many(bulk);
            }
            Some(Err(error)) => self.fetching_failed(error),
        }
        self.hand_over();
    }

    fn fetch_many(&mut self, bulk: &mut BulkReader<'_>) {
        for message in bulk.read(Duration::ZERO).iter() {
            match message {
                Ok(message) => {
                    if let Some(taken) = self.taken.get_mut(&message.partition()) {
                        taken.arrive(message.offset(), |block| message.copy(block));
                    }
                }
                Err(error) => self.fetching_failed(error),
            }
        }
    }

    fn fetching_failed(&mut self, error: KafkaError) {
        // Errors do not say whose they are.
        self.taken.values_mut().for_each(|taken| taken.failed = true);
        if let KafkaError::MessageConsumptionFatal(code) = error {
            let reason = code.to_string();
            let attempt = "read the journal";
            let _ = self.events.send(JournalEvent::Trouble(StoreError::Permanent { attempt, reason }));
            return;
        }
        self.trouble(StoreError::kafka("read the journal", &error));
    }

    fn hand_over(&mut self) {
        for (partition, taken) in &mut self.taken {
            if taken.arrived.is_empty() {
                continue;
            }
            let (records, bytes) = taken.queue.push(&mut taken.arrived);
            if !taken.paused && (records > QUEUE_RECORDS_MAX || bytes > QUEUE_BYTES_MAX) {
                let mut list = TopicPartitionList::new();
                list.add_partition(&self.topic, *partition);
                taken.paused = self.reader.pause(&list).is_ok();
            }
        }
    }

    /// Goes on with what is paused and drained; after an error from the offset that is waited
    /// for, whatever the driver takes for its own.
    fn resume_drained(&mut self) {
        for (partition, taken) in self.taken.iter_mut().filter(|(_, taken)| taken.paused) {
            let (records, bytes) = taken.queue.held();
            if records < QUEUE_RECORDS_MAX / 2 && bytes < QUEUE_BYTES_MAX / 2 {
                let mut list = TopicPartitionList::new();
                list.add_partition(&self.topic, *partition);
                if taken.failed && taken.assigned {
                    // `assign_pending` assigns it again before anything is read.
                    taken.assigned = self.reader.incremental_unassign(&list).is_err();
                    if taken.assigned {
                        continue;
                    }
                }
                taken.paused = self.reader.resume(&list).is_err();
            }
        }
    }

    fn trouble(&mut self, error: StoreError) {
        trouble(&mut self.last_trouble, &self.events, error);
    }
}

fn trouble(last: &mut Option<Instant>, events: &UnboundedSender<JournalEvent>, error: StoreError) {
    if last.is_none_or(|at| at.elapsed() > TROUBLE_EVERY) || !error.is_transient() {
        *last = Some(Instant::now());
        let _ = events.send(JournalEvent::Trouble(error));
    }
}
