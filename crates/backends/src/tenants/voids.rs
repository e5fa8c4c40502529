//! Finding the event that is to be taken out: by tenant, source and id among the raw events, as
//! the ledger counted it. ClickHouse is only a projection, so what it says is proved: the
//! events of the batch that holds the event must come to the sum that the ledger keeps.

use std::time::Duration;

use sqlx::FromRow;
use tokio::time::Instant;
use weir_core::{ContentSum, HashKey, Position, TenantId, Timestamp};
use weir_metering::event::{UsageEvent, content_hash};
use weir_wire::batch_blob::decode_exceptions;

use super::TenantError;
use crate::StoreError;
use crate::journal::topics::TopicEnds;
use crate::ledger::{partition, width};
use crate::postgres::Pool;
use crate::projection::{Projection, StoredEvent};

const ATTEMPT: &str = "look for an event that was counted";
/// A batch of a million events is read and hashed in a few seconds.
const FIND_WITHIN: Duration = Duration::from_secs(60);
/// For how long an event that is not there is waited for: events are counted and written within a
/// second or two of their arrival.
const CATCH_UP_WITHIN: Duration = Duration::from_secs(3);
/// How often is looked whether it may have come.
const CATCH_UP_EVERY: Duration = Duration::from_millis(200);

/// An event that was counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountedEvent {
    /// Where it stands.
    pub position: Position,
    /// When the broker had it.
    pub arrived_at: Timestamp,
    /// The event, with the time that it was counted at.
    pub event: UsageEvent,
}

/// Which event is meant.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// Whose.
    pub tenant: &'a TenantId,
    /// CloudEvents `source`.
    pub source: &'a str,
    /// CloudEvents `id`.
    pub id: &'a str,
    /// Where it stands, for an id that was counted more than once.
    pub position: Option<Position>,
}

#[derive(FromRow)]
struct BatchLine {
    from_offset: i64,
    to_offset: i64,
    accepted_count: i64,
    exceptions: Vec<u8>,
    content_sum: Vec<u8>,
}

const BATCH: &str = "SELECT from_offset, to_offset, accepted_count, exceptions, content_sum FROM batch
    WHERE partition = $1 AND generation = $2 AND from_offset <= $3 ORDER BY from_offset DESC LIMIT 1";

/// Where events are looked for.
#[derive(Clone, Debug)]
pub struct Places<'a> {
    /// The ledger, which says what was counted.
    pub pool: &'a Pool,
    /// The raw events.
    pub projection: &'a Projection,
    /// How far the journal reaches.
    pub ends: &'a TopicEnds,
}

/// Finds an event that was counted, and proves that it was counted so.
///
/// # Errors
/// [`TenantError::NotFound`] where there is none, [`TenantError::State`] where it cannot be said
/// which one is meant, [`TenantError::NotNow`] where it may still come, or ClickHouse holds
/// something else than the ledger has counted; in words.
pub async fn find(
    places: &Places<'_>,
    key: &HashKey,
    wanted: &Wanted<'_>,
) -> Result<CountedEvent, TenantError> {
    let found = tokio::time::timeout(FIND_WITHIN, find_patiently(places, key, wanted));
    found.await.unwrap_or_else(|_| {
        Err(TenantError::NotNow(format!("ClickHouse gave no answer within {FIND_WITHIN:?}: try again later")))
    })
}

async fn find_patiently(
    places: &Places<'_>,
    key: &HashKey,
    wanted: &Wanted<'_>,
) -> Result<CountedEvent, TenantError> {
    let mut found = look(places.projection, wanted).await?;
    if found.is_empty() {
        caught_up(places, wanted).await?;
        found = look(places.projection, wanted).await?;
    }
    let row = match (found.pop(), found.as_slice()) {
        (None, _) => return Err(not_found(wanted)),
        (Some(row), []) => row,
        (Some(last), others) => {
            let positions: Vec<_> =
                others.iter().chain([&last]).map(|row| position_of(row).to_string()).collect();
            let positions = positions.join(", ");
            let text = format!(
                "the id was counted more than once, after it had been forgotten: say which position is meant, of {positions}"
            );
            return Err(TenantError::State(text));
        }
    };
    prove(places, key, &row).await?;
    let (position, arrived_at) = (position_of(&row), Timestamp::clamped(row.broker_time));
    let (event, _) = row.into_event();
    Ok(CountedEvent { position, arrived_at, event })
}

