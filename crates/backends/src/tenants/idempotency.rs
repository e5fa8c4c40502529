//! Answers kept under an Idempotency-Key, so that a request sent again gets the first
//! answer. A key belongs to a credential and a route, and holds for 24 hours. One whose
//! request never ended may be taken over after a minute.

use chrono::{DateTime, Utc};
use serde_json::Value;
use weir_core::Timestamp;
use weir_core::time::DAY_MS;

use crate::StoreError;
use crate::postgres::Pool;

/// How long an answer is kept.
const KEPT_MS: i64 = DAY_MS;
/// How long a request may be in flight before another may take its key over.
const IN_FLIGHT_MS: i64 = 60_000;

/// What names a request.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The id of the API key.
    pub credential: String,
    /// Method and path.
    pub route: String,
    /// The header's value.
    pub key: String,
    /// SHA-256 of the request's body.
    pub fingerprint: [u8; 32],
    /// When it was made. Whoever took the key over has another one, so that a request that
    /// was given up and ends after all changes nothing of the later one's answer.
    pub made_at: Timestamp,
}

/// An answer as it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptAnswer {
    /// The HTTP status.
    pub status: u16,
    /// Header names and values, as a JSON object of texts.
    pub headers: Value,
    /// The body.
    pub body: Vec<u8>,
}

/// What to do with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// Carry it out, then [`finish`] or [`abandon`].
    New,
    /// It was carried out: give this answer again.
    Kept(KeptAnswer),
    /// It is being carried out.
    InFlight,
    /// The key was used for another request.
    Reused,
}

const CLAIM: &str = "INSERT INTO idempotency_key (credential, route, key, fingerprint, created_at)
    VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (credential, route, key) DO UPDATE SET fingerprint = excluded.fingerprint,
        created_at = excluded.created_at, status = NULL, headers = NULL, body = NULL
        WHERE idempotency_key.created_at < $6
            OR (idempotency_key.status IS NULL AND idempotency_key.created_at < $7
                AND idempotency_key.fingerprint = excluded.fingerprint)";
const GET: &str = "SELECT fingerprint, status, headers, body FROM idempotency_key
    WHERE credential = $1 AND route = $2 AND key = $3";
const FINISH: &str = "UPDATE idempotency_key SET status = $4, headers = $5, body = $6
    WHERE credential = $1 AND route = $2 AND key = $3 AND status IS NULL AND created_at = $7";
const ABANDON: &str = "DELETE FROM idempotency_key
    WHERE credential = $1 AND route = $2 AND key = $3 AND status IS NULL AND created_at = $4";
const PURGE: &str = "DELETE FROM idempotency_key WHERE created_at < $1";

type Row = (Vec<u8>, Option<i32>, Option<Value>, Option<Vec<u8>>);

/// Claims the key for this request, or says what became of an earlier one.
pub async fn begin(pool: &Pool, claim: &Claim) -> Result<Begun, StoreError> {
    const ATTEMPT: &str = "claim an idempotency key";
    let failed = |error: sqlx::Error| StoreError::postgres(ATTEMPT, &error);
    let now = claim.made_at;
    let (expired, stuck): (DateTime<Utc>, DateTime<Utc>) =
        (now.plus_millis(-KEPT_MS).to_chrono(), now.plus_millis(-IN_FLIGHT_MS).to_chrono());
    let claimed = sqlx::query(CLAIM)
        .bind(&claim.credential)
        .bind(&claim.route)
        .bind(&claim.key)
        .bind(&claim.fingerprint[..])
        .bind(now.to_chrono())
        .bind(expired)
        .bind(stuck)
        .execute(pool)
        .await
        .map_err(failed)?;
    if claimed.rows_affected() == 1 {
        return Ok(Begun::New);
    }
    let row: Option<Row> = sqlx::query_as(GET)
        .bind(&claim.credential)
        .bind(&claim.route)
        .bind(&claim.key)
        .fetch_optional(pool)
        .await
        .map_err(failed)?;
    match row {
        Some((fingerprint, ..)) if fingerprint != claim.fingerprint => Ok(Begun::Reused),
        Some((_, Some(status), headers, body)) => Ok(Begun::Kept(KeptAnswer {
            status: u16::try_from(status).map_err(|error| StoreError::corrupt(ATTEMPT, error))?,
            headers: headers.unwrap_or_default(),
            body: body.unwrap_or_default(),
        })),
        // Gone between the two statements: the other request was abandoned just now.
        _ => Ok(Begun::InFlight),
    }
}

/// Keeps the answer to a request.
pub async fn finish(pool: &Pool, claim: &Claim, answer: &KeptAnswer) -> Result<(), StoreError> {
    sqlx::query(FINISH)
        .bind(&claim.credential)
        .bind(&claim.route)
        .bind(&claim.key)
        .bind(i32::from(answer.status))
        .bind(&answer.headers)
        .bind(&answer.body)
        .bind(claim.made_at.to_chrono())
        .execute(pool)
        .await
        .map(|_| ())
        .map_err(|error| StoreError::postgres("keep an idempotent answer", &error))
}

/// Gives the key back after a request that failed without an effect.
pub async fn abandon(pool: &Pool, claim: &Claim) -> Result<(), StoreError> {
    sqlx::query(ABANDON)
        .bind(&claim.credential)
        .bind(&claim.route)
        .bind(&claim.key)
        .bind(claim.made_at.to_chrono())
        .execute(pool)
        .await
        .map(|_| ())
        .map_err(|error| StoreError::postgres("give an idempotency key back", &error))
}

/// Forgets answers older than 24 hours; returns how many.
pub async fn purge(pool: &Pool, now: Timestamp) -> Result<u64, StoreError> {
    sqlx::query(PURGE)
        .bind(now.plus_millis(-KEPT_MS).to_chrono())
        .execute(pool)
        .await
        .map(|done| done.rows_affected())
        .map_err(|error| StoreError::postgres("forget old idempotency keys", &error))
}
