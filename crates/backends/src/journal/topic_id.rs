//! Kafka's id of the usage topic (KIP-516): a topic that was deleted and made again has the
//! same name and another id. The driver's safe layer does not tell it, so this asks its C
//! library.

use std::ffi::{CStr, CString};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::admin::AdminClient;
use rdkafka::bindings as c;
use rdkafka::client::DefaultClientContext;

use super::held::Held;
use super::producer::client_config;
use crate::StoreError;
use crate::config::KafkaConfig;

const ATTEMPT: &str = "ask for the usage topic's id";
const TIMEOUT: Duration = Duration::from_secs(5);
/// What a broker says that has no ids: sixteen zero bytes, in base 64.
const NO_ID: &str = "AAAAAAAAAAAAAAAAAAAAAA";

/// What Kafka says of the usage topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicIdentity {
    /// There is no topic of that name.
    Missing,
    /// It is there; its brokers give topics no ids.
    Unnamed,
    /// Its id, in base 64.
    Id(String),
}

/// Asks for the usage topic's id. Cheap to clone.
#[derive(Clone)]
pub struct TopicIds {
    client: Arc<AdminClient<DefaultClientContext>>,
    topic: CString,
    /// Whether the last question was not answered.
    unanswered: Arc<AtomicBool>,
}

impl std::fmt::Debug for TopicIds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TopicIds({:?})", self.topic)
    }
}

impl TopicIds {
    /// A client that has not asked anything yet.
    pub fn connect(config: &KafkaConfig) -> Result<Self, StoreError> {
        let client =
            client_config(config, "topic-id").create().map_err(|error| StoreError::kafka(ATTEMPT, &error))?;
        let topic =
            CString::new(config.usage_topic.as_str()).map_err(|error| StoreError::corrupt(ATTEMPT, error))?;
        Ok(Self { client: Arc::new(client), topic, unanswered: Arc::default() })
    }

    /// What Kafka says now.
    pub async fn ask(&self) -> Result<TopicIdentity, StoreError> {
        let this = self.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let answer = this.reach().and_then(|()| describe(&this.client, &this.topic));
            this.unanswered.store(answer.is_err(), Ordering::Relaxed);
            answer
        });
        asked.await.map_err(|error| StoreError::corrupt(ATTEMPT, error))?
    }
}

impl TopicIds {
    /// Waits for a broker. Without one the driver's question goes round and round between two of
    /// its threads and takes both processors, so it is not asked again before one answers.
    fn reach(&self) -> Result<(), StoreError> {
        if !self.unanswered.load(Ordering::Relaxed) {
            return Ok(());
        }
        let reached = self.client.inner().fetch_metadata(None, TIMEOUT);
        reached.map(|_| ()).map_err(|error| StoreError::kafka(ATTEMPT, &error))
    }
}

fn describe(client: &AdminClient<DefaultClientContext>, topic: &CStr) -> Result<TopicIdentity, StoreError> {
    let handle = client.inner().native_ptr();
    let milliseconds = i32::try_from(TIMEOUT.as_millis()).unwrap_or(i32::MAX);
    let mut names = [topic.as_ptr()];
    // SAFETY: `handle` is a live client for as long as `client` is borrowed. The queue, the
    // options and the collection are made here and given back by `Held` when this function
    // ends, the options and the collection after the call that copies them. `names` holds one
    // string that ends with a zero byte and outlives the call that copies it.
    let (queue, options, topics) = unsafe {
        let kind = c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
        (
            Held { pointer: c::rd_kafka_queue_new(handle), give_back: c::rd_kafka_queue_destroy },
            Held {
                pointer: c::rd_kafka_AdminOptions_new(handle, kind),
                give_back: c::rd_kafka_AdminOptions_destroy,
            },
            Held {
                pointer: c::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len()),
                give_back: c::rd_kafka_TopicCollection_destroy,
            },
        )
    };
    if queue.pointer.is_null() || options.pointer.is_null() || topics.pointer.is_null() {
        return Err(StoreError::corrupt(ATTEMPT, "the driver could not make the request"));
    }
    // SAFETY: all pointers are live and not null, see above; an error text is not asked for.
    // The event is given back by `Held` after it was read.
    let event = unsafe {
        c::rd_kafka_AdminOptions_set_request_timeout(options.pointer, milliseconds, ptr::null_mut(), 0);
        c::rd_kafka_DescribeTopics(handle, topics.pointer, options.pointer, queue.pointer);
        let event = c::rd_kafka_queue_poll(queue.pointer, milliseconds.saturating_add(1_000));
        Held { pointer: event, give_back: c::rd_kafka_event_destroy }
    };
    if event.pointer.is_null() {
        let reason = format!("no answer within {TIMEOUT:?}");
        return Err(StoreError::Transient { attempt: ATTEMPT, reason });
    }
    // SAFETY: the event is live until this function ends, and the only one of this queue.
    unsafe { read(event.pointer) }
}

/// # Safety
/// `event` must be a live event of the C library.
unsafe fn read(event: *mut c::rd_kafka_event_t) -> Result<TopicIdentity, StoreError> {
    let transient = |reason: String| StoreError::Transient { attempt: ATTEMPT, reason };
    // SAFETY: the caller's event is live. What is read from it belongs to it, is checked for
    // null, and is copied before this function returns.
    unsafe {
        let code = c::rd_kafka_event_error(event);
        if code != c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(transient(words(c::rd_kafka_event_error_string(event))));
        }
        let result = c::rd_kafka_event_DescribeTopics_result(event);
        if result.is_null() {
            return Err(transient("the driver answered something else".into()));
        }
        let mut count = 0;
        let described = c::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        if described.is_null() || count == 0 {
            return Err(transient("the driver described no topic".into()));
        }
        let topic = *described;
        let error = c::rd_kafka_TopicDescription_error(topic);
        if !error.is_null() {
            return match c::rd_kafka_error_code(error) {
                c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => named(topic),
                c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART => Ok(TopicIdentity::Missing),
                _ => Err(transient(words(c::rd_kafka_error_string(error)))),
            };
        }
        named(topic)
    }
}

/// # Safety
/// `topic` must be a live description of the C library.
unsafe fn named(topic: *const c::rd_kafka_TopicDescription_t) -> Result<TopicIdentity, StoreError> {
    // SAFETY: the caller's description is live, and its id belongs to it.
    let id = unsafe {
        let id = c::rd_kafka_TopicDescription_topic_id(topic);
        if id.is_null() { String::new() } else { words(c::rd_kafka_Uuid_base64str(id)) }
    };
    Ok(if id.is_empty() || id == NO_ID { TopicIdentity::Unnamed } else { TopicIdentity::Id(id) })
}

/// # Safety
/// `text` must be null or a string that ends with a zero byte.
unsafe fn words(text: *const std::ffi::c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: it is not null, and the caller says the rest.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}
