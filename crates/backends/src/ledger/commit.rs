//! The commit: one statement, one round trip, all or nothing (invariant 6). It moves the
//! partition, adds the batch row to the chain, puts alerts into the outbox and limits into
//! force, keeps adjustments, if and only if the partition still stands where the batch begins, still has this
//! owner, and the catalogue is the one that the batch was judged by.

use chrono::{DateTime, Utc};
use serde_json::Value;
use weir_core::{ContentSum, Generation, Partition, Timestamp};
use weir_metering::outcome::{Adjusted, Counts};

use super::adjustment;
use super::partition::OwnerToken;
use crate::StoreError;
use crate::journal::Fingerprint;
use crate::postgres::Pool;

const ATTEMPT: &str = "commit a batch";

/// Everything that one batch changes.
#[derive(Clone, Debug)]
pub struct Commit {
    /// Which partition.
    pub partition: Partition,
    /// Which life of the topic.
    pub generation: Generation,
    /// Who commits.
    pub owner: OwnerToken,
    /// The first offset of the batch.
    pub from: i64,
    /// The first offset after it.
    pub to: i64,
    /// The last record of the batch; `None` for a batch without records.
    pub last: Option<Fingerprint>,
    /// Counts by end.
    pub counts: Counts,
    /// Rejects and conflicts by reason, a JSON object.
    pub rejected_by: Value,
    /// `wire::batch_blob` of the exceptions.
    pub exceptions: Vec<u8>,
    /// `wire::batch_blob` of the deltas.
    pub deltas: Vec<u8>,
    /// Sum of the accepted events' hashes.
    pub content_sum: ContentSum,
    /// The running maximum of broker time after the batch.
    pub broker_time_max: Timestamp,
    /// The catalogue that the batch was judged by.
    pub catalog_version: i64,
    /// The version of the code.
    pub engine_version: &'static str,
    /// What must be told.
    pub alerts: Vec<CommitAlert>,
    /// Limits that come into force, one entry a tenant at most.
    pub limits: Vec<CommitLimits>,
    /// Adjustments that were counted.
    pub adjustments: Vec<Adjusted>,
}

/// An alert on its way into the outbox.
#[derive(Clone, Debug)]
pub struct CommitAlert {
    /// Its message id, the same however often it is raised.
    pub id: String,
    /// Whose.
    pub tenant: String,
    /// Its type, by which endpoints choose.
    pub event_type: String,
    /// What is said.
    pub body: Value,
}

/// Limits of a tenant that come into force.
#[derive(Clone, Debug)]
pub struct CommitLimits {
    /// Whose.
    pub tenant: String,
    /// Their revision.
    pub revision: i64,
    /// `LimitSet.limits` as JSON.
    pub limits: Value,
}

/// What became of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitAnswer {
    /// It is in the ledger.
    Committed,
    /// Nothing happened: the catalogue is another one by now.
    CatalogueMoved,
    /// Nothing happened: another process has the partition, or it stands elsewhere.
    Lost,
}

