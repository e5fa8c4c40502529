//! Changing the catalogue: what a file would change, and applying it in one transaction.
//!
//! Two that apply at once are put in a row by locking `catalog_head`; the second sees what
//! the first published, and what it wanted to add is checked again. A meter's first version
//! may begin in the past only while no accepted event can lie at or after its beginning:
//! the ledger does not keep event types, so any accepted event counts. The history is looked
//! through before anything is locked; then batches that are just being committed are waited
//! for, so that none is judged by the meters of before, and only they are looked through
//! again. Commits stand behind that lock, so it is asked for a few seconds at most.

use weir_core::Timestamp;
use weir_core::time::HOUR_MS;
use weir_metering::meter::Meter;
use weir_wire::catalog_file::{Catalog, CatalogDifference, CatalogFile, Change, Refusal, difference};

use super::load::{bump, published, published_in};
use crate::StoreError;
use crate::postgres::Pool;

/// How far after its broker time an accepted event may lie at most: the highest bound that
/// counting may be configured with, so that changing it never makes a check here too weak.
pub const FUTURE_BOUND_MS_MAX: i64 = 24 * HOUR_MS;

/// Why the catalogue was not changed. Nothing was applied.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The ledger could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file cannot be applied to what is published.
    #[error("the catalogue file cannot be applied: {}", listed(.0))]
    File(Vec<Refusal>),
    /// Somebody else published something in between.
    #[error("{0} was published by someone else in between, or the version before it is missing; plan again")]
    Overtaken(String),
    /// A first version of a meter that would apply to events that were counted without it.
    #[error(
        "meter {key} cannot begin at {begins}: events were counted already that it might apply to; give it a begins_at in the future, {earliest} or later"
    )]
    AlreadyCounted {
        /// Which meter.
        key: String,
        /// Where it would begin.
        begins: String,
        /// The earliest that is possible.
        earliest: Timestamp,
    },
    /// A later version that begins among events that may have been counted by now.
    #[error(
        "{what} begins at {begins_at}, which is too early by now; {earliest} or later is possible, so plan again"
    )]
    Passed {
        /// Such as `plan pro v2`.
        what: String,
        /// Where it begins.
        begins_at: Timestamp,
        /// The earliest that is possible.
        earliest: Timestamp,
    },
}

const LOCK_PATIENCE: &str = "SET LOCAL lock_timeout = '5s'";
const LOCK_COMMITS: &str = "LOCK TABLE journal_partition IN SHARE MODE";
const LOCK_HEAD: &str = "SELECT version FROM catalog_head FOR UPDATE";
const COUNTED_SINCE: &str =
    "SELECT EXISTS (SELECT 1 FROM batch WHERE accepted_count > 0 AND broker_time_max >= $1)";
const STANDING: &str = "SELECT partition, generation, next_offset FROM journal_partition";
const COUNTED_MEANWHILE: &str = "SELECT EXISTS (SELECT 1
    FROM journal_partition AS p
    LEFT JOIN unnest($2::integer[], $3::integer[], $4::bigint[])
        AS seen (partition, generation, next_offset) ON seen.partition = p.partition
    JOIN batch AS b ON b.partition = p.partition AND (b.generation, b.from_offset)
        >= (coalesce(seen.generation, -2147483648), coalesce(seen.next_offset, 0))
    WHERE b.accepted_count > 0 AND b.broker_time_max >= $1)";
const NEWEST_COUNTED: &str = "SELECT max(broker_time_max) FROM journal_partition";
const ADD_LEGAL_ENTITY: &str =
    "INSERT INTO legal_entity (key, name, document, number_prefix) VALUES ($1, $2, $3::jsonb, $4)";
const ADD_METER: &str = "INSERT INTO meter_version (key, version, definition, begins_at, applied_at)
    VALUES ($1, $2, $3::jsonb, $4, $5)";
const ADD_PLAN: &str =
    "INSERT INTO plan_version (key, version, definition, content_hash, begins_at, applied_at)
    VALUES ($1, $2, $3::jsonb, $4, $5, $6)";

/// What applying a file would change, compared with what is published now. Its changes and
/// notes print themselves. `future_bound_ms` is how far ahead an event's time may lie,
/// `margin_ms` what is added for safety.
pub async fn plan(
    pool: &Pool,
    file: &CatalogFile,
    now: Timestamp,
    future_bound_ms: i64,
    margin_ms: i64,
) -> Result<CatalogDifference, CatalogError> {
    let current = published(pool).await?;
    difference(&current, file, now, future_bound_ms, margin_ms).map_err(CatalogError::File)
}

