//! The outbox: what must be told after a commit. Rows are written by the transaction
//! that makes them true and delivered later, at least once, under one id.

use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;
use weir_core::{Homes, Partition};

use crate::StoreError;
use crate::postgres::Pool;

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OutboxKind {
    /// A signed POST to a webhook endpoint.
    Webhook,
    /// A record of the alerts topic.
    AlertTopic,
    /// A tenant's limits: a control record of the usage topic, keyed by tenant.
    Control,
    /// An adjustment: another one.
    Adjustment,
    /// A record of the topic of invoice numbers.
    InvoiceTopic,
}

impl OutboxKind {
    /// All kinds.
    pub const ALL: [Self; 5] =
        [Self::Webhook, Self::AlertTopic, Self::Control, Self::Adjustment, Self::InvoiceTopic];

    /// As stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::AlertTopic => "alert_topic",
            Self::Control => "control",
            Self::Adjustment => "adjustment",
            Self::InvoiceTopic => "invoice_topic",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// A message to be told.
#[derive(Clone, Debug, PartialEq)]
pub struct OutboxMessage {
    /// Its id; a second message with the same id is ignored.
    pub id: String,
    /// Which way.
    pub kind: OutboxKind,
    /// Whom it is about.
    pub tenant: Option<String>,
    /// Webhooks: where to.
    pub endpoint_id: Option<Uuid>,
    /// Topics: the record's key.
    pub topic_key: Option<String>,
    /// What is said.
    pub body: Value,
}

const ENQUEUE: &str = "INSERT INTO outbox (id, kind, tenant, endpoint_id, topic_key, body)
    SELECT * FROM UNNEST($1::text[], $2::text[], $3::text[], $4::uuid[], $5::text[], $6::jsonb[])
    ON CONFLICT (id) DO NOTHING";

/// Adds messages within the caller's transaction.
pub async fn enqueue(connection: &mut PgConnection, messages: &[OutboxMessage]) -> Result<(), StoreError> {
    let ids: Vec<_> = messages.iter().map(|message| message.id.clone()).collect();
    let kinds: Vec<_> = messages.iter().map(|message| message.kind.as_str()).collect();
    let tenants: Vec<_> = messages.iter().map(|message| message.tenant.clone()).collect();
    let endpoints: Vec<_> = messages.iter().map(|message| message.endpoint_id).collect();
    let keys: Vec<_> = messages.iter().map(|message| message.topic_key.clone()).collect();
    let bodies: Vec<_> = messages.iter().map(|message| message.body.clone()).collect();
    sqlx::query(ENQUEUE)
        .bind(ids)
        .bind(kinds)
        .bind(tenants)
        .bind(endpoints)
        .bind(keys)
        .bind(bodies)
        .execute(connection)
        .await
        .map_err(|error| StoreError::postgres("write to the outbox", &error))?;
    Ok(())
}

/// An event that is told to whoever wants it.
#[derive(Clone, Debug, PartialEq)]
pub struct WebhookMessage {
    /// Its id; each endpoint gets it under an id that begins with it.
    pub id: String,
    /// Whom it is about.
    pub tenant: String,
    /// What is said.
    pub body: Value,
}

const ENQUEUE_EVENTS: &str = "WITH event AS (
        SELECT * FROM UNNEST($2::text[], $3::text[], $4::jsonb[]) AS e (id, tenant, body))
    INSERT INTO outbox (id, kind, tenant, endpoint_id, topic_key, body)
    SELECT e.id || '.' || w.id::text, 'webhook', e.tenant, w.id, NULL::text, e.body
    FROM event e JOIN webhook_endpoint w ON w.disabled_at IS NULL AND (w.tenant IS NULL OR w.tenant = e.tenant)
      AND (w.event_types = '{}' OR $1 = ANY (w.event_types))
    UNION ALL SELECT e.id, 'alert_topic', e.tenant, NULL::uuid, e.tenant, e.body FROM event e
    ON CONFLICT (id) DO NOTHING";

/// Tells events of a type to every webhook endpoint that wants them, and to the alerts topic,
/// within the caller's transaction. Each gets an event once under one id.
pub async fn enqueue_webhook_events(
    connection: &mut PgConnection,
    event_type: &str,
    events: &[WebhookMessage],
) -> Result<(), StoreError> {
    let ids: Vec<_> = events.iter().map(|event| event.id.as_str()).collect();
    let tenants: Vec<_> = events.iter().map(|event| event.tenant.as_str()).collect();
    let bodies: Vec<_> = events.iter().map(|event| &event.body).collect();
    sqlx::query(ENQUEUE_EVENTS)
        .bind(event_type)
        .bind(ids)
        .bind(tenants)
        .bind(bodies)
        .execute(connection)
        .await
        .map_err(|error| StoreError::postgres("write events to the outbox", &error))?;
    Ok(())
}

/// Messages that are delivered side by side: a slow receiver of webhooks must not keep the
/// topics waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Webhooks.
    Webhooks,
    /// Everything that goes to Kafka.
    Topics,
}

/// A message whose time has come, held by this process until `lease` is over.
#[derive(Clone, Debug)]
pub struct DueMessage {
    /// The message.
    pub message: OutboxMessage,
    /// When it was written, in microseconds since 1970: a ledger that went back in time may hold
    /// another message under the same id since.
    pub written_us: i64,
    /// How often it was tried before.
    pub attempts: i32,
    /// Webhooks: the endpoint's URL; `None` when it was removed or switched off.
    pub url: Option<String>,
    /// Webhooks: the endpoint's secret (`whsec_…`).
    pub secret: Option<String>,
    /// Control records: the partition that the tenant is at home in.
    pub home: Option<Partition>,
}

