//! Accepted events as the projection keeps them, read as a stream for counting them again.
//! Each position comes once, whatever was written twice; in no particular order.

use clickhouse::query::RowCursor;
use clickhouse::{Client, Compression};
use serde::Deserialize;
use weir_core::{Generation, Partition, Position, Timestamp};
use weir_metering::event::UsageEvent;

use crate::StoreError;
use crate::config::ClickHouseConfig;

const ATTEMPT: &str = "read raw events from ClickHouse";

/// An accepted event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawEvent {
    /// Where it stands in the journal.
    pub position: Position,
    /// The event; its time is the one at which it is taken to have happened.
    pub event: UsageEvent,
    /// That time.
    pub time: Timestamp,
}

/// A stream of the events of one partition.
pub struct RawEvents {
    cursor: RowCursor<Row>,
    generation: Generation,
    partition: Partition,
}

#[derive(clickhouse::Row, Deserialize)]
struct Row {
    offset: i64,
    tenant: String,
    source: String,
    id: String,
    event_type: String,
    time_ms: i64,
    names: Vec<String>,
    values: Vec<String>,
}

// `names` and `values` are the map's, in its order: pairs that belong together.
const EVENTS: &str = "SELECT offset, toString(tenant) AS tenant, source, id, toString(type) AS event_type,
        toUnixTimestamp64Milli(time) AS time_ms,
        arrayMap(name -> toString(name), mapKeys(data)) AS names, mapValues(data) AS values
    FROM events_raw FINAL
    WHERE generation = ? AND partition = ? AND offset < ?";

impl std::fmt::Debug for RawEvents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RawEvents({}/{})", self.generation, self.partition)
    }
}

impl RawEvents {
    /// The events of a partition below `below`, in one life of the topic.
    pub fn open(
        config: &ClickHouseConfig,
        generation: Generation,
        partition: Partition,
        below: i64,
    ) -> Result<Self, StoreError> {
        let client = Client::default()
            .with_url(&config.url)
            .with_database(&config.database)
            .with_user(&config.user)
            .with_password(&config.password)
            .with_compression(Compression::None);
        let cursor = client
            .query(EVENTS)
            .bind(generation)
            .bind(partition)
            .bind(below)
            .fetch::<Row>()
            .map_err(|error| StoreError::clickhouse(ATTEMPT, &error))?;
        Ok(Self { cursor, generation, partition })
    }

    /// The next event; `None` after the last.
    pub async fn next(&mut self) -> Result<Option<RawEvent>, StoreError> {
        let row = self.cursor.next().await.map_err(|error| StoreError::clickhouse(ATTEMPT, &error))?;
        let Some(row) = row else { return Ok(None) };
        let position =
            Position { generation: self.generation, partition: self.partition, offset: row.offset };
        let corrupt = |error: &dyn std::fmt::Display| {
            StoreError::corrupt(ATTEMPT, format!("the event at {position}: {error}"))
        };
        let time = Timestamp::from_millis(row.time_ms).map_err(|error| corrupt(&error))?;
        let data = row.names.into_iter().zip(row.values).collect();
        let event = UsageEvent::new((row.tenant, row.source, row.id), row.event_type, Some(time), data)
            .map_err(|error| corrupt(&error))?;
        Ok(Some(RawEvent { position, event, time }))
    }
}
