//! Which files of the archive there are, as the ledger has recorded them, and what of the chain
//! of batches is still to be archived.

use chrono::{DateTime, Utc};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, Row};
use weir_core::{Generation, Partition, Timestamp};
use weir_wire::archive_file::{ArchiveSum, EncodedArchiveFile};

use crate::StoreError;
use crate::offsets;
use crate::postgres::Pool;

const ATTEMPT: &str = "read the records of the archive";

/// A file of the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchivedFile {
    /// Which partition.
    pub partition: Partition,
    /// Which life of the topic.
    pub generation: Generation,
    /// The first offset that it covers.
    pub from: i64,
    /// The first offset after it.
    pub to: i64,
    /// Where the run of files begins that follow each other without a gap.
    pub run_from: i64,
    /// How many records it holds.
    pub records: u64,
    /// Its size.
    pub file_bytes: u64,
    /// How many bytes its records have before compression.
    pub plain_bytes: u64,
    /// The latest broker time in it.
    pub broker_time_max: Option<Timestamp>,
    /// The sum of its content.
    pub content_sum: ArchiveSum,
}

impl ArchivedFile {
    /// Its name below the archive's place.
    pub fn name(&self, topic: &str) -> String {
        let place = (self.partition, self.generation);
        super::name(topic, place, (self.from, self.to), &self.content_sum)
    }
}

impl FromRow<'_, PgRow> for ArchivedFile {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let count = |column: &str| {
            let number: i64 = row.try_get(column)?;
            u64::try_from(number).map_err(|error| sqlx::Error::Decode(error.into()))
        };
        let sum: Vec<u8> = row.try_get("content_sum")?;
        let sum = <[u8; 32]>::try_from(sum)
            .map_err(|_| sqlx::Error::Decode("a sum that does not have 32 bytes".into()))?;
        let broker_time_max: Option<DateTime<Utc>> = row.try_get("broker_time_max")?;
        Ok(Self {
            partition: row.try_get("partition")?,
            generation: row.try_get("generation")?,
            from: row.try_get("from_offset")?,
            to: row.try_get("to_offset")?,
            run_from: row.try_get("run_from")?,
            records: count("record_count")?,
            file_bytes: count("file_bytes")?,
            plain_bytes: count("plain_bytes")?,
            broker_time_max: broker_time_max.map(Timestamp::from),
            content_sum: ArchiveSum(sum),
        })
    }
}

/// What is archived of a partition, added up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchivedTotals {
    /// Where the first file begins.
    pub from: i64,
    /// Where the last one ends.
    pub to: i64,
    /// Where the last run of files begins that follow each other without a gap.
    pub run_from: i64,
    /// How many such runs there are; more than one has gaps between.
    pub runs: i64,
    /// How many files.
    pub files: i64,
    /// How many records.
    pub records: i64,
    /// How many bytes.
    pub file_bytes: i64,
    /// The latest broker time.
    pub broker_time_max: Option<Timestamp>,
}

/// A batch, as far as archiving needs to know of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CountedBatch {
    /// Its first offset.
    pub from: i64,
    /// The first offset after it.
    pub to: i64,
    /// How many records were read in it.
    pub records: u64,
    /// The running maximum of broker time after it.
    pub broker_time_max: Timestamp,
}

impl FromRow<'_, PgRow> for CountedBatch {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let records: i64 = row.try_get("read_count")?;
        Ok(Self {
            from: row.try_get("from_offset")?,
            to: row.try_get("to_offset")?,
            records: u64::try_from(records).map_err(|error| sqlx::Error::Decode(error.into()))?,
            broker_time_max: row.try_get::<DateTime<Utc>, _>("broker_time_max")?.into(),
        })
    }
}

/// The partition's row, its batches and the files before it are read and compared in the statement
/// that writes: what was read of them earlier may be of a ledger that was restored meanwhile.
const RECORD: &str = "WITH held AS (
        SELECT partition, generation FROM journal_partition
        WHERE partition = $1 AND generation = $2 AND next_offset >= $4
    ), counted AS (
        SELECT min(from_offset) AS begins, max(to_offset) AS ends, sum(read_count)::bigint AS records
        FROM batch WHERE partition = $1 AND generation = $2 AND from_offset >= $3 AND to_offset <= $4
    ), before AS (
        SELECT to_offset AS ends, run_from FROM archive_file
        WHERE partition = $1 AND generation = $2 ORDER BY from_offset DESC LIMIT 1
    ), recorded AS (
        INSERT INTO archive_file (partition, generation, from_offset, to_offset, run_from, record_count,
            plain_bytes, file_bytes, broker_time_min, broker_time_max, content_sum)
        SELECT held.partition, held.generation, $3, $4,
            CASE WHEN before.ends = $3 THEN before.run_from ELSE $3 END, $5, $6, $7, $8, $9, $10
        FROM held CROSS JOIN counted LEFT JOIN before ON true
        WHERE counted.begins = $3 AND counted.ends = $4 AND counted.records = $5
            AND COALESCE(before.ends <= $3, true)
        ON CONFLICT (partition, generation, from_offset) DO NOTHING
        RETURNING 1
    )
    SELECT EXISTS (SELECT 1 FROM recorded)";
