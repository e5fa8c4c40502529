//! Adjustments of usage that someone asked for. They are counted through the journal: the
//! request and the control record that carries it are written in one transaction, and the
//! outbox delivers the record to the tenant's partition, whose shard judges it again.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::{FromRow, PgConnection, PgExecutor};
use weir_core::digest::Digest;
use weir_core::{Hash128, HashKey, Position, TenantId, Timestamp};
use weir_metering::adjustment::{Adjustment, Change};
use weir_metering::aggregate::{Aggregate, UsageKey};
use weir_metering::catalogue::Catalogue;
use weir_wire::adjustment::{decode, encode};

use super::{TenantError, audit};
use crate::StoreError;
use crate::outbox::{self, OutboxKind, OutboxMessage};
use crate::postgres::Pool;

const LOCK: &str = "SELECT status FROM tenant WHERE id = $1 FOR UPDATE";
const EARLIER: &str =
    "SELECT r.record->>'seal', coalesce(r.who, a.who), coalesce(r.why, a.why), a.id IS NOT NULL
    FROM (SELECT $1::text AS tenant, $2::text AS id) AS k
    LEFT JOIN adjustment_request r ON r.tenant = k.tenant AND r.id = k.id
    LEFT JOIN adjustment a ON a.tenant = k.tenant AND a.id = k.id
    WHERE r.id IS NOT NULL OR a.id IS NOT NULL";
const ASK: &str = "INSERT INTO adjustment_request (tenant, id, who, why, record, asked_at)
    VALUES ($1, $2, $3, $4, $5, $6)";
/// The record is the same, and counts once.
const DELIVER_AGAIN: &str = "UPDATE outbox SET delivered_at = NULL, failed_at = NULL, attempts = 0,
        next_attempt_at = clock_timestamp()
    WHERE id = $1 AND (delivered_at IS NOT NULL OR failed_at IS NOT NULL)";
/// What a ledger has counted without knowing of the request was asked for before it was restored.
const LIST: &str = "SELECT coalesce(r.id, a.id) AS id, coalesce(r.who, a.who) AS who,
        coalesce(r.why, a.why) AS why, r.record, r.asked_at, a.generation, a.partition,
        a.\"offset\" AS record_offset, a.broker_time, a.void_generation, a.void_offset, a.void_source,
        a.void_event_id,
        (SELECT coalesce(jsonb_agg(jsonb_build_object('meter', u.meter, 'hour', u.hour, 'dimensions',
                u.dimensions, 'quantity', trim_scale(u.quantity)::text, 'event_count', u.event_count)
                ORDER BY u.meter), '[]')
            FROM adjustment_usage u WHERE u.partition = a.partition AND u.generation = a.generation
                AND u.\"offset\" = a.\"offset\") AS usage
    FROM (SELECT * FROM adjustment_request WHERE tenant = $1) AS r
    FULL JOIN (SELECT * FROM adjustment WHERE tenant = $1) AS a ON a.id = r.id
    WHERE coalesce(r.id, a.id) > $2 AND ($3::text IS NULL OR coalesce(r.id, a.id) = $3)
    ORDER BY coalesce(r.id, a.id) LIMIT $4";

/// An adjustment, as far as it has come.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredAdjustment {
    /// Its id.
    pub id: String,
    /// Who decided it.
    pub who: String,
    /// Why.
    pub why: String,
    /// When it was asked for; `None` where the request was lost with a ledger that was restored.
    pub asked_at: Option<Timestamp>,
    /// The event that it takes out: position, source, id.
    pub void: Option<(Position, String, String)>,
    /// Where it was counted, and the broker's time there; `None` until then.
    pub counted: Option<(Position, Timestamp)>,
    /// What it has added to usage, once counted.
    pub usage: Vec<UsageChange>,
}

/// What an adjustment adds to the usage of one meter in one hour.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct UsageChange {
    /// Which meter.
    pub meter: String,
    /// Start of the hour, RFC 3339.
    pub hour: DateTime<Utc>,
    /// The dimension values, canonical JSON.
    pub dimensions: String,
    /// How much; an exact decimal.
    pub quantity: String,
    /// From how many events.
    pub event_count: i64,
}

/// A new id of an adjustment.
pub fn fresh_id() -> String {
    format!("adj_{}", uuid::Uuid::now_v7().simple())
}

/// The id of an adjustment that was asked for without one, under an Idempotency-Key: the same
/// whenever the same caller sends it again, so that it is counted once although nobody knows
/// what became of the first request.
pub fn id_of_request(key: &HashKey, credential: &str, tenant: &TenantId, idempotency_key: &str) -> String {
    let mut digest = Digest::new(key, "adjustment request");
    for text in [credential, tenant.as_str(), idempotency_key] {
        digest.field(text.as_bytes());
    }
    format!("adj_{}", digest.finish())
}