fn position_of(row: &StoredEvent) -> Position {
    Position { generation: row.generation, partition: row.partition, offset: row.offset }
}

async fn look(projection: &Projection, wanted: &Wanted<'_>) -> Result<Vec<StoredEvent>, StoreError> {
    let mut found = projection.events_of_id(wanted.tenant, wanted.source, wanted.id).await?;
    if let Some(position) = wanted.position {
        found.retain(|row| position_of(row) == position);
    }
    Ok(found)
}

/// Waits until ClickHouse has everything that stands in the tenant's partition of the journal now.
///
/// # Errors
/// [`TenantError::NotNow`] when that takes too long.
async fn caught_up(places: &Places<'_>, wanted: &Wanted<'_>) -> Result<(), TenantError> {
    let Some(home) = width::home_of(places.pool, wanted.tenant).await? else { return Ok(()) };
    let (_, end) = places.ends.watermarks(home).await?;
    let deadline = Instant::now() + CATCH_UP_WITHIN;
    loop {
        let row = partition::one(places.pool, home).await?;
        let (counted, filled) = row.map_or((0, 0), |row| (row.next_offset, row.projected_to));
        if filled >= end {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(TenantError::NotNow(format!(
                "no such event is in ClickHouse, which has been filled up to offset {filled} of {end} in partition {home}, counted up to {counted}: try again when it has caught up"
            )));
        }
        tokio::time::sleep(CATCH_UP_EVERY).await;
    }
}

fn not_found(wanted: &Wanted<'_>) -> TenantError {
    let shown = |text: &str| text.chars().take(64).collect::<String>();
    let what = format!("{} {}", shown(wanted.source), shown(wanted.id));
    TenantError::not_found("counted event among the raw events with source and id", &what)
}

/// Whether the raw events of the batch that holds the row are those that the ledger accepted.
async fn prove(places: &Places<'_>, key: &HashKey, row: &StoredEvent) -> Result<(), TenantError> {
    let place = (row.partition, row.generation);
    let batch: Option<BatchLine> = sqlx::query_as(BATCH)
        .bind(row.partition)
        .bind(row.generation)
        .bind(row.offset)
        .fetch_optional(places.pool)
        .await
        .map_err(|error| StoreError::postgres(ATTEMPT, &error))?;
    let at = position_of(row);
    let uncounted = || TenantError::NotNow(format!("the ledger has not counted the event at {at}"));
    let batch = batch.filter(|batch| row.offset < batch.to_offset).ok_or_else(uncounted)?;
    let exceptions = decode_exceptions(batch.from_offset, &batch.exceptions)
        .map_err(|error| StoreError::corrupt(ATTEMPT, error))?;
    if exceptions.iter().any(|exception| exception.offset == row.offset) {
        return Err(uncounted());
    }
    let mut events = places.projection.read_events(None, place, batch.from_offset, batch.to_offset)?;
    let (mut count, mut sum) = (0_i64, ContentSum::default());
    while let Some(event) = events.next().await? {
        let (event, time) = event.into_event();
        count += 1;
        sum.add(content_hash(key, &event, time));
    }
    if count == batch.accepted_count && sum.to_bytes()[..] == batch.content_sum[..] {
        return Ok(());
    }
    Err(TenantError::NotNow(format!(
        "ClickHouse's events of the batch [{}, {}) are not those that the ledger counted, so none of them can be taken out by what stands there; `weir ledger check` says more, `weir projection rebuild` writes them again",
        batch.from_offset, batch.to_offset
    )))
}
