//! Which periods are to be billed, which were billed already, and how far the journal has
//! been counted. It closes nothing: whether a period is over is decided by who asks.

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgConnection};
use weir_billing::{PlanVersion, Subscription};
use weir_core::{Generation, Partition, Span, TenantId, Timestamp};

use super::failed;
use crate::StoreError;
use crate::postgres::Pool;

/// A period of a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DuePeriod {
    /// Who is billed, for which plan, by whom.
    pub subscription: Subscription,
    /// Which period.
    pub period: Span,
    /// The ISO 4217 code of the currency that the tenant is billed in.
    pub currency: String,
}

/// A period whose invoice is finalized.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BilledPeriod {
    /// Who was billed.
    pub subscription: Subscription,
    /// Which period.
    pub period: Span,
}

/// How far one partition has been counted and folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalReach {
    /// Which life of the topic.
    pub generation: Generation,
    /// Which partition.
    pub partition: Partition,
    /// Usage rows hold everything below.
    pub folded_to: i64,
    /// ClickHouse was filled with everything below.
    pub projected_to: i64,
    /// The first offset that is not counted.
    pub next_offset: i64,
    /// The running maximum of broker time of what is counted.
    pub broker_time_max: Timestamp,
    /// The same of what is folded; the epoch where nothing is.
    pub folded_broker_time: Timestamp,
}

/// A published version of a plan, with the hash that was stored beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredPlan {
    /// The version.
    pub plan: PlanVersion,
    /// SHA-256 of its content when it was published.
    pub content_hash: String,
}

#[derive(FromRow)]
struct PeriodRow {
    id: String,
    tenant: String,
    plan: String,
    legal_entity: String,
    starts_at: DateTime<Utc>,
    zone: String,
    anchor: String,
    currency: String,
    period_start: DateTime<Utc>,
    period_end: DateTime<Utc>,
}

// A period that two subscriptions touch belongs to the later one, so usage is billed once.
const DUE: &str =
    "SELECT s.id, s.tenant, s.plan, s.legal_entity, s.starts_at, t.zone, t.anchor::text AS anchor,
        t.currency, p.starts_at AS period_start, p.ends_at AS period_end
    FROM subscription s
    JOIN tenant t ON t.id = s.tenant
    JOIN billing_period p ON p.tenant = s.tenant AND p.ends_at > s.starts_at
        AND p.starts_at < coalesce(s.ends_at, 'infinity')
    LEFT JOIN invoice i ON i.subscription = s.id AND i.period_start = p.starts_at AND i.sequence = 0
    WHERE p.ends_at <= $1 AND ($2::text IS NULL OR s.tenant = $2)
      AND i.id IS NULL
      AND NOT EXISTS (SELECT 1 FROM subscription later WHERE later.tenant = s.tenant
        AND later.starts_at > s.starts_at AND later.starts_at < p.ends_at)
    ORDER BY p.ends_at, s.legal_entity, s.tenant, s.id";

