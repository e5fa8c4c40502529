//! The rows of the projection's tables, as the columns stand there.

use std::sync::Arc;

use clickhouse::Row;
use serde::{Deserialize, Serialize};
use weir_core::{Position, TenantId, Timestamp};
use weir_metering::aggregate::UsageKey;
use weir_metering::event::{EventBuffer, EventRef, UsageEvent};
use weir_metering::meter::MeterKey;

use crate::StoreError;
use crate::ledger::rollup::{Rollup, UsageTotal};

/// A raw event to be written. It stands in the buffer of its batch, which many rows share.
#[derive(Clone, Debug)]
pub struct EventRow {
    /// Where it stands in the journal.
    pub position: Position,
    /// The broker's time.
    pub broker_time: Timestamp,
    /// The epoch of the partition that it is written for; the highest is the truth.
    pub epoch: i64,
    events: Arc<EventBuffer>,
    index: usize,
}

impl EventRow {
    /// The row of an accepted event, the buffer's of that index, of no epoch yet.
    pub fn of(position: Position, broker_time: Timestamp, events: &Arc<EventBuffer>, index: usize) -> Self {
        Self { position, broker_time, epoch: 0, events: Arc::clone(events), index }
    }

    /// The same with a buffer of its own, which holds nothing else in memory.
    #[must_use]
    pub fn detached(&self) -> Self {
        let mut events = EventBuffer::default();
        events.push_ref(self.event());
        Self { events: Arc::new(events), index: 0, ..self.clone() }
    }

    /// The row of an event that stands alone.
    pub fn alone(position: Position, broker_time: Timestamp, event: &UsageEvent) -> Self {
        Self::of(position, broker_time, &Arc::new(EventBuffer::of(event)), 0)
    }

    /// The event.
    pub fn event(&self) -> EventRef<'_> {
        self.events.get(self.index)
    }

    /// When it is taken to have happened.
    pub fn time(&self) -> Timestamp {
        self.event().time_or(self.broker_time)
    }
}

/// A raw event as it is read.
#[derive(Clone, Debug, PartialEq, Eq, Row, Serialize, Deserialize)]
pub struct StoredEvent {
    /// Which life of the topic.
    pub generation: i32,
    /// Which partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// The broker's time, milliseconds since 1970.
    pub broker_time: i64,
    /// Whose.
    pub tenant: String,
    /// CloudEvents `source`.
    pub source: String,
    /// CloudEvents `id`.
    pub id: String,
    /// CloudEvents `type`.
    pub r#type: String,
    /// When it is taken to have happened, milliseconds since 1970.
    pub time: i64,
    /// The members of `data`, sorted.
    pub data: Vec<(String, String)>,
    /// The epoch of the partition that it was written for; the highest is the truth.
    pub epoch: i64,
}

impl From<&EventRow> for StoredEvent {
    fn from(row: &EventRow) -> Self {
        let UsageEvent { tenant, source, id, event_type, data, .. } = row.event().to_event();
        Self {
            generation: row.position.generation,
            partition: row.position.partition,
            offset: row.position.offset,
            broker_time: row.broker_time.millis(),
            time: row.time().millis(),
            tenant,
            source,
            id,
            r#type: event_type,
            data,
            epoch: row.epoch,
        }
    }
}

impl StoredEvent {
    /// The event, and when it is taken to have happened: what its content hash covers.
    pub fn into_event(mut self) -> (UsageEvent, Timestamp) {
        let time = Timestamp::clamped(self.time);
        self.data.sort();
        let event = UsageEvent {
            tenant: self.tenant,
            source: self.source,
            id: self.id,
            event_type: self.r#type,
            time: Some(time),
            data: self.data,
        };
        (event, time)
    }
}

/// An absolute total of one key.
#[derive(Clone, Debug, PartialEq, Eq, Row, Serialize, Deserialize)]
pub struct RollupRow {
    /// Whose.
    pub tenant: String,
    /// Which meter.
    pub meter: String,
    /// Start of the hour, milliseconds since 1970.
    pub hour: i64,
    /// Canonical JSON.
    pub dimensions: String,
    /// Which life of the topic.
    pub generation: i32,
    /// Which partition.
    pub partition: i32,
    /// Nano-units.
    pub quantity: i128,
    /// How many events.
    pub event_count: i64,
    /// The epoch of the partition that it was written for; the highest is the truth.
    pub epoch: i64,
    /// How far usage was folded; within an epoch the furthest is the truth.
    pub folded_to: i64,
}

impl RollupRow {
    /// The row of one total of a rollup.
    pub fn of(rollup: &Rollup, total: UsageTotal, epoch: i64) -> Self {
        Self {
            tenant: total.tenant,
            meter: total.meter,
            hour: total.hour.millis(),
            dimensions: total.dimensions,
            generation: rollup.generation,
            partition: rollup.partition,
            quantity: total.quantity.nanos(),
            event_count: total.event_count,
            epoch,
            folded_to: rollup.folded_to,
        }
    }
}

/// The key of a rollup, as it stands there.
#[derive(Clone, Debug, PartialEq, Eq, Row, Serialize, Deserialize)]
pub(super) struct RollupKeyRow {
    tenant: String,
    meter: String,
    hour: i64,
    dimensions: String,
}

impl RollupKeyRow {
    pub(super) fn into_key(self) -> Result<UsageKey, StoreError> {
        let corrupt = |error: &dyn std::fmt::Display| StoreError::corrupt("read the key of a rollup", error);
        Ok(UsageKey {
            tenant: TenantId::new(&self.tenant).map_err(|error| corrupt(&error))?,
            meter: MeterKey::new(&self.meter).map_err(|error| corrupt(&error))?,
            hour: Timestamp::clamped(self.hour),
            dimensions: self.dimensions,
        })
    }
}
