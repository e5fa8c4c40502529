//! What the shell hands to the shard: records of the journal, already decoded.

use weir_core::{Partition, Timestamp};

use crate::event::UsageEvent;
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
    /// A usage event. `hops` counts how often it was forwarded (0 or 1).
    Event {
        /// The event.
        event: UsageEvent,
        /// How often it was forwarded to another partition.
        hops: u8,
    },
    /// New limits for a tenant, in force from this record on.
    Limits(LimitSet),
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

/// Records of one partition, in `[from, to)`. `to` may lie beyond the last record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The partition they stand in.
    pub partition: Partition,
    /// The first offset that this batch covers.
    pub from: i64,
    /// The first offset that it does not.
    pub to: i64,
    /// The records, by rising offset.
    pub records: Vec<JournalRecord>,
}
