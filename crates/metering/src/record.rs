//! What the shell hands to the shard: records of the journal, already decoded.

use weir_core::{Hash128, Partition, Timestamp};

use crate::adjustment::Adjustment;
use crate::event::{EventBuffer, EventRef, UsageEvent};
use crate::outcome::RejectReason;
use crate::quota::LimitSet;

/// One record of a partition, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalRecord {
    /// Its offset; rises from record to record, not always by one.
    pub offset: i64,
    /// The broker's time (LogAppendTime).
    pub broker_time: Timestamp,
    /// What it holds.
    pub body: RecordBody,
}

/// What a record of the usage topic can hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordBody {
    /// A usage event.
    Event {
        /// The event.
        event: UsageEvent,
        /// How often it was forwarded to another partition.
        hops: u8,
    },
    /// New limits for a tenant, in force from this record on.
    Limits {
        /// The limits.
        set: LimitSet,
        /// How often they were forwarded to another partition.
        hops: u8,
    },
    /// A change of usage that someone decided.
    Adjustment {
        /// The change.
        adjustment: Adjustment,
        /// What proves that Weir wrote it: [`Adjustment::seal`].
        seal: Hash128,
        /// How often it was forwarded to another partition.
        hops: u8,
    },
    /// The owner's sign that time has passed in an idle partition.
    Tick,
    /// Bytes that could not be read.
    Unreadable {
        /// Why, as a code.
        reason: RejectReason,
        /// Why, in words.
        detail: String,
    },
}

/// Records of one partition, in `[from, to)`. `to` may lie beyond the last record. Their
/// events stand in one buffer, so that a batch of a million records is a few pieces of memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The partition they stand in.
    pub partition: Partition,
    /// The first offset that this batch covers.
    pub from: i64,
    /// The first offset that it does not.
    pub to: i64,
    records: Vec<Record>,
    events: EventBuffer,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    offset: i64,
    broker_time: Timestamp,
    body: Body,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Body {
    /// The next event of the buffer.
    Event { index: usize, hops: u8 },
    /// What is rare enough to have memory of its own; never an event.
    Other(Box<RecordBody>),
}

/// One record of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordRef<'a> {
    /// Its offset; rises from record to record, not always by one.
    pub offset: i64,
    /// The broker's time (LogAppendTime).
    pub broker_time: Timestamp,
    /// What it holds.
    pub body: BodyRef<'a>,
}

/// What a record of a batch holds; as [`RecordBody`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyRef<'a> {
    /// A usage event, and how often it was forwarded.
    Event(EventRef<'a>, u8),
    /// Anything else; never an event.
    Other(&'a RecordBody),
}

impl Batch {
    /// A batch that begins at `from` and covers nothing yet.
    pub fn new(partition: Partition, from: i64) -> Self {
        Self { partition, from, to: from, records: Vec::new(), events: EventBuffer::default() }
    }

    /// Makes room for so many more records, whose events have about so many bytes.
    pub fn reserve(&mut self, records: usize, bytes: usize) {
        self.records.reserve(records);
        self.events.reserve(records, bytes);
    }

    /// A batch of records, by rising offset.
    pub fn of(partition: Partition, from: i64, to: i64, records: Vec<JournalRecord>) -> Self {
        let mut batch = Self::new(partition, from);
        records.into_iter().for_each(|record| batch.push(record));
        batch.to = to;
        batch
    }

    /// Adds a record; the batch then reaches behind it.
    pub fn push(&mut self, record: JournalRecord) {
        let JournalRecord { offset, broker_time, body } = record;
        match body {
            RecordBody::Event { event, hops } => {
                self.push_event(offset, broker_time, hops, |events| {
                    events.push(&event);
                    true
                });
            }
            other => self.push_body(offset, broker_time, Body::Other(Box::new(other))),
        }
    }

    /// Adds the record of an event, which `write` adds to the buffer. When it says that it
    /// added none, there is no record either. Whether there is.
    pub fn push_event(
        &mut self,
        offset: i64,
        broker_time: Timestamp,
        hops: u8,
        write: impl FnOnce(&mut EventBuffer) -> bool,
    ) -> bool {
        let index = self.events.len();
        let written = write(&mut self.events);
        assert_eq!(self.events.len(), index + usize::from(written), "a record holds one event");
        if written {
            self.push_body(offset, broker_time, Body::Event { index, hops });
        }
        written
    }

    fn push_body(&mut self, offset: i64, broker_time: Timestamp, body: Body) {
        self.records.push(Record { offset, broker_time, body });
        self.to = offset.saturating_add(1);
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// A record.
    ///
    /// # Panics
    /// When there are not that many.
    pub fn record(&self, index: usize) -> RecordRef<'_> {
        let Record { offset, broker_time, body } = &self.records[index];
        let body = match body {
            Body::Event { index, hops } => BodyRef::Event(self.events.get(*index), *hops),
            Body::Other(body) => BodyRef::Other(body),
        };
        RecordRef { offset: *offset, broker_time: *broker_time, body }
    }

    /// The number of a record's event among the events of the batch, if it is one.
    pub fn event_index(&self, index: usize) -> Option<usize> {
        match self.records.get(index)?.body {
            Body::Event { index, .. } => Some(index),
            Body::Other(_) => None,
        }
    }

    /// The events alone, in the order of their numbers.
    pub fn into_events(self) -> EventBuffer {
        self.events
    }

    /// All records, by rising offset.
    pub fn records(&self) -> impl ExactSizeIterator<Item = RecordRef<'_>> {
        (0..self.len()).map(|index| self.record(index))
    }

    /// All records, each by itself.
    pub fn to_records(&self) -> Vec<JournalRecord> {
        self.records().map(|record| record.to_record()).collect()
    }
}

impl<'a> BodyRef<'a> {
    /// Whose record it is; `None` where it is nobody's.
    pub fn tenant(self) -> Option<&'a str> {
        match self {
            Self::Event(event, _) => Some(event.tenant()),
            Self::Other(RecordBody::Limits { set, .. }) => Some(set.tenant.as_str()),
            Self::Other(RecordBody::Adjustment { adjustment, .. }) => Some(adjustment.tenant.as_str()),
            Self::Other(_) => None,
        }
    }
}

impl RecordRef<'_> {
    /// The record by itself.
    pub fn to_record(&self) -> JournalRecord {
        let body = match self.body {
            BodyRef::Event(event, hops) => RecordBody::Event { event: event.to_event(), hops },
            BodyRef::Other(body) => body.clone(),
        };
        JournalRecord { offset: self.offset, broker_time: self.broker_time, body }
    }
}
