//! The rows of the projection's tables, as the columns stand there.

use clickhouse::Row;
use serde::{Deserialize, Serialize};
use weir_core::{Position, TenantId, Timestamp};
use weir_metering::aggregate::UsageKey;
use weir_metering::event::UsageEvent;
use weir_metering::meter::MeterKey;

use crate::StoreError;
use crate::ledger::rollup::{Rollup, UsageTotal};

/// A raw event.
#[derive(Clone, Debug, PartialEq, Eq, Row, Serialize, Deserialize)]
pub struct EventRow {
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

impl EventRow {
    /// The row of an accepted event, of no epoch yet.
    pub fn of(position: Position, broker_time: Timestamp, event: UsageEvent) -> Self {
        Self {
            generation: position.generation,
            partition: position.partition,
            offset: position.offset,
            broker_time: broker_time.millis(),
            time: event.time_or(broker_time).millis(),
            tenant: event.tenant,
            source: event.source,
            id: event.id,
            r#type: event.event_type,
            data: event.data,
            epoch: 0,
        }
    }

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
    pub event_count: u64,
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
