//! What the ledger keeps for the projection: which filling of ClickHouse it believes in,
//! from where it is to be filled again, and how many events should be there.
//!
//! Moving `projected_to` back raises the epoch. Whoever writes for an earlier epoch then moves
//! nothing any more, so nothing is said to be there that was written before.

use weir_core::{Generation, Partition, Timestamp};

use crate::StoreError;
use crate::postgres::Pool;

const ATTEMPT: &str = "read what the projection should hold";

const ID: &str = "SELECT projection_id FROM installation";
const RENEW: &str = "WITH renewed AS (
        UPDATE installation SET projection_id = $2 WHERE projection_id IS NOT DISTINCT FROM $1
        RETURNING singleton
    ), again AS (
        UPDATE journal_partition
        SET projected_to = first_offset, rolled_to = first_offset, epoch = given_once(epoch)
        WHERE EXISTS (SELECT 1 FROM renewed)
    )
    SELECT EXISTS (SELECT 1 FROM renewed)";
/// Links of the chain begin where projecting may begin again.
const AGAIN: &str = "UPDATE journal_partition AS p
    SET projected_to = LEAST(p.projected_to, link.begins), rolled_to = LEAST(p.rolled_to, link.begins),
        epoch = given_once(p.epoch)
    FROM (
        SELECT q.partition, COALESCE((SELECT max(b.from_offset) FROM batch AS b
            WHERE b.partition = q.partition AND b.generation = q.generation
                AND b.from_offset <= $2), q.first_offset) AS begins
        FROM journal_partition AS q WHERE q.partition = $1
    ) AS link
    WHERE p.partition = link.partition RETURNING link.begins, p.next_offset";
const REACHING: &str = "SELECT b.from_offset FROM batch AS b
    WHERE b.partition = $1 AND b.broker_time_max >= $2
        AND b.generation = (SELECT generation FROM journal_partition WHERE partition = $1)
    ORDER BY b.broker_time_max, b.from_offset LIMIT 1";
const RUN: &str = "SELECT min(from_offset), max(to_offset), sum(accepted_count)::bigint FROM (
        SELECT from_offset, to_offset, accepted_count FROM batch
        WHERE partition = $1 AND generation = $2 AND from_offset >= $3 AND to_offset <= $4
        ORDER BY from_offset LIMIT $5
    ) AS run";

/// Events that a run of batches accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceptedRun {
    /// The first offset of the run.
    pub from: i64,
    /// The first offset after it.
    pub to: i64,
    /// How many events were accepted.
    pub accepted: u64,
}

/// The id of the filling that this ledger believes in; `None` before the first.
pub async fn id(pool: &Pool) -> Result<Option<String>, StoreError> {
    let found: Option<Option<String>> = sqlx::query_scalar(ID)
        .fetch_optional(pool)
        .await
        .map_err(|error| StoreError::postgres(ATTEMPT, &error))?;
    Ok(found.flatten())
}

/// Begins another filling: all partitions are projected again from their first offset. False,
/// and nothing happens, where the id is not `seen` any more.
pub async fn renew(pool: &Pool, seen: Option<&str>, id: &str) -> Result<bool, StoreError> {
    sqlx::query_scalar(RENEW)
        .bind(seen)
        .bind(id)
        .fetch_one(pool)
        .await
        .map_err(|error| StoreError::postgres("begin another filling of the projection", &error))
}

/// Has a partition projected again from the batch that holds `from`. Says from where, and
/// how far it is counted; `None` when it was never taken.
pub async fn again(pool: &Pool, partition: Partition, from: i64) -> Result<Option<(i64, i64)>, StoreError> {
    sqlx::query_as(AGAIN)
        .bind(partition)
        .bind(from)
        .fetch_optional(pool)
        .await
        .map_err(|error| StoreError::postgres("have a partition projected again", &error))
}

/// Where the first batch of a partition begins whose broker time reaches `time`.
pub async fn reaching(pool: &Pool, partition: Partition, time: Timestamp) -> Result<Option<i64>, StoreError> {
    sqlx::query_scalar(REACHING)
        .bind(partition)
        .bind(time.to_chrono())
        .fetch_optional(pool)
        .await
        .map_err(|error| StoreError::postgres(ATTEMPT, &error))
}

/// What up to `batches` batches accepted that begin at or after `from` and end at or before
/// `to`; `None` when there are none.
pub async fn accepted(
    pool: &Pool,
    (partition, generation): (Partition, Generation),
    (from, to): (i64, i64),
    batches: i64,
) -> Result<Option<AcceptedRun>, StoreError> {
    let run: (Option<i64>, Option<i64>, Option<i64>) = sqlx::query_as(RUN)
        .bind(partition)
        .bind(generation)
        .bind(from)
        .bind(to)
        .bind(batches)
        .fetch_one(pool)
        .await
        .map_err(|error| StoreError::postgres(ATTEMPT, &error))?;
    let (Some(from), Some(to), Some(accepted)) = run else { return Ok(None) };
    let accepted = u64::try_from(accepted).map_err(|error| StoreError::corrupt(ATTEMPT, error))?;
    Ok(Some(AcceptedRun { from, to, accepted }))
}
