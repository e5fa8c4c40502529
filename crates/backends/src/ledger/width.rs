//! How many partitions are counted, and making them more. Tenants stay where they are; those that
//! are created from then on are spread over all.

use sqlx::PgConnection;
use weir_core::{Generation, Homes, Partition, TenantId, Timestamp};

use crate::StoreError;
use crate::catalog;
use crate::postgres::Pool;
use crate::tenants::audit;

const PARTITIONS: &str = "SELECT partitions FROM installation";
const EARLIER: &str = "SELECT home.tenant, home.width
    FROM (SELECT id AS tenant, home_width AS width FROM tenant
        UNION ALL SELECT tenant, home_width FROM kept_home) AS home
    JOIN installation i ON home.width <> i.partitions";
const WIDTH_OF: &str = "SELECT home_width FROM tenant WHERE id = $1";
const TENANTS: &str = "SELECT count(*) FROM tenant WHERE status <> 'deleted'";
/// Awaits what is being committed, and lets nothing else in, so that all limits are seen that were
/// judged by the old number.
const AWAIT_COMMITS: &str = "LOCK TABLE limit_in_force IN SHARE MODE";
/// Limits of names that no tenant has keep the tenant that may come where they are.
const KEEP: &str = "INSERT INTO kept_home (tenant, home_width)
    SELECT l.tenant, $1 FROM limit_in_force l WHERE NOT EXISTS (SELECT 1 FROM tenant t WHERE t.id = l.tenant)
    ON CONFLICT (tenant) DO NOTHING";
const LOCK: &str = "SELECT partitions, generation FROM installation FOR UPDATE";
const WIDEN: &str = "UPDATE installation SET partitions = $1";
/// A new partition is counted from its very first record: one that Kafka has deleted before it was
/// counted is lost, and must be refused as such.
const BEGIN: &str = "INSERT INTO journal_partition (partition, generation, first_offset, next_offset,
        broker_time_max, folded_to, projected_to, rolled_to)
    SELECT n, $3, 0, 0, 'epoch', 0, 0, 0 FROM generate_series($1, $2 - 1) AS n
    ON CONFLICT (partition) DO NOTHING";

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Widened {
    /// So many partitions are counted from now on.
    To(i32),
    /// Nothing happened: the ledger counts so many by now.
    Already(i32),
}

/// Where every tenant is at home, deleted ones and kept names included; in the caller's snapshot.
pub(crate) async fn homes_in(conn: &mut PgConnection) -> Result<Homes, StoreError> {
    const ATTEMPT: &str = "read where tenants are at home";
    let failed = |error: sqlx::Error| StoreError::postgres(ATTEMPT, &error);
    let partitions: Option<i32> =
        sqlx::query_scalar(PARTITIONS).fetch_optional(&mut *conn).await.map_err(failed)?;
    let partitions = partitions
        .ok_or_else(|| StoreError::corrupt(ATTEMPT, "no topic is counted yet; run `weir migrate` first"))?;
    let earlier: Vec<(String, i32)> = sqlx::query_as(EARLIER).fetch_all(conn).await.map_err(failed)?;
    let mut homes = Homes::new(partitions);
    for (tenant, width) in earlier {
        let tenant = TenantId::new(&tenant)
            .map_err(|error| StoreError::corrupt(ATTEMPT, format!("{tenant:?}: {error}")))?;
        homes = homes.with(tenant, width);
    }
    Ok(homes)
}

/// The partition of one tenant, if there is such a tenant.
pub async fn home_of(pool: &Pool, tenant: &TenantId) -> Result<Option<Partition>, StoreError> {
    let width: Option<i32> = sqlx::query_scalar(WIDTH_OF)
        .bind(tenant.as_str())
        .fetch_optional(pool)
        .await
        .map_err(|error| StoreError::postgres("read where a tenant is at home", &error))?;
    Ok(width.map(|width| Homes::new(width).of(tenant.as_str())))
}

/// How many tenants there are.
pub async fn tenants(pool: &Pool) -> Result<i64, StoreError> {
    sqlx::query_scalar(TENANTS)
        .fetch_one(pool)
        .await
        .map_err(|error| StoreError::postgres("count the tenants", &error))
}

/// Counts `to` partitions instead of `from`, in one transaction. Whoever creates a tenant at this
/// moment is waited for, and tenants that are created later see the new number. So is whoever
/// commits a batch; nobody commits one meanwhile.
pub async fn widen(pool: &Pool, from: i32, to: i32, now: Timestamp) -> Result<Widened, StoreError> {
    let failed = |error: sqlx::Error| StoreError::postgres("count more partitions", &error);
    let mut transaction = pool.begin().await.map_err(failed)?;
    sqlx::query(AWAIT_COMMITS).execute(&mut *transaction).await.map_err(failed)?;
    let (counted, generation): (i32, Generation) =
        sqlx::query_as(LOCK).fetch_one(&mut *transaction).await.map_err(failed)?;
    if counted != from || to <= from {
        return Ok(Widened::Already(counted));
    }
    sqlx::query(WIDEN).bind(to).execute(&mut *transaction).await.map_err(failed)?;
    sqlx::query(KEEP).bind(from).execute(&mut *transaction).await.map_err(failed)?;
    let begun = sqlx::query(BEGIN).bind(from).bind(to).bind(generation);
    begun.execute(&mut *transaction).await.map_err(failed)?;
    catalog::bump(&mut transaction).await?;
    let detail = serde_json::json!({ "from": from, "to": to, "generation": generation });
    audit::record(&mut transaction, now, "cli", "topic.widened", None, detail).await?;
    transaction.commit().await.map_err(failed)?;
    Ok(Widened::To(to))
}
