//! How many requests an API key may send to this process: as many as a bucket holds, which
//! fills evenly within a minute. It is about load, not about usage: what a tenant may use is the
//! limits' to say. Off unless configured. Kept in memory, for a bounded number of keys.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::time::Instant;

use crate::credentials::Caller;
use crate::problem::{Kind, Problem};
use crate::state::ApiState;

/// How long an empty bucket takes to fill.
const WINDOW: Duration = Duration::from_secs(60);
/// The most buckets that are kept; past it the full ones are forgotten first.
const KEYS_MAX: usize = 50_000;
/// What stands under the policy's name in `RateLimit`: requests left, seconds until all are back.
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// The policy: requests and the window in seconds.
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// The middleware, around routes that need a key.
pub async fn rate_limited(
    State(state): State<ApiState>,
    caller: Caller,
    request: Request,
    next: Next,
) -> Response {
    let standing = state.rates.take(&caller.key, Instant::now());
    let mut response = match standing.refused_for {
        None => next.run(request).await,
        Some(wait) => refused(wait, state.settings.key_requests_per_minute_max).into_response(),
    };
    standing.tell(response.headers_mut(), state.settings.key_requests_per_minute_max);
    response
}

fn refused(wait: Duration, requests_max: u32) -> Problem {
    let seconds = seconds_up(wait);
    let detail = format!(
        "this API key may send {requests_max} requests a minute; wait {seconds} s, and send more events in each request"
    );
    let problem = Problem::new(Kind::RateLimited, detail);
    match HeaderValue::from_str(&seconds.to_string()) {
        Ok(value) => problem.with_header(header::RETRY_AFTER, value),
        Err(_) => problem,
    }
}

fn seconds_up(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

/// Where a key stands after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Standing {
    /// Requests that it could send at once.
    left: u32,
    /// How long until its bucket is full.
    full_in: Duration,
    /// How long it has to wait, when the request is refused.
    refused_for: Option<Duration>,
}

impl Standing {
    fn tell(&self, headers: &mut HeaderMap, requests_max: u32) {
        let (left, seconds) = (self.left, seconds_up(self.full_in));
        let policy = format!("\"key\";q={requests_max};w={}", WINDOW.as_secs());
        let values = [(RATE_LIMIT_POLICY, policy), (RATE_LIMIT, format!("\"key\";r={left};t={seconds}"))];
        for (name, text) in values {
            if let Ok(value) = HeaderValue::from_str(&text) {
                headers.insert(name, value);
            }
        }
    }
}

/// The buckets of this process.
#[derive(Debug)]
pub(crate) struct RateLimits {
    /// Between two requests at the steady rate.
    each: Duration,
    /// When each key's bucket will be full.
    full_at: Mutex<HashMap<String, Instant>>,
}

impl RateLimits {
    /// `requests_max` requests a minute; 0 is taken for 1, as nobody asks when there is no limit.
    pub(crate) fn new(requests_max: u32) -> Self {
        Self { each: WINDOW / requests_max.max(1), full_at: Mutex::new(HashMap::new()) }
    }

    /// Takes one request out of the key's bucket, unless it is empty.
    fn take(&self, key: &str, now: Instant) -> Standing {
        let mut all = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.get(key).copied().unwrap_or(now).max(now);
        let after = known + self.each;
        if after.duration_since(now) > WINDOW {
            let wait = after.duration_since(now).saturating_sub(WINDOW);
            return Standing { left: 0, full_in: known.duration_since(now), refused_for: Some(wait) };
        }
        if all.len() >= KEYS_MAX && !all.contains_key(key) {
            all.retain(|_, full_at| *full_at > now);
            if all.len() >= KEYS_MAX {
                all.clear();
            }
        }
        all.insert(key.to_owned(), after);
        let full_in = after.duration_since(now);
        let left = WINDOW.saturating_sub(full_in).as_nanos() / self.each.as_nanos().max(1);
        Standing { left: u32::try_from(left).unwrap_or(u32::MAX), full_in, refused_for: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_empties_and_fills() {
        let limits = RateLimits::new(3);
        let began = Instant::now();
        // key, seconds since the beginning, requests left, seconds to wait when refused
        let rows = [
            ("a", 0, 2, None),
            ("a", 0, 1, None),
            ("a", 0, 0, None),
            ("a", 0, 0, Some(20)),
            ("b", 0, 2, None),
            ("a", 5, 0, Some(15)),
            ("a", 20, 0, None),
            ("a", 20, 0, Some(20)),
            ("a", 60, 1, None),
            ("a", 600, 2, None),
        ];
        for (at, (key, seconds, left, wait)) in rows.into_iter().enumerate() {
            let standing = limits.take(key, began + Duration::from_secs(seconds));
            let found = (standing.left, standing.refused_for.map(|wait| wait.as_secs()));
            assert_eq!(found, (left, wait), "row {at}");
        }
    }

    #[test]
    fn the_number_of_buckets_is_bounded() {
        let limits = RateLimits::new(3);
        let now = Instant::now();
        for key in 0..KEYS_MAX + 10 {
            limits.take(&key.to_string(), now);
        }
        assert!(limits.full_at.lock().unwrap().len() <= KEYS_MAX);
    }
}