/// Applies changes in one transaction and returns the catalogue's version after it. What was
/// published meanwhile with the same content is left out; without anything left nothing changes.
/// A later version must still begin after `now` and the bound for future events.
pub async fn apply(
    pool: &Pool,
    changes: &[Change],
    now: Timestamp,
    future_bound_ms: i64,
) -> Result<i64, CatalogError> {
    const ATTEMPT: &str = "change the catalogue";
    let failed = |error: sqlx::Error| StoreError::postgres(ATTEMPT, &error);
    let earliest = now.plus_millis(future_bound_ms);
    let known = published(pool).await?;
    let mut standing = Vec::new();
    for change in changes {
        if let Change::AddMeter(meter) = change
            && check(&known, change, earliest).unwrap_or(false)
        {
            standing.push((meter, check_history(pool, meter, now).await?));
        }
    }
    let mut transaction = pool.begin().await.map_err(failed)?;
    sqlx::query(LOCK_PATIENCE).execute(&mut *transaction).await.map_err(failed)?;
    if changes.iter().any(|change| matches!(change, Change::AddMeter(_))) {
        sqlx::query(LOCK_COMMITS).execute(&mut *transaction).await.map_err(failed)?;
    }
    let version: i64 = sqlx::query_scalar(LOCK_HEAD).fetch_one(&mut *transaction).await.map_err(failed)?;
    let mut current = published_in(&mut transaction).await?;
    let mut added = false;
    for change in changes {
        if !check(&current, change, earliest)? {
            continue;
        }
        if let Change::AddMeter(meter) = change {
            let before = standing.iter().find(|(other, _)| *other == meter).map(|(_, standing)| standing);
            check_meanwhile(&mut transaction, meter, before, now).await?;
        }
        insert(&mut transaction, change, now).await?;
        remember(&mut current, change);
        added = true;
    }
    let version = if added { bump(&mut transaction).await? } else { version };
    transaction.commit().await.map_err(failed)?;
    Ok(version)
}

/// Whether the change is still to be made; `false` when just this is published already.
fn check(current: &Catalog, change: &Change, earliest: Timestamp) -> Result<bool, CatalogError> {
    let (what, same, other, in_sequence, later_at) = match change {
        Change::AddLegalEntity(entity) => {
            let same = current.legal_entities.contains(entity);
            let other = current
                .legal_entities
                .iter()
                .any(|e| e.key == entity.key || e.number_prefix == entity.number_prefix);
            (format!("legal entity {}", entity.key), same, other, true, None)
        }
        Change::AddMeter(meter) => {
            let known = current.meters.iter().filter(|m| m.key == meter.key).map(|m| m.version);
            let newest = known.clone().max().unwrap_or(0);
            let (same, other) = (current.meters.contains(meter), known.clone().any(|v| v == meter.version));
            let later_at = meter.begins_at.filter(|_| meter.version > 1);
            let what = format!("meter {} v{}", meter.key, meter.version);
            (what, same, other, meter.version == newest + 1, later_at)
        }
        Change::AddPlan(plan) => {
            let known = current.plans.iter().filter(|p| p.key == plan.key).map(|p| p.version);
            let newest = known.clone().max().unwrap_or(0);
            let (same, other) = (current.plans.contains(plan), known.clone().any(|v| v == plan.version));
            let later_at = plan.begins_at.filter(|_| plan.version > 1);
            let what = format!("plan {} v{}", plan.key, plan.version);
            (what, same, other, plan.version == newest + 1, later_at)
        }
    };
    if same {
        return Ok(false);
    }
    if other || !in_sequence {
        return Err(CatalogError::Overtaken(what));
    }
    match later_at.filter(|begins_at| *begins_at < earliest) {
        Some(begins_at) => Err(CatalogError::Passed { what, begins_at, earliest }),
        None => Ok(true),
    }
}

/// Where counting stood in each partition: number, generation, next offset.
type Standing = Vec<(i32, i32, i64)>;

/// The times of batches from which on an event of a first version may have been counted.
fn counted_since(meter: &Meter) -> Timestamp {
    meter.begins_at.unwrap_or(Timestamp::EPOCH).plus_millis(-FUTURE_BOUND_MS_MAX)
}

