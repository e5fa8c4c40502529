//! Where counting stands in each partition: the rows that commits compare and set.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::postgres::{PgExecutor, PgRow};
use sqlx::{FromRow, Row};
use weir_core::{Generation, Partition, Timestamp};

use crate::StoreError;
use crate::journal::Fingerprint;
use crate::postgres::Pool;

/// Who owns a partition: 128 random bits, drawn anew at each taking (invariant 8).
pub type OwnerToken = [u8; 16];

/// One partition's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionRow {
    /// Which partition.
    pub partition: Partition,
    /// Which life of the topic.
    pub generation: Generation,
    /// Where the chain of batches begins.
    pub first_offset: i64,
    /// The first offset not yet counted.
    pub next_offset: i64,
    /// The running maximum of broker time.
    pub broker_time_max: Timestamp,
    /// The record before `next_offset`; `None` before the first.
    pub last: Option<Fingerprint>,
    /// Usage rows hold everything below.
    pub folded_to: i64,
    /// ClickHouse's events hold everything below.
    pub projected_to: i64,
    /// ClickHouse's rollups hold everything below.
    pub rolled_to: i64,
    /// Rises when the partition is taken or projected again; rows in ClickHouse carry it.
    pub epoch: i64,
}

/// An epoch that a partition was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromRow)]
pub struct GivenEpoch {
    /// The epoch.
    pub epoch: i64,
    /// How far usage was folded then: the epoch before it ends here.
    pub folded_to: i64,
    /// Whether those below it were given, too, and not noted.
    pub earlier: bool,
}

impl FromRow<'_, PgRow> for PartitionRow {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let last_offset: Option<i64> = row.try_get("last_offset")?;
        let broker_time: Option<DateTime<Utc>> = row.try_get("last_broker_time")?;
        let crc: Option<i64> = row.try_get("last_crc")?;
        let key = row.try_get("last_key")?;
        let last = match (last_offset, broker_time, crc) {
            (Some(offset), Some(broker_time), Some(crc)) => {
                Some(Fingerprint { offset, broker_time: broker_time.into(), key, crc })
            }
            _ => None,
        };
        Ok(Self {
            partition: row.try_get("partition")?,
            generation: row.try_get("generation")?,
            first_offset: row.try_get("first_offset")?,
            next_offset: row.try_get("next_offset")?,
            broker_time_max: row.try_get::<DateTime<Utc>, _>("broker_time_max")?.into(),
            last,
            folded_to: row.try_get("folded_to")?,
            projected_to: row.try_get("projected_to")?,
            rolled_to: row.try_get("rolled_to")?,
            epoch: row.try_get("epoch")?,
        })
    }
}

const ALL: &str = "SELECT partition, generation, first_offset, next_offset, broker_time_max,
        last_offset, last_broker_time, last_key, last_crc, folded_to, projected_to, rolled_to, epoch
    FROM journal_partition ORDER BY partition";
const ONE: &str = "SELECT partition, generation, first_offset, next_offset, broker_time_max,
        last_offset, last_broker_time, last_key, last_crc, folded_to, projected_to, rolled_to, epoch
    FROM journal_partition WHERE partition = $1";
const OWNER_NAMES: &str = "SELECT partition, owner_name FROM journal_partition WHERE owner_name IS NOT NULL";
const PROJECTED: &str = "UPDATE journal_partition AS p SET projected_to = done.projected_to
    FROM unnest($1::integer[], $2::integer[], $3::bytea[], $4::bigint[], $5::bigint[])
        AS done (partition, generation, owner, epoch, projected_to)
    WHERE p.partition = done.partition AND p.generation = done.generation AND p.owner = done.owner
        AND p.epoch = done.epoch
        AND p.projected_to < done.projected_to AND done.projected_to <= p.next_offset";
const ROLLED: &str = "UPDATE journal_partition SET rolled_to = $4
    WHERE partition = $1 AND generation = $2 AND owner = $3 AND epoch = $5
        AND rolled_to < $4 AND $4 <= folded_to";
const OWNED: &str = "SELECT p.partition, p.generation, p.first_offset, p.next_offset, p.broker_time_max,
        p.last_offset, p.last_broker_time, p.last_key, p.last_crc, p.folded_to, p.projected_to, p.rolled_to,
        p.epoch
    FROM unnest($1::integer[], $2::integer[], $3::bytea[]) AS mine (partition, generation, owner)
    JOIN journal_partition AS p ON p.partition = mine.partition AND p.generation = mine.generation
        AND p.owner = mine.owner
    ORDER BY p.partition";
const RAISE: &str = "UPDATE journal_partition SET epoch = GREATEST(given_once(epoch), $5)
    WHERE partition = $1 AND generation = $2 AND owner = $3 AND epoch = $4 RETURNING epoch";
