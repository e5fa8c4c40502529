//! Many records of a client's queue by one call of the C library, which takes a third of the
//! time that one by one takes.

use std::marker::PhantomData;
use std::slice;
use std::time::Duration;

use bytes::BytesMut;
use rdkafka::bindings as c;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::types::RDKafkaRespErr;
use weir_core::Partition;

use super::held::Held;
use super::record::{NotBrokerTime, OwnedRecord};

/// Reads from the queue of a client that it must not outlive.
pub(super) struct BulkReader<'a> {
    queue: Held<c::rd_kafka_queue_t>,
    found: Vec<*mut c::rd_kafka_message_t>,
    client: PhantomData<&'a BaseConsumer>,
}

impl<'a> BulkReader<'a> {
    /// Reads up to so many messages at a time.
    pub(super) fn new(client: &'a BaseConsumer, messages_max: usize) -> Self {
        let handle = client.client().native_ptr();
        // SAFETY: `handle` is a live client for as long as `client` is borrowed, which is longer
        // than this lives. `Held` gives the queue back once.
        let queue = unsafe { c::rd_kafka_queue_get_consumer(handle) };
        let queue = Held { pointer: queue, give_back: c::rd_kafka_queue_destroy };
        Self { queue, found: Vec::with_capacity(messages_max), client: PhantomData }
    }

    /// What has arrived, after waiting for it at most so long. Errors of the client as a whole
    /// (brokers that are away) are not among it: one that stands in the queue behind a message is
    /// taken out, and only the C library logs it; the client's own `poll` tells those that stand
    /// first, as they come to do while nothing arrives.
    pub(super) fn read(&mut self, patience: Duration) -> Messages<'_> {
        self.found.clear();
        if !self.queue.pointer.is_null() {
            let milliseconds = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX);
            // SAFETY: the queue is live. The C library writes at most as many pointers as the
            // vector has room for and returns how many it wrote, or -1; those are valid, and
            // belong to us until `Messages` gives them back.
            unsafe {
                let room = self.found.capacity();
                let written = c::rd_kafka_consume_batch_queue(
                    self.queue.pointer,
                    milliseconds,
                    self.found.as_mut_ptr(),
                    room,
                );
                self.found.set_len(usize::try_from(written).unwrap_or(0).min(room));
            }
        }
        Messages { found: &mut self.found }
    }
}

/// Messages that were read; they go back to the C library together.
pub(super) struct Messages<'a> {
    found: &'a mut Vec<*mut c::rd_kafka_message_t>,
}

impl Messages<'_> {
    /// Each message, or what went wrong with its partition.
    pub(super) fn iter(&self) -> impl Iterator<Item = Result<RawMessage<'_>, KafkaError>> {
        self.found.iter().filter_map(|pointer| {
            // SAFETY: the C library wrote it, and it is given back only when `self` is dropped.
            let message = unsafe { pointer.as_ref() }?;
            Some(match message.err {
                RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(RawMessage { message }),
                RDKafkaRespErr::RD_KAFKA_RESP_ERR__PARTITION_EOF => {
                    Err(KafkaError::PartitionEOF(message.partition))
                }
                error => Err(KafkaError::MessageConsumption(error.into())),
            })
        })
    }
}

impl Drop for Messages<'_> {
    fn drop(&mut self) {
        for message in self.found.drain(..) {
            // SAFETY: the C library wrote it, and nobody has given it back: only this does, once.
            unsafe { c::rd_kafka_message_destroy(message) }
        }
    }
}

/// A message in the C library's memory.
pub(super) struct RawMessage<'a> {
    message: &'a c::rd_kafka_message_t,
}

impl<'a> RawMessage<'a> {
    /// The message that the driver's own poll gave. Its headers are never asked for through the
    /// driver, which panics where a name is not UTF-8.
    pub(super) fn of(message: &'a BorrowedMessage<'_>) -> Self {
        // SAFETY: the driver holds a message that is not null, and gives it back only when
        // `message` is dropped, which is borrowed for longer than this lives.
        Self { message: unsafe { &*message.ptr() } }
    }

    /// Which partition it stands in.
    pub(super) fn partition(&self) -> Partition {
        self.message.partition
    }

    /// Where it stands there.
    pub(super) fn offset(&self) -> i64 {
        self.message.offset
    }

    /// Copies it, key and value to the end of `block`, whose memory they then share.
    pub(super) fn copy(&self, block: &mut Block) -> Result<OwnedRecord, NotBrokerTime> {
        let mut kind = c::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is live, and the call writes to `kind` alone.
        let broker_time_ms = unsafe { c::rd_kafka_message_timestamp(self.message, &raw mut kind) };
        if kind != c::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME {
            return Err(NotBrokerTime { offset: self.message.offset });
        }
        // SAFETY: pointer and length of key and value are the message's own; it is live.
        let (key, payload) = unsafe {
            (
                part(self.message.key.cast(), self.message.key_len),
                part(self.message.payload.cast(), self.message.len),
            )
        };
        block.reserve(key.map_or(0, <[u8]>::len) + payload.map_or(0, <[u8]>::len));
        Ok(OwnedRecord {
            offset: self.message.offset,
            broker_time_ms,
            key: key.map(|key| block.copy(key)),
            payload: payload.map(|payload| block.copy(payload)),
            headers: self.headers(),
        })
    }

    fn headers(&self) -> Vec<(String, Vec<u8>)> {
        let mut list = std::ptr::null_mut();
        // SAFETY: the message is live and keeps the list, which is written only where there is one.
        let answer = unsafe { c::rd_kafka_message_headers(self.message, &raw mut list) };
        if answer != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Vec::new();
        }
        let mut headers = Vec::new();
        loop {
            let (mut name, mut value, mut length) = (std::ptr::null(), std::ptr::null(), 0);
            // SAFETY: the list is live. Where there is a header of that number, the name is a
            // string that ends with a zero byte, and the value so long, or null.
            let header = unsafe {
                let answer = c::rd_kafka_header_get_all(
                    list,
                    headers.len(),
                    &raw mut name,
                    &raw mut value,
                    &raw mut length,
                );
                if answer != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR || name.is_null() {
                    return headers;
                }
                let name = std::ffi::CStr::from_ptr(name).to_string_lossy().into_owned();
                (name, part(value.cast(), length).unwrap_or_default().to_vec())
            };
            headers.push(header);
        }
    }
}

/// Bytes of the C library; `None` for a null pointer.
///
/// # Safety
/// A pointer that is not null must be valid for so many bytes, for as long as they are used.
unsafe fn part<'a>(pointer: *const u8, length: usize) -> Option<&'a [u8]> {
    // SAFETY: as the caller promises.
    (!pointer.is_null()).then(|| unsafe { slice::from_raw_parts(pointer, length) })
}

/// Memory that the copies of many records share, so that none has a piece of its own.
#[derive(Debug, Default)]
pub(super) struct Block(BytesMut);

impl Block {
    const BYTES: usize = 262_144;

    fn reserve(&mut self, bytes: usize) {
        if self.0.capacity() < bytes {
            self.0 = BytesMut::with_capacity(bytes.max(Self::BYTES));
        }
    }

    fn copy(&mut self, bytes: &[u8]) -> bytes::Bytes {
        self.0.extend_from_slice(bytes);
        self.0.split().freeze()
    }
}