/// Refuses a first version that begins where events were counted without it. Returns how far
/// counting had come before it looked.
async fn check_history(pool: &Pool, meter: &Meter, now: Timestamp) -> Result<Standing, CatalogError> {
    if meter.version > 1 {
        return Ok(Standing::new());
    }
    let standing: Standing = sqlx::query_as(STANDING).fetch_all(pool).await.map_err(unlooked)?;
    let mut conn = pool.acquire().await.map_err(unlooked)?;
    let newest = newest_counted(&mut conn).await?;
    let since = counted_since(meter);
    if newest.is_none_or(|newest| newest < since) {
        return Ok(standing);
    }
    let query = sqlx::query_scalar(COUNTED_SINCE).bind(since.to_chrono());
    let counted: bool = query.fetch_one(&mut *conn).await.map_err(unlooked)?;
    if counted { Err(already_counted(meter, newest, now)) } else { Ok(standing) }
}

/// Refuses a first version that begins where events were counted since its history was looked
/// through, which a change that was only added meanwhile never was.
async fn check_meanwhile(
    conn: &mut sqlx::PgConnection,
    meter: &Meter,
    before: Option<&Standing>,
    now: Timestamp,
) -> Result<(), CatalogError> {
    if meter.version > 1 {
        return Ok(());
    }
    let none = Standing::new();
    let before = before.unwrap_or(&none);
    let counted: bool = sqlx::query_scalar(COUNTED_MEANWHILE)
        .bind(counted_since(meter).to_chrono())
        .bind(before.iter().map(|(partition, _, _)| *partition).collect::<Vec<_>>())
        .bind(before.iter().map(|(_, generation, _)| *generation).collect::<Vec<_>>())
        .bind(before.iter().map(|(_, _, next_offset)| *next_offset).collect::<Vec<_>>())
        .fetch_one(&mut *conn)
        .await
        .map_err(unlooked)?;
    if !counted {
        return Ok(());
    }
    let newest = newest_counted(conn).await?;
    Err(already_counted(meter, newest, now))
}

async fn newest_counted(conn: &mut sqlx::PgConnection) -> Result<Option<Timestamp>, StoreError> {
    let newest: Option<chrono::DateTime<chrono::Utc>> =
        sqlx::query_scalar(NEWEST_COUNTED).fetch_one(conn).await.map_err(unlooked)?;
    Ok(newest.map(Timestamp::from))
}

fn unlooked(error: sqlx::Error) -> StoreError {
    StoreError::postgres("look for events that were counted already", &error)
}

fn already_counted(meter: &Meter, newest: Option<Timestamp>, now: Timestamp) -> CatalogError {
    CatalogError::AlreadyCounted {
        key: meter.key.to_string(),
        begins: meter.begins_at.map_or_else(|| "the beginning of time".to_owned(), |at| at.to_string()),
        earliest: newest.unwrap_or(now).max(now).plus_millis(FUTURE_BOUND_MS_MAX + HOUR_MS),
    }
}

async fn insert(conn: &mut sqlx::PgConnection, change: &Change, now: Timestamp) -> Result<(), StoreError> {
    const ATTEMPT: &str = "publish a definition";
    let at = |at: Option<Timestamp>| at.map(Timestamp::to_chrono);
    let version = |version: u32| i32::try_from(version).map_err(|error| StoreError::corrupt(ATTEMPT, error));
    let query = match change {
        Change::AddLegalEntity(entity) => sqlx::query(ADD_LEGAL_ENTITY)
            .bind(entity.key.as_str())
            .bind(entity.name.as_str())
            .bind(json(entity)?)
            .bind(entity.number_prefix.as_str()),
        Change::AddMeter(meter) => sqlx::query(ADD_METER)
            .bind(meter.key.as_str())
            .bind(version(meter.version)?)
            .bind(json(meter)?)
            .bind(at(meter.begins_at))
            .bind(now.to_chrono()),
        Change::AddPlan(plan) => sqlx::query(ADD_PLAN)
            .bind(plan.key.as_str())
            .bind(version(plan.version)?)
            .bind(json(plan)?)
            .bind(plan.content_hash().map_err(|error| StoreError::corrupt(ATTEMPT, error))?)
            .bind(at(plan.begins_at))
            .bind(now.to_chrono()),
    };
    query.execute(conn).await.map(|_| ()).map_err(|error| StoreError::postgres(ATTEMPT, &error))
}

fn json<T: serde::Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::corrupt("write a definition as JSON", error))
}

fn remember(current: &mut Catalog, change: &Change) {
    match change.clone() {
        Change::AddLegalEntity(entity) => current.legal_entities.push(entity),
        Change::AddMeter(meter) => current.meters.push(meter),
        Change::AddPlan(plan) => current.plans.push(plan),
    }
}

fn listed(refusals: &[Refusal]) -> String {
    refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
