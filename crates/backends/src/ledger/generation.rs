//! The next generation: counting begins anew at a topic that has taken the place of the one
//! that was counted. Batches and usage of earlier generations stay as they are, are billed and
//! can be proved; nothing of them is counted again by the ledger itself.

use std::collections::BTreeMap;

use sqlx::PgConnection;
use weir_core::{Generation, Partition, Timestamp};

use crate::StoreError;
use crate::postgres::Pool;
use crate::tenants::audit;

const ATTEMPT: &str = "begin the next generation";

const LOCK: &str = "SELECT generation FROM installation FOR UPDATE";
const UNFOLDED: &str =
    "SELECT count(*) FROM (SELECT folded_to, next_offset FROM journal_partition FOR UPDATE) AS p
    WHERE folded_to < next_offset";
const INSTALL: &str = "UPDATE installation SET generation = $1, topic_id = $2";
const END: &str = "INSERT INTO generation_end (partition, generation, next_offset, projected_to, ended_at)
    SELECT partition, generation, next_offset, projected_to, $1 FROM journal_partition";
const PROJECTED: &str = "SELECT generation, projected_to FROM generation_end WHERE partition = $1
    UNION ALL SELECT generation, projected_to FROM journal_partition WHERE partition = $1";
/// Without an owner no process that counted the earlier generation can commit any more.
const BEGIN: &str = "UPDATE journal_partition AS p
    SET generation = $1, first_offset = n.low, next_offset = n.low, folded_to = n.low,
        projected_to = n.low, rolled_to = n.low, epoch = given_once(p.epoch), owner = NULL, owner_name = NULL,
        last_offset = NULL, last_broker_time = NULL, last_key = NULL, last_crc = NULL
    FROM unnest($2::integer[], $3::bigint[]) AS n (partition, low)
    WHERE p.partition = n.partition";

/// Where counting begins in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beginning {
    /// Which partition.
    pub partition: Partition,
    /// The first offset of the topic that is there now.
    pub low: i64,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    /// This generation is counted from now on.
    Generation(Generation),
    /// Nothing happened: somebody else has begun one meanwhile.
    Another(Generation),
    /// Nothing happened: usage of so many partitions is not folded.
    Unfolded(i64),
}

/// Begins the generation after `seen`, at these offsets, in one transaction.
pub async fn begin(
    pool: &Pool,
    seen: Generation,
    topic_id: Option<&str>,
    beginnings: &[Beginning],
    now: Timestamp,
) -> Result<Begun, StoreError> {
    let failed = |error: sqlx::Error| StoreError::postgres(ATTEMPT, &error);
    let mut transaction = pool.begin().await.map_err(failed)?;
    let found: Generation = sqlx::query_scalar(LOCK).fetch_one(&mut *transaction).await.map_err(failed)?;
    if found != seen {
        return Ok(Begun::Another(found));
    }
    let unfolded: i64 = sqlx::query_scalar(UNFOLDED).fetch_one(&mut *transaction).await.map_err(failed)?;
    if unfolded > 0 {
        return Ok(Begun::Unfolded(unfolded));
    }
    let next = seen.checked_add(1).ok_or_else(|| StoreError::corrupt(ATTEMPT, "there are too many"))?;
    sqlx::query(END).bind(now.to_chrono()).execute(&mut *transaction).await.map_err(failed)?;
    write(&mut transaction, next, topic_id, beginnings).await.map_err(failed)?;
    let detail = serde_json::json!({
        "generation": next,
        "topic_id": topic_id,
        "begins_at": beginnings.iter().map(|one| (one.partition, one.low)).collect::<Vec<_>>(),
    });
    audit::record(&mut transaction, now, "cli", "topic.accepted", None, detail).await?;
    transaction.commit().await.map_err(failed)?;
    Ok(Begun::Generation(next))
}

/// How far ClickHouse was filled with each generation of a partition; of earlier ones, when
/// they ended.
pub(crate) async fn projected(
    conn: &mut PgConnection,
    partition: Partition,
) -> Result<BTreeMap<Generation, i64>, StoreError> {
    let rows: Vec<(Generation, i64)> = sqlx::query_as(PROJECTED)
        .bind(partition)
        .fetch_all(conn)
        .await
        .map_err(|error| StoreError::postgres("read how far ClickHouse was filled", &error))?;
    Ok(rows.into_iter().collect())
}

async fn write(
    transaction: &mut PgConnection,
    next: Generation,
    topic_id: Option<&str>,
    beginnings: &[Beginning],
) -> Result<(), sqlx::Error> {
    sqlx::query(INSTALL).bind(next).bind(topic_id).execute(&mut *transaction).await?;
    sqlx::query(BEGIN)
        .bind(next)
        .bind(beginnings.iter().map(|one| one.partition).collect::<Vec<_>>())
        .bind(beginnings.iter().map(|one| one.low).collect::<Vec<_>>())
        .execute(transaction)
        .await?;
    Ok(())
}