const GIVEN: &str = "SELECT epoch, folded_to, earlier FROM given_epoch
    WHERE partition = $1 AND generation = $2 ORDER BY epoch";

/// All partitions that were ever taken.
pub async fn all(pool: &Pool) -> Result<Vec<PartitionRow>, StoreError> {
    sqlx::query_as(ALL)
        .fetch_all(pool)
        .await
        .map_err(|error| StoreError::postgres("read the partitions", &error))
}

/// Who owns each partition, in words for people; partitions without an owner are left out.
pub async fn owner_names(pool: &Pool) -> Result<BTreeMap<Partition, String>, StoreError> {
    let names: Vec<(Partition, String)> = sqlx::query_as(OWNER_NAMES)
        .fetch_all(pool)
        .await
        .map_err(|error| StoreError::postgres("read the owners of partitions", &error))?;
    Ok(names.into_iter().collect())
}

/// One partition, if it was ever taken.
pub async fn one(
    executor: impl PgExecutor<'_>,
    partition: Partition,
) -> Result<Option<PartitionRow>, StoreError> {
    sqlx::query_as(ONE)
        .bind(partition)
        .fetch_optional(executor)
        .await
        .map_err(|error| StoreError::postgres("read a partition", &error))
}

/// Those partitions that still have the owner that is named.
pub async fn owned(pool: &Pool, owners: &[Progress]) -> Result<Vec<PartitionRow>, StoreError> {
    sqlx::query_as(OWNED)
        .bind(owners.iter().map(|one| one.partition).collect::<Vec<_>>())
        .bind(owners.iter().map(|one| one.generation).collect::<Vec<_>>())
        .bind(owners.iter().map(|one| one.owner.to_vec()).collect::<Vec<_>>())
        .fetch_all(pool)
        .await
        .map_err(|error| StoreError::postgres("read the partitions of this process", &error))
}

/// How far a partition has been brought, by its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Which partition.
    pub partition: Partition,
    /// Which life of the topic.
    pub generation: Generation,
    /// Who says so.
    pub owner: OwnerToken,
    /// The epoch of what was written: where it has risen meanwhile, this is not progress.
    pub epoch: i64,
    /// Everything below is there.
    pub to: i64,
}

/// Notes how far ClickHouse's events reach, for several partitions in one statement.
/// Whoever owns a partition no longer, or writes for an earlier epoch, moves nothing.
pub async fn advance_projected(pool: &Pool, progress: &[Progress]) -> Result<(), StoreError> {
    let partitions: Vec<i32> = progress.iter().map(|one| one.partition).collect();
    let generations: Vec<i32> = progress.iter().map(|one| one.generation).collect();
    let owners: Vec<Vec<u8>> = progress.iter().map(|one| one.owner.to_vec()).collect();
    let epochs: Vec<i64> = progress.iter().map(|one| one.epoch).collect();
    let offsets: Vec<i64> = progress.iter().map(|one| one.to).collect();
    sqlx::query(PROJECTED)
        .bind(partitions)
        .bind(generations)
        .bind(owners)
        .bind(epochs)
        .bind(offsets)
        .execute(pool)
        .await
        .map_err(|error| StoreError::postgres("note how far events are projected", &error))?;
    Ok(())
}

/// Notes how far ClickHouse's rollups reach; false when nothing was moved.
pub async fn advance_rolled(pool: &Pool, progress: &Progress) -> Result<bool, StoreError> {
    let moved = sqlx::query(ROLLED)
        .bind(progress.partition)
        .bind(progress.generation)
        .bind(&progress.owner[..])
        .bind(progress.to)
        .bind(progress.epoch)
        .execute(pool)
        .await
        .map_err(|error| StoreError::postgres("note how far rollups are projected", &error))?;
    Ok(moved.rows_affected() == 1)
}

/// Gives a partition another epoch than the one of `progress`: one that was never given, and
/// is at least `least`. `None` where it is another one by now, or the owner is.
pub async fn raise_epoch(pool: &Pool, progress: &Progress, least: i64) -> Result<Option<i64>, StoreError> {
    sqlx::query_scalar(RAISE)
        .bind(progress.partition)
        .bind(progress.generation)
        .bind(&progress.owner[..])
        .bind(progress.epoch)
        .bind(least)
        .fetch_optional(pool)
        .await
        .map_err(|error| StoreError::postgres("raise the epoch of a partition", &error))
}

/// The epochs that were given to a partition, rising.
pub async fn given_epochs(
    pool: &Pool,
    (partition, generation): (Partition, Generation),
) -> Result<Vec<GivenEpoch>, StoreError> {
    sqlx::query_as(GIVEN)
        .bind(partition)
        .bind(generation)
        .fetch_all(pool)
        .await
        .map_err(|error| StoreError::postgres("read the epochs of a partition", &error))
}