const LAST: &str =
    "SELECT partition, generation, from_offset, to_offset, run_from, record_count, plain_bytes,
        file_bytes, broker_time_max, content_sum FROM archive_file
    WHERE partition = $1 AND generation = $2 AND from_offset <= $3 ORDER BY from_offset DESC LIMIT 1";
const NEXT: &str =
    "SELECT partition, generation, from_offset, to_offset, run_from, record_count, plain_bytes,
        file_bytes, broker_time_max, content_sum FROM archive_file
    WHERE partition = $1 AND generation = $2 AND from_offset >= $3 ORDER BY from_offset LIMIT $4";
const PLACES: &str = "SELECT DISTINCT partition, generation FROM archive_file ORDER BY partition, generation";
const TOTALS: &str = "SELECT min(from_offset), max(to_offset), max(run_from),
        count(*) FILTER (WHERE run_from = from_offset), count(*), COALESCE(sum(record_count), 0)::bigint,
        COALESCE(sum(file_bytes), 0)::bigint, max(broker_time_max)
    FROM archive_file WHERE partition = $1 AND generation = $2";
const PENDING: &str = "SELECT from_offset, to_offset, read_count, broker_time_max FROM batch
    WHERE partition = $1 AND generation = $2 AND from_offset >= $3 ORDER BY from_offset LIMIT $4";

/// Records a file. False, and nothing happens, when it does not hold as many records as the
/// ledger's batches of that range have read, or the range is not counted, or archived already.
pub async fn record(pool: &Pool, file: &EncodedArchiveFile) -> Result<bool, StoreError> {
    let header = &file.header;
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let time = |ms: i64| (header.records > 0).then(|| Timestamp::clamped(ms).to_chrono());
    sqlx::query_scalar(RECORD)
        .bind(header.partition)
        .bind(header.generation)
        .bind(header.from)
        .bind(header.to)
        .bind(number(header.records))
        .bind(number(header.plain_bytes))
        .bind(i64::try_from(file.bytes.len()).unwrap_or(i64::MAX))
        .bind(time(header.broker_time_ms_min))
        .bind(time(header.broker_time_ms_max))
        .bind(&file.content_sum.0[..])
        .fetch_one(pool)
        .await
        .map_err(|error| StoreError::postgres("record a file of the archive", &error))
}

/// The file that begins last at or before an offset.
pub async fn last_from(
    pool: &Pool,
    place: (Partition, Generation),
    offset: i64,
) -> Result<Option<ArchivedFile>, StoreError> {
    offsets::one_at(pool, LAST, ATTEMPT, place, offset).await
}

/// Up to `count` files that begin at or after an offset.
pub async fn next(
    pool: &Pool,
    place: (Partition, Generation),
    offset: i64,
    count: i64,
) -> Result<Vec<ArchivedFile>, StoreError> {
    offsets::some_from(pool, NEXT, ATTEMPT, place, (offset, count)).await
}

/// Every partition and generation of which something is archived.
pub async fn places(pool: &Pool) -> Result<Vec<(Partition, Generation)>, StoreError> {
    sqlx::query_as(PLACES).fetch_all(pool).await.map_err(|error| StoreError::postgres(ATTEMPT, &error))
}

/// What is archived of a partition; `None` when nothing is.
pub async fn totals(
    pool: &Pool,
    (partition, generation): (Partition, Generation),
) -> Result<Option<ArchivedTotals>, StoreError> {
    type Row = (Option<i64>, Option<i64>, Option<i64>, i64, i64, i64, i64, Option<DateTime<Utc>>);
    let row: Row = sqlx::query_as(TOTALS)
        .bind(partition)
        .bind(generation)
        .fetch_one(pool)
        .await
        .map_err(|error| StoreError::postgres(ATTEMPT, &error))?;
    let (Some(from), Some(to), Some(run_from), runs, files, records, file_bytes, latest) = row else {
        return Ok(None);
    };
    let broker_time_max = latest.map(Timestamp::from);
    Ok(Some(ArchivedTotals { from, to, run_from, runs, files, records, file_bytes, broker_time_max }))
}

/// Up to `count` batches that begin at or after an offset.
pub async fn batches(
    pool: &Pool,
    place: (Partition, Generation),
    offset: i64,
    count: i64,
) -> Result<Vec<CountedBatch>, StoreError> {
    offsets::some_from(pool, PENDING, "read what is still to be archived", place, (offset, count)).await
}