/// What an adjustment would add to usage. The catalogue must have been read after the tenant was
/// seen: then one that is not in it is deleted.
///
/// # Errors
/// [`TenantError::Invalid`] for what breaks a rule, or what a meter cannot do;
/// [`TenantError::State`] when the tenant is deleted.
pub fn preview(
    catalogue: &Catalogue,
    adjustment: &Adjustment,
    now: Timestamp,
) -> Result<Vec<UsageChange>, TenantError> {
    let facts = catalogue.tenant(adjustment.tenant.as_str()).ok_or_else(deleted)?;
    adjustment.validate().map_err(|error| TenantError::invalid("", error.to_string()))?;
    if let Change::Entry(entry) = &adjustment.change
        && entry.at > now
    {
        return Err(TenantError::invalid("/at", "it must not lie in the future"));
    }
    let usage = adjustment.usage(catalogue, facts.alignment);
    let usage = usage.map_err(|error| TenantError::invalid("", error.to_string()))?;
    Ok(changes(&usage))
}

fn deleted() -> TenantError {
    TenantError::State("the tenant is deleted: its usage no longer changes".into())
}

fn changes(usage: &BTreeMap<UsageKey, Aggregate>) -> Vec<UsageChange> {
    let change = |(key, change): (&UsageKey, &Aggregate)| UsageChange {
        meter: key.meter.to_string(),
        hour: key.hour.to_chrono(),
        dimensions: key.dimensions.clone(),
        quantity: change.quantity().to_string(),
        event_count: change.count(),
    };
    usage.iter().map(change).collect()
}

/// What a request for an adjustment has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// It is asked for: its record will be delivered.
    Anew,
    /// It was asked for before, and its record was delivered, but is not counted: not yet, or
    /// because counting refused it. The same record is delivered again, and counts once.
    Again,
    /// It was asked for before, and is counted or on its way: nothing has changed.
    Before,
}

/// Whether just this adjustment was asked for before, by the same one and for the same reason.
///
/// # Errors
/// [`TenantError::State`] when another adjustment has the id (of a void: the event is to be
/// taken out already).
pub async fn asked_before(pool: &Pool, adjustment: &Adjustment, key: &HashKey) -> Result<bool, TenantError> {
    let earlier = earlier(pool, adjustment).await?;
    earlier.map_or(Ok(false), |earlier| is_same(adjustment, adjustment.seal(key), &earlier).map(|()| true))
}

async fn earlier(
    executor: impl PgExecutor<'_>,
    adjustment: &Adjustment,
) -> Result<Option<Earlier>, StoreError> {
    sqlx::query_as(EARLIER)
        .bind(adjustment.tenant.as_str())
        .bind(&adjustment.id)
        .fetch_optional(executor)
        .await
        .map_err(failed)
}

/// Refuses an adjustment whose id another one has.
fn is_same(
    adjustment: &Adjustment,
    seal: Hash128,
    (known, by, because, counted): &Earlier,
) -> Result<(), TenantError> {
    if known.as_ref().is_some_and(|known| *known == seal.to_string()) {
        return Ok(());
    }
    let what = match &adjustment.change {
        Change::Void { .. } if *counted => "the event was taken out already".to_owned(),
        Change::Void { .. } => "the event was asked to be taken out already".to_owned(),
        Change::Entry(_) => format!("another adjustment of this tenant has the id {}", adjustment.id),
    };
    let became = if *counted { "" } else { " (not counted; asked for in the same words, it is sent again)" };
    Err(TenantError::State(format!("{what}, by {by}: {because}{became}")))
}

/// Asks for an adjustment. The same request again, by the same one, makes no second one.
///
/// # Errors
/// [`TenantError::State`] when another adjustment has the id (of a void: the event is to be
/// taken out already), or the tenant is gone; [`TenantError::Invalid`] for what breaks a rule.
/// [`TenantError::Store`] leaves open whether it was asked for: the same again tells.
pub async fn ask(
    pool: &Pool,
    adjustment: &Adjustment,
    key: &HashKey,
    now: Timestamp,
) -> Result<Asked, TenantError> {
    adjustment.validate().map_err(|error| TenantError::invalid("", error.to_string()))?;
    let Adjustment { id, tenant, who, why, .. } = adjustment;
    let mut tx = pool.begin().await.map_err(failed)?;
    let status: Option<String> =
        sqlx::query_scalar(LOCK).bind(tenant.as_str()).fetch_optional(&mut *tx).await.map_err(failed)?;
    if status.ok_or_else(|| TenantError::not_found("tenant", tenant.as_str()))? == "deleted" {
        return Err(deleted());
    }
    let seal = adjustment.seal(key);
    if let Some(earlier) = earlier(&mut *tx, adjustment).await? {
        let asked = ask_again(&mut tx, adjustment, seal, earlier).await?;
        tx.commit().await.map_err(failed)?;
        return Ok(asked);
    }
    let record = encode(adjustment, seal);
    sqlx::query(ASK)
        .bind(tenant.as_str())
        .bind(id)
        .bind(who)
        .bind(why)
        .bind(&record)
        .bind(now.to_chrono())
        .execute(&mut *tx)
        .await
        .map_err(failed)?;
    let message = OutboxMessage {
        id: message_id(adjustment),
        kind: OutboxKind::Adjustment,
        tenant: Some(tenant.to_string()),
        endpoint_id: None,
        topic_key: Some(tenant.to_string()),
        body: record.clone(),
    };
    outbox::enqueue(&mut tx, &[message]).await?;
    let action = match &adjustment.change {
        Change::Void { .. } => "event.voided",
        Change::Entry(_) => "usage.adjusted",
    };
    let detail = json!({ "id": id, "why": why, "entry": record.get("entry"), "void": record.get("void") });
    audit::record(&mut tx, now, who, action, Some(tenant.as_str()), detail).await?;
    tx.commit().await.map_err(failed)?;
    Ok(Asked::Anew)
}

