//! Reading rows that stand along the offsets of a partition: batches, files of the archive. Which
//! rows, the statement says; its parameters are always partition, generation, offset and, where
//! several rows are read, how many.

use sqlx::FromRow;
use sqlx::postgres::PgRow;
use weir_core::{Generation, Partition};

use crate::StoreError;
use crate::postgres::Pool;

/// The row that a statement finds for an offset.
pub(crate) async fn one_at<T: for<'r> FromRow<'r, PgRow> + Send + Unpin>(
    pool: &Pool,
    statement: &'static str,
    attempt: &'static str,
    (partition, generation): (Partition, Generation),
    offset: i64,
) -> Result<Option<T>, StoreError> {
    sqlx::query_as(statement)
        .bind(partition)
        .bind(generation)
        .bind(offset)
        .fetch_optional(pool)
        .await
        .map_err(|error| StoreError::postgres(attempt, &error))
}

/// Up to `count` rows from an offset on.
pub(crate) async fn some_from<T: for<'r> FromRow<'r, PgRow> + Send + Unpin>(
    pool: &Pool,
    statement: &'static str,
    attempt: &'static str,
    (partition, generation): (Partition, Generation),
    (offset, count): (i64, i64),
) -> Result<Vec<T>, StoreError> {
    sqlx::query_as(statement)
        .bind(partition)
        .bind(generation)
        .bind(offset)
        .bind(count)
        .fetch_all(pool)
        .await
        .map_err(|error| StoreError::postgres(attempt, &error))
}