const COMMIT: &str = "WITH moved AS (
        UPDATE journal_partition SET next_offset = $5, broker_time_max = $6,
            last_offset = COALESCE($7, last_offset),
            last_broker_time = CASE WHEN $7::bigint IS NULL THEN last_broker_time ELSE $8 END,
            last_key = CASE WHEN $7::bigint IS NULL THEN last_key ELSE $9 END,
            last_crc = COALESCE($10, last_crc)
        WHERE partition = $1 AND generation = $2 AND owner = $3 AND next_offset = $4
            AND (SELECT version FROM catalog_head) = $11
        RETURNING partition, generation
    ), chained AS (
        INSERT INTO batch (partition, generation, from_offset, to_offset, read_count, accepted_count,
            duplicate_count, rejected_count, forwarded_count, control_count, rejected_by, exceptions,
            deltas, content_sum, broker_time_max, catalog_version, engine_version)
        SELECT partition, generation, $4, $5, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $6, $11, $22
        FROM moved
    ), alert AS (
        SELECT a.id, a.tenant, a.event_type, a.body
        FROM moved, unnest($23::text[], $24::text[], $25::text[], $26::jsonb[])
            AS a (id, tenant, event_type, body)
    ), told AS (
        INSERT INTO outbox (id, kind, tenant, endpoint_id, topic_key, body)
        SELECT a.id || '.' || e.id::text, 'webhook', a.tenant, e.id, NULL, a.body
        FROM alert AS a JOIN webhook_endpoint AS e
            ON e.disabled_at IS NULL AND (e.tenant IS NULL OR e.tenant = a.tenant)
            AND (cardinality(e.event_types) = 0 OR a.event_type = ANY (e.event_types))
        UNION ALL
        SELECT a.id, 'alert_topic', a.tenant, NULL, a.tenant, a.body FROM alert AS a
        ON CONFLICT (id) DO NOTHING
    ), limited AS (
        INSERT INTO limit_in_force (tenant, revision, limits, generation, partition, \"offset\")
        SELECT l.tenant, l.revision, l.limits, moved.generation, moved.partition, $5 - 1
        FROM moved, unnest($27::text[], $28::bigint[], $29::jsonb[]) AS l (tenant, revision, limits)
        ON CONFLICT (tenant) DO UPDATE SET revision = EXCLUDED.revision, limits = EXCLUDED.limits,
            generation = EXCLUDED.generation, partition = EXCLUDED.partition, \"offset\" = EXCLUDED.\"offset\"
        WHERE limit_in_force.revision < EXCLUDED.revision
    ), adjusted AS (
        INSERT INTO adjustment (tenant, id, generation, partition, \"offset\", broker_time, who, why,
            void_generation, void_offset, void_source, void_event_id)
        SELECT a.tenant, a.id, moved.generation, moved.partition, a.\"offset\", a.broker_time, a.who, a.why,
            a.void_generation, a.void_offset, a.void_source, a.void_event_id
        FROM moved, jsonb_to_recordset($30) AS a (tenant text, id text, \"offset\" bigint,
            broker_time timestamptz, who text, why text, void_generation integer, void_offset bigint,
            void_source text, void_event_id text)
    ), adjusted_usage AS (
        INSERT INTO adjustment_usage (tenant, meter, hour, dimensions, generation, partition, \"offset\",
            quantity, event_count)
        SELECT u.tenant, u.meter, u.hour, u.dimensions, moved.generation, moved.partition, u.\"offset\",
            u.quantity::numeric, u.event_count
        FROM moved, jsonb_to_recordset($31) AS u (tenant text, meter text, hour timestamptz, dimensions text,
            \"offset\" bigint, quantity text, event_count bigint)
    )
    SELECT EXISTS (SELECT 1 FROM moved), (SELECT version FROM catalog_head) = $11";
const FIND_OUT: &str = "SELECT next_offset, owner FROM journal_partition WHERE partition = $1 FOR UPDATE";
const SUM_OF: &str = "SELECT content_sum FROM batch
    WHERE partition = $1 AND generation = $2 AND from_offset = $3 AND to_offset = $4";

/// Commits a batch. After a transient error the outcome is not known: ask [`find_out`].
pub async fn commit(pool: &Pool, commit: &Commit) -> Result<CommitAnswer, StoreError> {
    let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let last = commit.last.as_ref();
    let broker_time: Option<DateTime<Utc>> = last.map(|last| last.broker_time.to_chrono());
    let (moved, same_catalogue): (bool, bool) = sqlx::query_as(COMMIT)
        .bind(commit.partition)
        .bind(commit.generation)
        .bind(&commit.owner[..])
        .bind(commit.from)
        .bind(commit.to)
        .bind(commit.broker_time_max.to_chrono())
        .bind(last.map(|last| last.offset))
        .bind(broker_time)
        .bind(last.and_then(|last| last.key.clone()))
        .bind(last.map(|last| last.crc))
        .bind(commit.catalog_version)
        .bind(count(commit.counts.read))
        .bind(count(commit.counts.accepted))
        .bind(count(commit.counts.duplicate))
        .bind(count(commit.counts.rejected))
        .bind(count(commit.counts.forwarded))
        .bind(count(commit.counts.control))
        .bind(&commit.rejected_by)
        .bind(&commit.exceptions)
        .bind(&commit.deltas)
        .bind(&commit.content_sum.to_bytes()[..])
        .bind(commit.engine_version)
        .bind(commit.alerts.iter().map(|alert| alert.id.clone()).collect::<Vec<_>>())
        .bind(commit.alerts.iter().map(|alert| alert.tenant.clone()).collect::<Vec<_>>())
        .bind(commit.alerts.iter().map(|alert| alert.event_type.clone()).collect::<Vec<_>>())
        .bind(commit.alerts.iter().map(|alert| alert.body.clone()).collect::<Vec<_>>())
        .bind(commit.limits.iter().map(|limits| limits.tenant.clone()).collect::<Vec<_>>())
        .bind(commit.limits.iter().map(|limits| limits.revision).collect::<Vec<_>>())
        .bind(commit.limits.iter().map(|limits| limits.limits.clone()).collect::<Vec<_>>())
        .bind(adjustment::rows(&commit.adjustments))
        .bind(adjustment::usage_rows(&commit.adjustments))
        .fetch_one(pool)
        .await
        .map_err(|error| StoreError::postgres(ATTEMPT, &error))?;
    Ok(match (moved, same_catalogue) {
        (true, _) => CommitAnswer::Committed,
        (false, false) => CommitAnswer::CatalogueMoved,
        (false, true) => CommitAnswer::Lost,
    })
}

/// What became of a commit whose answer was lost. `None`: it did not happen, and the same
/// commit may be tried again.
pub async fn find_out(pool: &Pool, commit: &Commit) -> Result<Option<CommitAnswer>, StoreError> {
    let failed = |error: sqlx::Error| StoreError::postgres("find out what became of a commit", &error);
    let mut transaction = pool.begin().await.map_err(failed)?;
    let found: Option<(i64, Option<Vec<u8>>)> = sqlx::query_as(FIND_OUT)
        .bind(commit.partition)
        .fetch_optional(&mut *transaction)
        .await
        .map_err(failed)?;
    let sum: Option<Vec<u8>> = sqlx::query_scalar(SUM_OF)
        .bind(commit.partition)
        .bind(commit.generation)
        .bind(commit.from)
        .bind(commit.to)
        .fetch_optional(&mut *transaction)
        .await
        .map_err(failed)?;
    transaction.rollback().await.map_err(failed)?;
    let ours = |owner: &Option<Vec<u8>>| owner.as_deref() == Some(&commit.owner[..]);
    Ok(match found {
        Some((next, owner)) if ours(&owner) && next == commit.from => None,
        Some((next, owner)) if ours(&owner) && next == commit.to => {
            let same = sum.as_deref() == Some(&commit.content_sum.to_bytes()[..]);
            Some(if same { CommitAnswer::Committed } else { CommitAnswer::Lost })
        }
        _ => Some(CommitAnswer::Lost),
    })
}
