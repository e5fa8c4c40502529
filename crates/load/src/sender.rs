//! Puts records into the usage topic one by one: events of which one wants to know when each was
//! acknowledged, and bytes that are no events at all. Walking a stream is [`crate::kafka`]'s.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, Producer, ProducerContext};

use crate::avro::{put_tenant, write_avro};
use crate::error::LoadError;
use crate::kafka::{ToKafka, client, hand_over, kafka, partitions_of};
use crate::partition::home_of;
use crate::stream::Event;

/// How long Kafka may take to acknowledge.
const PATIENCE: Duration = Duration::from_secs(120);

const ASKED_FOR: Duration = Duration::from_secs(20);
/// How long one poll takes: with a millisecond, polling took an eighth of a core.
const POLL: Duration = Duration::from_millis(5);

/// A record that is in Kafka.
#[derive(Clone, Copy, Debug)]
pub struct Acknowledged {
    /// When its sender knew.
    pub at: Instant,
    /// Its partition.
    pub partition: i32,
    /// Where it stands there.
    pub offset: i64,
}

/// A producer of its own.
pub struct Sender {
    producer: BaseProducer<Answers>,
    topic: String,
    partitions: u32,
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sender({}, {} partitions)", self.topic, self.partitions)
    }
}

impl Sender {
    /// Connects. `linger_ms` is how long a record may wait for others: 0 for the soonest answer.
    ///
    /// # Errors
    /// [`LoadError::Kafka`].
    pub fn connect(to: &ToKafka, linger_ms: u32) -> Result<Self, LoadError> {
        let mut config = client(to);
        config.set("linger.ms", linger_ms.to_string());
        let made = config.create_with_context(Answers::default());
        let producer = made.map_err(kafka("make a Kafka producer"))?;
        let partitions = partitions_of(&producer, &to.topic)?;
        Ok(Self { producer, topic: to.topic.clone(), partitions })
    }

    /// The partition of a tenant.
    pub fn home(&self, tenant: u32) -> u32 {
        let mut key = Vec::with_capacity(16);
        put_tenant(&mut key, tenant);
        home_of(&key, self.partitions)
    }

    /// Sends an event and waits until it is acknowledged.
    ///
    /// # Errors
    /// [`LoadError::Kafka`], [`LoadError::Unacknowledged`].
    pub fn send(&self, event: &Event) -> Result<Acknowledged, LoadError> {
        self.put(event)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            // It returns only when the time is over; what it hears is stamped at once.
            self.producer.poll(POLL);
            let mut told = self.producer.context().told();
            match told.pop_front() {
                Some(Ok(acknowledged)) => return Ok(acknowledged),
                Some(Err(first)) => return Err(LoadError::Unacknowledged { count: 1, first }),
                None if Instant::now() > deadline => {
                    let first = format!("nothing was heard for {} s", PATIENCE.as_secs());
                    return Err(LoadError::Unacknowledged { count: 1, first });
                }
                None => {}
            }
        }
    }

    /// Hands an event over, and waits for nothing.
    ///
    /// # Errors
    /// [`LoadError::Kafka`].
    pub fn put(&self, event: &Event) -> Result<(), LoadError> {
        let (mut key, mut value) = (Vec::with_capacity(16), Vec::with_capacity(256));
        put_tenant(&mut key, event.tenant);
        write_avro(event, &mut value);
        self.put_raw(event.tenant, &value)
    }

    /// Hands any bytes over, under a tenant's key.
    ///
    /// # Errors
    /// [`LoadError::Kafka`].
    pub fn put_raw(&self, tenant: u32, value: &[u8]) -> Result<(), LoadError> {
        let mut key = Vec::with_capacity(16);
        put_tenant(&mut key, tenant);
        let home = i32::try_from(home_of(&key, self.partitions)).unwrap_or(0);
        hand_over(&self.producer, &self.topic, home, &key, value)
    }

    /// How many records the topic holds, by its partitions' ends.
    ///
    /// # Errors
    /// [`LoadError::Kafka`].
    pub fn records(&self) -> Result<u64, LoadError> {
        let mut records = 0;
        for partition in 0..self.partitions {
            let partition = i32::try_from(partition).unwrap_or(i32::MAX);
            let asked = self.producer.client().fetch_watermarks(&self.topic, partition, ASKED_FOR);
            let (low, high) = asked.map_err(kafka("ask how far the topic reaches"))?;
            records += u64::try_from(high - low).unwrap_or(0);
        }
        Ok(records)
    }

    /// Waits until everything that was handed over is acknowledged; how many were since the last
    /// time.
    ///
    /// # Errors
    /// [`LoadError::Kafka`], [`LoadError::Unacknowledged`] when a record was refused.
    pub fn flush(&self) -> Result<u64, LoadError> {
        self.producer.flush(PATIENCE).map_err(kafka("wait for Kafka's acknowledgements"))?;
        self.producer.poll(Duration::ZERO);
        let told = std::mem::take(&mut *self.producer.context().told());
        let (mut acknowledged, mut refused, mut first) = (0, 0, None);
        for one in told {
            match one {
                Ok(_) => acknowledged += 1,
                Err(why) => {
                    refused += 1;
                    first.get_or_insert(why);
                }
            }
        }
        match first {
            Some(first) => Err(LoadError::Unacknowledged { count: refused, first }),
            None => Ok(acknowledged),
        }
    }
}

/// What Kafka has said of each record, in its order.
#[derive(Default)]
struct Answers(Mutex<VecDeque<Result<Acknowledged, String>>>);

impl Answers {
    fn told(&self) -> std::sync::MutexGuard<'_, VecDeque<Result<Acknowledged, String>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Answers {}

impl ProducerContext for Answers {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let said = match result {
            Ok(message) => Ok(Acknowledged {
                at: Instant::now(),
                partition: message.partition(),
                offset: message.offset(),
            }),
            Err((error, _)) => Err(error.to_string()),
        };
        self.told().push_back(said);
    }
}
