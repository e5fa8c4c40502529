//! Which files of event ids are part of this ledger's history. A row is written only while
//! the ledger has counted everything that the file covers, and by the owner; so a ledger that
//! is restored to the past has the rows of its own past, and no others.

use sqlx::FromRow;
use weir_core::{Generation, Hash128, Partition};
use weir_metering::identity::{Day, SealedFile};

use super::RecordedFile;
use crate::StoreError;
use crate::ledger::partition::OwnerToken;
use crate::postgres::Pool;

#[derive(FromRow)]
struct Row {
    from_offset: i64,
    to_offset: i64,
    arrival_day: i32,
    id_count: i64,
    content_sum: Vec<u8>,
}

const RECORD: &str = "WITH held AS (
        SELECT partition, generation FROM journal_partition
        WHERE partition = $1 AND generation = $2 AND owner = $3 AND next_offset >= $5
    ), recorded AS (
        INSERT INTO id_file (partition, generation, from_offset, to_offset, arrival_day, id_count, content_sum)
        SELECT partition, generation, $4, $5, $6, $7, $8 FROM held
        ON CONFLICT (partition, generation, from_offset, content_sum) DO NOTHING
    )
    SELECT EXISTS (SELECT 1 FROM held)";
const RECORDED: &str = "SELECT from_offset, to_offset, arrival_day, id_count, content_sum FROM id_file
    WHERE partition = $1 AND generation = $2 ORDER BY from_offset, content_sum";
const FORGET: &str = "DELETE FROM id_file WHERE partition = $1 AND (generation < $2 OR arrival_day < $3)";

/// Records a file. False when this owner no longer has the partition, or the ledger has not
/// counted what the file covers: the file must then not be used.
pub async fn record(
    pool: &Pool,
    (partition, generation): (Partition, Generation),
    owner: &OwnerToken,
    file: &RecordedFile,
) -> Result<bool, StoreError> {
    sqlx::query_scalar(RECORD)
        .bind(partition)
        .bind(generation)
        .bind(&owner[..])
        .bind(file.covers.from)
        .bind(file.covers.to)
        .bind(i32::try_from(file.covers.day.0).unwrap_or(i32::MAX))
        .bind(i64::try_from(file.covers.ids).unwrap_or(i64::MAX))
        .bind(&file.content_sum.to_bytes()[..])
        .fetch_one(pool)
        .await
        .map_err(|error| StoreError::postgres("record a file of event ids", &error))
}

/// All files of a partition's history, whichever machine has them.
pub async fn recorded(
    pool: &Pool,
    (partition, generation): (Partition, Generation),
) -> Result<Vec<RecordedFile>, StoreError> {
    const ATTEMPT: &str = "read the records of files of event ids";
    let rows: Vec<Row> = sqlx::query_as(RECORDED)
        .bind(partition)
        .bind(generation)
        .fetch_all(pool)
        .await
        .map_err(|error| StoreError::postgres(ATTEMPT, &error))?;
    rows.into_iter().map(|row| file(row).map_err(|what| StoreError::corrupt(ATTEMPT, what))).collect()
}

/// Forgets the records of files whose ids arrived before `day`, or in an earlier generation.
pub async fn forget(
    pool: &Pool,
    (partition, generation): (Partition, Generation),
    day: Day,
) -> Result<(), StoreError> {
    sqlx::query(FORGET)
        .bind(partition)
        .bind(generation)
        .bind(i32::try_from(day.0).unwrap_or(i32::MAX))
        .execute(pool)
        .await
        .map(|_| ())
        .map_err(|error| StoreError::postgres("forget files of event ids", &error))
}

fn file(row: Row) -> Result<RecordedFile, &'static str> {
    let day = u32::try_from(row.arrival_day).map_err(|_| "a day before 1970")?;
    let ids = u64::try_from(row.id_count).map_err(|_| "a count below zero")?;
    let sum = row.content_sum.try_into().map_err(|_| "a sum that does not have 16 bytes")?;
    let covers = SealedFile { from: row.from_offset, to: row.to_offset, day: Day(day), ids };
    Ok(RecordedFile { covers, content_sum: Hash128::from_bytes(sum) })
}