const BILLED: &str =
    "SELECT s.id, s.tenant, s.plan, s.legal_entity, s.starts_at, t.zone, t.anchor::text AS anchor,
        t.currency, i.period_start, i.period_end
    FROM invoice i JOIN subscription s ON s.id = i.subscription JOIN tenant t ON t.id = s.tenant
    WHERE i.sequence = 0 AND i.status IN ('finalized', 'paid') AND ($2::text IS NULL OR s.tenant = $2)
      AND (i.period_end >= $1 OR EXISTS (SELECT 1 FROM adjustment_usage a
        WHERE a.tenant = i.tenant AND a.hour >= i.period_start AND a.hour < i.period_end
          AND NOT EXISTS (SELECT 1 FROM invoice d
            WHERE d.subscription = i.subscription AND d.period_start = i.period_start
              AND (d.cut_generation, d.cut_offset) > (a.generation, a.\"offset\"))))
    ORDER BY i.period_end, s.legal_entity, s.tenant, s.id";

const REACH: &str = "SELECT p.generation, p.folded_to, p.projected_to, p.next_offset, p.broker_time_max,
        (SELECT b.broker_time_max FROM batch b
         WHERE b.partition = p.partition
           AND (b.generation < p.generation OR (b.generation = p.generation AND b.to_offset <= p.folded_to))
         ORDER BY b.generation DESC, b.from_offset DESC LIMIT 1) AS folded_broker_time
    FROM journal_partition p WHERE p.partition = $1";

const NEWEST_BROKER_TIME: &str = "SELECT max(broker_time_max) FROM journal_partition";

const PLANS: &str = "SELECT definition::text, content_hash FROM plan_version ORDER BY key, version";

/// Periods that end by `until` and have no finalized invoice, the earliest first.
pub async fn due_periods(
    pool: &Pool,
    until: Timestamp,
    only: Option<&TenantId>,
) -> Result<Vec<DuePeriod>, StoreError> {
    let rows = period_rows(pool, DUE, until, only).await?;
    rows.into_iter()
        .map(|mut row| {
            let currency = std::mem::take(&mut row.currency);
            let (subscription, period) = row.read()?;
            Ok(DuePeriod { subscription, period, currency })
        })
        .collect()
}

/// Periods with a finalized invoice that end at `since` or later, or that an adjustment has
/// changed since their last document, the earliest first.
pub async fn billed_periods(
    pool: &Pool,
    since: Timestamp,
    only: Option<&TenantId>,
) -> Result<Vec<BilledPeriod>, StoreError> {
    let rows = period_rows(pool, BILLED, since, only).await?;
    rows.into_iter()
        .map(|row| row.read().map(|(subscription, period)| BilledPeriod { subscription, period }))
        .collect()
}

/// How far a partition has come; `None` when nobody has counted it yet.
pub async fn journal_reach(pool: &Pool, partition: Partition) -> Result<Option<JournalReach>, StoreError> {
    let mut conn = pool.acquire().await.map_err(failed("read how far a partition has come"))?;
    reach(&mut conn, partition).await
}

pub(super) async fn reach(
    conn: &mut PgConnection,
    partition: Partition,
) -> Result<Option<JournalReach>, StoreError> {
    type Row = (i32, i64, i64, i64, DateTime<Utc>, Option<DateTime<Utc>>);
    let row: Option<Row> = sqlx::query_as(REACH)
        .bind(partition)
        .fetch_optional(conn)
        .await
        .map_err(failed("read how far a partition has come"))?;
    Ok(row.map(|(generation, folded_to, projected_to, next_offset, broker_time_max, folded)| JournalReach {
        generation,
        partition,
        folded_to,
        projected_to,
        next_offset,
        broker_time_max: broker_time_max.into(),
        folded_broker_time: folded.map_or(Timestamp::EPOCH, Timestamp::from),
    }))
}

/// The newest broker time of any partition; `None` before anything was counted.
pub async fn newest_broker_time(pool: &Pool) -> Result<Option<Timestamp>, StoreError> {
    let newest: Option<DateTime<Utc>> = sqlx::query_scalar(NEWEST_BROKER_TIME)
        .fetch_one(pool)
        .await
        .map_err(failed("read how far the partitions have come"))?;
    Ok(newest.map(Timestamp::from))
}

/// All published versions of all plans.
pub async fn plans(pool: &Pool) -> Result<Vec<StoredPlan>, StoreError> {
    const ATTEMPT: &str = "read the plans";
    let rows: Vec<(String, String)> = sqlx::query_as(PLANS).fetch_all(pool).await.map_err(failed(ATTEMPT))?;
    rows.into_iter()
        .map(|(definition, content_hash)| {
            let plan =
                serde_json::from_str(&definition).map_err(|error| StoreError::corrupt(ATTEMPT, error))?;
            Ok(StoredPlan { plan, content_hash })
        })
        .collect()
}

async fn period_rows(
    pool: &Pool,
    query: &'static str,
    bound: Timestamp,
    only: Option<&TenantId>,
) -> Result<Vec<PeriodRow>, StoreError> {
    sqlx::query_as(query)
        .bind(bound.to_chrono())
        .bind(only.map(TenantId::as_str))
        .fetch_all(pool)
        .await
        .map_err(failed("read the periods to be billed"))
}

impl PeriodRow {
    fn read(self) -> Result<(Subscription, Span), StoreError> {
        fn corrupt(error: impl std::fmt::Display) -> StoreError {
            StoreError::corrupt("read a subscription", error)
        }
        let subscription = Subscription {
            id: self.id,
            tenant: TenantId::new(&self.tenant).map_err(corrupt)?,
            plan: weir_billing::PlanKey::new(&self.plan).map_err(corrupt)?,
            legal_entity: weir_billing::LegalEntityKey::new(&self.legal_entity).map_err(corrupt)?,
            zone: self.zone,
            anchor: self.anchor,
            starts_at: self.starts_at.into(),
        };
        Ok((subscription, Span { start: self.period_start.into(), end: self.period_end.into() }))
    }
}
