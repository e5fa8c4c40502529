//! Taking a partition: a fresh random owner token is written into its row, after which no
//! earlier owner can commit (invariant 8). An owner that is frozen inside a transaction
//! holds the row; after two seconds its backend is ended.

use rand::TryRngCore;
use sqlx::Connection;
use weir_core::{Generation, Partition};

use super::partition::{OwnerToken, PartitionRow};
use crate::StoreError;
use crate::postgres::Pool;

const ATTEMPT: &str = "take a partition";

const PATIENCE: &str = "SET LOCAL lock_timeout = '2s'";
/// `ON CONFLICT` alone would wait for whoever is updating the row. A partition that the ledger does
/// not count begins where it is told to, not where somebody finds it.
const FIRST_SEEN: &str = "INSERT INTO journal_partition (partition, generation, first_offset, next_offset,
        broker_time_max, folded_to, projected_to, rolled_to)
    SELECT $1, $2, $3, $3, 'epoch', $3, $3, $3
    FROM installation
    WHERE $1 < installation.partitions AND NOT EXISTS (SELECT 1 FROM journal_partition WHERE partition = $1)
    ON CONFLICT (partition) DO NOTHING";
const TAKE: &str = "UPDATE journal_partition SET owner = $2, owner_name = $3, owned_at = now(),
        epoch = given_once(epoch)
    WHERE partition = $1
    RETURNING partition, generation, first_offset, next_offset, broker_time_max,
        last_offset, last_broker_time, last_key, last_crc, folded_to, projected_to, rolled_to, epoch";
/// The transaction that updates a row stands in the xmax of the version that others see.
const END_BLOCKER: &str = "SELECT count(pg_terminate_backend(a.pid))
    FROM journal_partition AS p JOIN pg_stat_activity AS a ON a.backend_xid = p.xmax
    WHERE p.partition = $1 AND a.pid <> pg_backend_pid()";

/// A token that nobody ever had.
pub fn fresh_token() -> Result<OwnerToken, StoreError> {
    let mut token = [0; 16];
    rand::rngs::OsRng
        .try_fill_bytes(&mut token)
        .map_err(|error| StoreError::corrupt("draw a random token", error))?;
    Ok(token)
}

/// Makes `owner` the owner. A partition that was never seen begins at `first_offset`.
pub async fn take(
    pool: &Pool,
    partition: Partition,
    (generation, first_offset): (Generation, i64),
    (owner, owner_name): (&OwnerToken, &str),
) -> Result<PartitionRow, StoreError> {
    let failed = |error: sqlx::Error| StoreError::postgres(ATTEMPT, &error);
    sqlx::query(FIRST_SEEN)
        .bind(partition)
        .bind(generation)
        .bind(first_offset)
        .execute(pool)
        .await
        .map_err(failed)?;
    for _ in 0..3 {
        match write_owner(pool, partition, owner, owner_name).await {
            Err(error) if is_lock_timeout(&error) => {
                let ended: i64 =
                    sqlx::query_scalar(END_BLOCKER).bind(partition).fetch_one(pool).await.map_err(failed)?;
                tracing::warn!(partition, ended, "ended the backend that held a partition's row");
            }
            other => {
                let taken = other.map_err(failed)?;
                return taken.ok_or_else(|| {
                    let reason = format!("the ledger does not count partition {partition} yet");
                    StoreError::Transient { attempt: ATTEMPT, reason }
                });
            }
        }
    }
    let reason = format!("the row of partition {partition} stays locked");
    Err(StoreError::Transient { attempt: ATTEMPT, reason })
}

async fn write_owner(
    pool: &Pool,
    partition: Partition,
    owner: &OwnerToken,
    owner_name: &str,
) -> Result<Option<PartitionRow>, sqlx::Error> {
    let mut connection = pool.acquire().await?;
    let mut transaction = connection.begin().await?;
    sqlx::query(PATIENCE).execute(&mut *transaction).await?;
    let row = sqlx::query_as(TAKE)
        .bind(partition)
        .bind(&owner[..])
        .bind(owner_name)
        .fetch_optional(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(row)
}

fn is_lock_timeout(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|database| database.code().as_deref() == Some("55P03"))
}
