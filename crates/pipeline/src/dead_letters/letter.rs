//! One letter: the record as it stood in the journal, where that was, and why it was not
//! counted. Pure: it reads nothing and sends nothing.

use weir_backends::journal::{OutgoingRecord, OwnedRecord};
use weir_core::{Partition, Position, TenantId, Timestamp};
use weir_metering::event::UsageEvent;
use weir_metering::record::RecordBody;
use weir_wire::dead_letter::{DeadLetterInfo, NotADeadLetter, is_own_header};
use weir_wire::replay::{ReplayOrigin, is_replay_header};
use weir_wire::usage_record::HEADER_HOP;

/// A record of the dead-letter topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Where the record stood first; by this a letter is known.
    pub origin: Position,
    /// The broker's time of it there.
    pub arrived_at: Timestamp,
    /// What was said of it when it was rejected, for the last time as far as this letter knows.
    pub info: DeadLetterInfo,
    /// The partition of the dead-letter topic that it stands in.
    pub partition: Partition,
    /// As it stands there.
    pub record: OwnedRecord,
}

/// What a letter holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// A usage event.
    Event(UsageEvent),
    /// Something that is counted by nobody: limits, a tick.
    Control,
    /// Nothing that can be read, and why.
    Unreadable(String),
}

impl Letter {
    /// Reads a record of the dead-letter topic.
    ///
    /// # Errors
    /// When it is none of Weir's letters.
    pub fn of(partition: Partition, record: OwnedRecord) -> Result<Self, NotADeadLetter> {
        let headers: Vec<(&str, &[u8])> =
            record.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
        let info = DeadLetterInfo::parse(&headers)?;
        let stood = ReplayOrigin { position: info.position, broker_time: info.broker_time };
        let origin = ReplayOrigin::parse(&headers).unwrap_or(stood);
        drop(headers);
        Ok(Self { origin: origin.position, arrived_at: origin.broker_time, info, partition, record })
    }

    /// The headers that the record had itself.
    pub fn own_headers(&self) -> impl Iterator<Item = &(String, Vec<u8>)> {
        self.record.headers.iter().filter(|(name, _)| !is_own_header(name))
    }

    /// The record as it stood in the journal.
    pub(super) fn original(&self) -> OwnedRecord {
        OwnedRecord {
            offset: self.info.position.offset,
            broker_time_ms: self.info.broker_time.millis(),
            key: self.record.key.clone(),
            payload: self.record.payload.clone(),
            headers: self.own_headers().cloned().collect(),
        }
    }

    /// The record to send again, not yet keyed: without the letter's headers and the hop that it
    /// may have made, with where it stood first and when.
    pub(super) fn again(&self, topic: &str) -> OutgoingRecord {
        let kept = |name: &str| name != HEADER_HOP && !is_replay_header(name);
        let origin = ReplayOrigin { position: self.origin, broker_time: self.arrived_at };
        let own = self.own_headers().filter(|(name, _)| kept(name)).cloned();
        let added = origin.headers().map(|(name, value)| (name.to_owned(), value));
        OutgoingRecord {
            topic: topic.to_owned(),
            partition: None,
            key: None,
            value: self.record.payload.as_ref().map(|value| value.to_vec()),
            headers: own.chain(added).collect(),
        }
    }

    /// Whose it is: the event's tenant, or the key's where no event can be read.
    pub(super) fn tenant(&self, body: Option<&RecordBody>) -> Option<String> {
        match body {
            Some(RecordBody::Event { event, .. }) => Some(event.tenant.clone()),
            Some(RecordBody::Limits { set, .. }) => Some(set.tenant.to_string()),
            Some(RecordBody::Adjustment { adjustment, .. }) => Some(adjustment.tenant.to_string()),
            _ => {
                let key = std::str::from_utf8(self.record.key.as_deref()?).ok()?;
                TenantId::is_valid(key).then(|| key.to_owned())
            }
        }
    }
}

impl From<RecordBody> for Reading {
    fn from(body: RecordBody) -> Self {
        match body {
            RecordBody::Event { event, .. } => Self::Event(event),
            RecordBody::Limits { .. } | RecordBody::Adjustment { .. } | RecordBody::Tick => Self::Control,
            RecordBody::Unreadable { detail, .. } => Self::Unreadable(detail),
        }
    }
}