// Control records go out oldest first, so that a tenant's revisions rise in the journal.
const CLAIM: &str = "UPDATE outbox o
    SET next_attempt_at = clock_timestamp() + interval '60 seconds', attempts = o.attempts + 1
    FROM (SELECT due.id, w.url, w.secret, t.home_width
          FROM outbox due
          LEFT JOIN tenant t ON t.id = due.tenant AND due.kind IN ('control', 'adjustment')
          LEFT JOIN webhook_endpoint w ON w.id = due.endpoint_id AND w.disabled_at IS NULL
          WHERE due.delivered_at IS NULL AND due.failed_at IS NULL AND (due.kind = 'webhook') = $2
            AND due.next_attempt_at <= clock_timestamp()
          ORDER BY due.next_attempt_at, due.created_at, due.id
          LIMIT $1 FOR UPDATE OF due SKIP LOCKED) AS taken
    WHERE o.id = taken.id
    RETURNING o.id, o.kind, o.tenant, o.endpoint_id, o.topic_key, o.body,
        (extract(epoch FROM o.created_at) * 1000000)::bigint, o.attempts - 1, taken.url, taken.secret,
        taken.home_width";

type DueRow = (
    String,
    String,
    Option<String>,
    Option<Uuid>,
    Option<String>,
    Value,
    i64,
    i32,
    Option<String>,
    Option<String>,
    Option<i32>,
);

/// Takes up to `count` messages of a lane that are due. Each is offered to no one else for a minute,
/// so a process that dies loses nothing.
pub async fn claim(pool: &Pool, lane: Lane, count: i64) -> Result<Vec<DueMessage>, StoreError> {
    const ATTEMPT: &str = "take messages from the outbox";
    let rows: Vec<DueRow> = sqlx::query_as(CLAIM)
        .bind(count)
        .bind(lane == Lane::Webhooks)
        .fetch_all(pool)
        .await
        .map_err(|error| StoreError::postgres(ATTEMPT, &error))?;
    rows.into_iter()
        .map(|(id, kind, tenant, endpoint_id, topic_key, body, written_us, attempts, url, secret, width)| {
            let kind = OutboxKind::parse(&kind)
                .ok_or_else(|| StoreError::corrupt(ATTEMPT, format!("unknown kind {kind}")))?;
            let home = width.zip(tenant.as_deref()).map(|(width, tenant)| Homes::new(width).of(tenant));
            let message = OutboxMessage { id, kind, tenant, endpoint_id, topic_key, body };
            Ok(DueMessage { message, written_us, attempts, url, secret, home })
        })
        .collect()
}

/// What became of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// It arrived.
    Delivered,
    /// It did not; try again after so many milliseconds.
    RetryAfterMs(i64, String),
    /// It never will; kept and shown.
    GivenUp(String),
    /// The receiver said 410 Gone: the endpoint is switched off, the message given up.
    EndpointGone(String),
}

// What is settled is the message that was taken, and not another one under its id.
const DELIVERED: &str = "UPDATE outbox SET delivered_at = clock_timestamp(), last_error = NULL
    WHERE id = $1 AND (extract(epoch FROM created_at) * 1000000)::bigint = $2";
const RETRY: &str = "UPDATE outbox SET last_error = $3,
    next_attempt_at = clock_timestamp() + $4 * interval '1 millisecond'
    WHERE id = $1 AND (extract(epoch FROM created_at) * 1000000)::bigint = $2";
const GIVEN_UP: &str = "UPDATE outbox SET failed_at = clock_timestamp(), last_error = $3
    WHERE id = $1 AND (extract(epoch FROM created_at) * 1000000)::bigint = $2";
const ENDPOINT_GONE: &str = "UPDATE webhook_endpoint SET disabled_at = now(), disabled_why = $2
    WHERE id = $1 AND disabled_at IS NULL";

/// Writes down what became of an attempt at a message that was taken.
pub async fn settle(pool: &Pool, due: &DueMessage, attempt: &Attempt) -> Result<(), StoreError> {
    let of_message = |statement| sqlx::query(statement).bind(&due.message.id).bind(due.written_us);
    let query = match attempt {
        Attempt::Delivered => of_message(DELIVERED),
        Attempt::RetryAfterMs(after_ms, why) => of_message(RETRY).bind(why).bind(*after_ms),
        Attempt::GivenUp(why) => of_message(GIVEN_UP).bind(why),
        Attempt::EndpointGone(why) => {
            sqlx::query(ENDPOINT_GONE)
                .bind(due.message.endpoint_id)
                .bind(why)
                .execute(pool)
                .await
                .map_err(|error| StoreError::postgres("switch a webhook endpoint off", &error))?;
            of_message(GIVEN_UP).bind(why)
        }
    };
    query
        .execute(pool)
        .await
        .map_err(|error| StoreError::postgres("settle a message of the outbox", &error))?;
    Ok(())
}

const PENDING: &str = "SELECT kind, count(*) FROM outbox
    WHERE delivered_at IS NULL AND failed_at IS NULL GROUP BY kind";

/// How many messages wait, by kind.
pub async fn pending(pool: &Pool) -> Result<Vec<(OutboxKind, i64)>, StoreError> {
    const ATTEMPT: &str = "count the outbox";
    let rows: Vec<(String, i64)> = sqlx::query_as(PENDING)
        .fetch_all(pool)
        .await
        .map_err(|error| StoreError::postgres(ATTEMPT, &error))?;
    Ok(OutboxKind::ALL
        .into_iter()
        .map(|kind| {
            (kind, rows.iter().find(|(name, _)| name == kind.as_str()).map_or(0, |(_, count)| *count))
        })
        .collect())
}
