//! The chain of batches, read: which offsets were counted, and how.

use chrono::{DateTime, Utc};
use sqlx::FromRow;
use weir_core::{Generation, Partition, Timestamp};
use weir_metering::outcome::Exception;
use weir_wire::batch_blob::decode_exceptions;

use crate::StoreError;
use crate::offsets;
use crate::postgres::Pool;

const ATTEMPT: &str = "read the chain of batches";

/// What reading a partition again needs to know of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchExceptions {
    /// The first offset of the batch.
    pub from: i64,
    /// The first offset after it.
    pub to: i64,
    /// Which records were not accepted, by rising offset.
    pub exceptions: Vec<Exception>,
    /// The running maximum of broker time after the batch.
    pub broker_time_max: Timestamp,
}

#[derive(FromRow)]
struct ExceptionsRow {
    from_offset: i64,
    to_offset: i64,
    exceptions: Vec<u8>,
    broker_time_max: DateTime<Utc>,
}

const EXCEPTIONS: &str = "SELECT from_offset, to_offset, exceptions, broker_time_max FROM batch
    WHERE partition = $1 AND generation = $2 AND from_offset >= $3 ORDER BY from_offset LIMIT $4";
/// The running maximum never falls, so the first by time is the first by offset.
const FIRST_REACHING: &str = "SELECT from_offset FROM batch
    WHERE partition = $1 AND generation = $2 AND broker_time_max >= $3
    ORDER BY broker_time_max, from_offset LIMIT 1";
const TIME_BEFORE: &str = "SELECT broker_time_max FROM (
        SELECT to_offset, broker_time_max FROM batch
        WHERE partition = $1 AND generation = $2 AND from_offset < $3
        ORDER BY from_offset DESC LIMIT 1
    ) AS before WHERE to_offset = $3";

const HOLDING: &str = "SELECT from_offset FROM (
        SELECT from_offset, to_offset FROM batch
        WHERE partition = $1 AND generation = $2 AND from_offset <= $3
        ORDER BY from_offset DESC LIMIT 1
    ) AS holding WHERE to_offset > $3";

/// Up to `count` batches from the one that begins at `from` on.
pub async fn exceptions(
    pool: &Pool,
    place: (Partition, Generation),
    from: i64,
    count: i64,
) -> Result<Vec<BatchExceptions>, StoreError> {
    let rows: Vec<ExceptionsRow> =
        offsets::some_from(pool, EXCEPTIONS, ATTEMPT, place, (from, count)).await?;
    let (partition, _) = place;
    let mut expected = from;
    rows.into_iter()
        .map(|row| {
            if row.from_offset != expected {
                let reason = format!(
                    "partition {partition}: a batch should begin at {expected}, the next begins at {}",
                    row.from_offset
                );
                return Err(StoreError::corrupt(ATTEMPT, reason));
            }
            expected = row.to_offset;
            let exceptions = decode_exceptions(row.from_offset, &row.exceptions).map_err(|error| {
                let from = row.from_offset;
                StoreError::corrupt(ATTEMPT, format!("partition {partition}, batch at {from}: {error}"))
            })?;
            let broker_time_max = row.broker_time_max.into();
            Ok(BatchExceptions { from: row.from_offset, to: row.to_offset, exceptions, broker_time_max })
        })
        .collect()
}

/// Where the first batch begins whose running maximum of broker time reaches `time`.
pub async fn first_reaching(
    pool: &Pool,
    (partition, generation): (Partition, Generation),
    time: Timestamp,
) -> Result<Option<i64>, StoreError> {
    sqlx::query_scalar(FIRST_REACHING)
        .bind(partition)
        .bind(generation)
        .bind(time.to_chrono())
        .fetch_optional(pool)
        .await
        .map_err(|error| StoreError::postgres(ATTEMPT, &error))
}

/// Where the batch begins that holds `offset`; `None` when no batch does.
pub async fn holding(
    pool: &Pool,
    place: (Partition, Generation),
    offset: i64,
) -> Result<Option<i64>, StoreError> {
    let found: Option<(i64,)> = offsets::one_at(pool, HOLDING, ATTEMPT, place, offset).await?;
    Ok(found.map(|(from,)| from))
}

/// The running maximum of broker time below `offset`, where a batch ends there.
pub async fn broker_time_before(
    pool: &Pool,
    place: (Partition, Generation),
    offset: i64,
) -> Result<Option<Timestamp>, StoreError> {
    let time: Option<(DateTime<Utc>,)> = offsets::one_at(pool, TIME_BEFORE, ATTEMPT, place, offset).await?;
    Ok(time.map(|(time,)| Timestamp::from(time)))
}