/// Seal (of a request that is kept), who, why, and whether it is counted.
type Earlier = (Option<String>, String, String, bool);

/// What is to be done about an id that was asked for before.
async fn ask_again(
    connection: &mut PgConnection,
    adjustment: &Adjustment,
    seal: Hash128,
    earlier: Earlier,
) -> Result<Asked, TenantError> {
    is_same(adjustment, seal, &earlier)?;
    let (_, _, _, counted) = earlier;
    if counted {
        return Ok(Asked::Before);
    }
    let sent = sqlx::query(DELIVER_AGAIN).bind(message_id(adjustment)).execute(connection).await;
    Ok(if sent.map_err(failed)?.rows_affected() > 0 { Asked::Again } else { Asked::Before })
}

/// The id of the outbox's message.
fn message_id(adjustment: &Adjustment) -> String {
    format!("adjustment/{}/{}", adjustment.tenant, adjustment.id)
}

fn failed(error: sqlx::Error) -> StoreError {
    StoreError::postgres("ask for an adjustment", &error)
}

#[derive(FromRow)]
struct Line {
    id: String,
    who: String,
    why: String,
    record: Option<Value>,
    asked_at: Option<DateTime<Utc>>,
    generation: Option<i32>,
    partition: Option<i32>,
    record_offset: Option<i64>,
    broker_time: Option<DateTime<Utc>>,
    void_generation: Option<i32>,
    void_offset: Option<i64>,
    void_source: Option<String>,
    void_event_id: Option<String>,
    usage: Value,
}

/// Up to `limit` adjustments of a tenant by rising id, those after `after`.
pub async fn list(
    pool: &Pool,
    tenant: &TenantId,
    after: Option<&str>,
    limit: i64,
) -> Result<Vec<StoredAdjustment>, StoreError> {
    read(pool, tenant, (after, None), limit).await
}

/// One adjustment of a tenant.
pub async fn get(pool: &Pool, tenant: &TenantId, id: &str) -> Result<Option<StoredAdjustment>, StoreError> {
    Ok(read(pool, tenant, (None, Some(id)), 1).await?.pop())
}

async fn read(
    pool: &Pool,
    tenant: &TenantId,
    (after, only): (Option<&str>, Option<&str>),
    limit: i64,
) -> Result<Vec<StoredAdjustment>, StoreError> {
    let lines: Vec<Line> = sqlx::query_as(LIST)
        .bind(tenant.as_str())
        .bind(after.unwrap_or_default())
        .bind(only)
        .bind(limit)
        .fetch_all(pool)
        .await
        .map_err(|error| StoreError::postgres("list adjustments", &error))?;
    lines.into_iter().map(Line::read).collect()
}

impl Line {
    fn read(self) -> Result<StoredAdjustment, StoreError> {
        fn corrupt(error: impl std::fmt::Display) -> StoreError {
            StoreError::corrupt("read an adjustment", error)
        }
        let place = self.generation.zip(self.partition).zip(self.record_offset);
        let position =
            place.map(|((generation, partition), offset)| Position { generation, partition, offset });
        let counted = position.zip(self.broker_time.map(Timestamp::from));
        let void = self.void_generation.zip(self.void_offset).zip(position);
        let void = void.map(|((generation, offset), Position { partition, .. })| {
            let (source, id) = (self.void_source.unwrap_or_default(), self.void_event_id.unwrap_or_default());
            (Position { generation, partition, offset }, source, id)
        });
        let void = match (void, &self.record) {
            (None, Some(record)) => asked_void(record).map_err(corrupt)?,
            (counted, _) => counted,
        };
        Ok(StoredAdjustment {
            id: self.id,
            who: self.who,
            why: self.why,
            asked_at: self.asked_at.map(Timestamp::from),
            void,
            counted,
            usage: serde_json::from_value(self.usage).map_err(corrupt)?,
        })
    }
}

/// The event that a record takes out.
fn asked_void(record: &Value) -> Result<Option<(Position, String, String)>, String> {
    let (adjustment, _) = decode(record.to_string().as_bytes()).map_err(|problem| problem.detail)?;
    Ok(match adjustment.change {
        Change::Void { position, event } => Some((position, event.source, event.id)),
        Change::Entry(_) => None,
    })
}
