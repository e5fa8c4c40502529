//! What applying a batch says must happen. The shell carries it out, in order:
//! dead letters and forwards (acknowledged), then the commit with everything else.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use weir_core::{ContentSum, Hash128, Partition, Position, Quantity, Span, TenantId, Timestamp};

use crate::adjustment::Adjustment;
use crate::aggregate::{Aggregate, UsageKey};
use crate::meter::MeterKey;
use crate::quota::{Enforcement, LimitSet, QuotaLevel};

/// Why a record was not counted and went to the dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum RejectReason {
    /// Bytes that are no event in any known format.
    Malformed = 1,
    /// Avro with a schema id that nobody knows.
    UnknownSchema = 2,
    /// An envelope that breaks a rule (missing id, too long, control characters…).
    InvalidEvent = 3,
    /// A value that a meter cannot take.
    InvalidValue = 4,
    /// A tenant that does not exist.
    UnknownTenant = 5,
    /// Event time further back than the window.
    TooLate = 6,
    /// Event time too far ahead.
    InFuture = 7,
    /// Stands in a foreign partition although it was forwarded before.
    Misrouted = 8,
    /// A record larger than Weir reads.
    Oversized = 9,
    /// A store refused it although validation did not.
    RefusedByStore = 10,
}

/// What became of a record that was not accepted. The number is what the ledger keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Seen before, with the same facts.
    Duplicate,
    /// Seen before, with other facts. Counted as a duplicate, dead-lettered and reported.
    Conflict,
    /// To the dead letters.
    Rejected(RejectReason),
    /// Sent on to its own partition.
    Forwarded,
    /// A limit, an adjustment or a tick.
    Control,
}

/// A record that was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exception {
    /// Its offset.
    pub offset: i64,
    /// What became of it.
    pub verdict: Verdict,
}

/// How many records had which end. `read` is the sum of the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Records read.
    pub read: u64,
    /// Events counted.
    pub accepted: u64,
    /// Events seen before (conflicts included).
    pub duplicate: u64,
    /// Records that went to the dead letters (conflicts not included).
    pub rejected: u64,
    /// Events sent on to their own partition.
    pub forwarded: u64,
    /// Limits, adjustments and ticks.
    pub control: u64,
}

/// An accepted event: where it stands in the batch and when it is taken to have happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Index into the batch's records.
    pub index: usize,
    /// Event time, or the broker's where the event had none.
    pub time: Timestamp,
}

/// A record for the dead-letter topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Index into the batch's records.
    pub index: usize,
    /// Why: a reason, or a conflict.
    pub verdict: Verdict,
    /// Why, in words.
    pub detail: String,
}

/// A record to be sent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forward {
    /// Index into the batch's records.
    pub index: usize,
    /// The partition that its tenant lives in.
    pub to: Partition,
    /// How often it has been forwarded then.
    pub hops: u8,
}

/// Something that a person or another system must hear of, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// A hash of what happened and where: the same alert never has two ids.
    pub id: Hash128,
    /// Whose.
    pub tenant: TenantId,
    /// The record at which it happened.
    pub position: Position,
    /// That record's broker time.
    pub at: Timestamp,
    /// What happened.
    pub kind: AlertKind,
}

/// What an alert is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AlertKind {
    /// Usage rose to a threshold, or fell below it, or its period ended.
    Quota {
        /// Which meter.
        meter: MeterKey,
        /// The billing period.
        period: Span,
        /// Percent of the limit.
        threshold_percent: u16,
        /// The limit.
        limit: Quantity,
        /// Soft or hard.
        enforcement: Enforcement,
        /// Usage in the period at that record.
        used: Quantity,
        /// Reached, or over again.
        direction: Direction,
    },
    /// An id came again with other facts.
    Conflict {
        /// CloudEvents `source`.
        source: String,
        /// CloudEvents `id`.
        event_id: String,
    },
    /// A meter's series went past the bound; further ones are counted under `other`.
    SeriesBound {
        /// Which meter.
        meter: MeterKey,
        /// The bound.
        series_max: u32,
    },
}

/// Which way a threshold was crossed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Usage reached it.
    Reached,
    /// Usage fell below it, the limit changed, or the period ended.
    Resolved,
}

/// An adjustment that was counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adjusted {
    /// What was decided, by whom and why.
    pub adjustment: Adjustment,
    /// The record that carried it.
    pub position: Position,
    /// That record's broker time.
    pub at: Timestamp,
    /// What it added to usage; it is in the deltas as well.
    pub usage: BTreeMap<UsageKey, Aggregate>,
}

/// Everything that follows from a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Counts by end.
    pub counts: Counts,
    /// Every record that was not accepted, by rising offset.
    pub exceptions: Vec<Exception>,
    /// Every record that was.
    pub accepted: Vec<Accepted>,
    /// What usage grew by, or shrank.
    pub deltas: BTreeMap<UsageKey, Aggregate>,
    /// Sum of the accepted events' hashes.
    pub content_sum: ContentSum,
    /// To the dead letters, before the commit.
    pub dead_letters: Vec<DeadLetter>,
    /// To other partitions, before the commit.
    pub forwards: Vec<Forward>,
    /// Into the outbox, with the commit.
    pub alerts: Vec<Alert>,
    /// Limits that came into force.
    pub limits: Vec<LimitSet>,
    /// Adjustments that were counted, by rising offset.
    pub adjustments: Vec<Adjusted>,
    /// Where limited meters stand now, those that changed, one entry each.
    pub levels: Vec<QuotaLevel>,
    /// The partition's running maximum of broker time after the batch.
    pub broker_time_max: Timestamp,
}
