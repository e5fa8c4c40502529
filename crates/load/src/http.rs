//! Sends a stream through the API: CloudEvents in batches, several requests at once. It ends with
//! an error at the first answer that is not 204, so that the totals count what was taken.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream;

use crate::error::LoadError;
use crate::json::write_json;
use crate::stream::Stream;
use crate::totals::Totals;

/// Events in a request.
const BATCH: u64 = 500;
const TIMEOUT: Duration = Duration::from_secs(60);

/// Where to, and how.
#[derive(Clone, Debug)]
pub struct ToHttp {
    /// The API, without a slash at the end.
    pub url: String,
    /// A key that may write events of every tenant.
    pub key: String,
    /// Requests under way at once.
    pub producers: u32,
    /// Events a second, all requests together; as fast as possible when `None`.
    pub rate: Option<u32>,
}

/// Sends the whole stream. `sent` rises with each answer. Returns what Weir must count. Late
/// events are taken by the API and refused by counting.
///
/// # Errors
/// [`LoadError::Http`], [`LoadError::Refused`].
pub async fn send(stream: Arc<Stream>, to: &ToHttp, sent: &AtomicU64) -> Result<Totals, LoadError> {
    let client = reqwest::Client::builder().timeout(TIMEOUT).build().map_err(http("make an HTTP client"))?;
    let events = stream.profile().events;
    let mut totals = Totals::new(stream.profile().tenants, stream.profile().meters);
    let began = Instant::now();
    let batches = (0..events.div_ceil(BATCH)).map(|nth| (nth * BATCH, events.min((nth + 1) * BATCH)));
    let requests = stream::iter(batches).map(|(from, until)| {
        let (client, stream) = (client.clone(), Arc::clone(&stream));
        async move {
            pace(began, from, to.rate).await;
            post(&client, to, body(&stream, from, until)).await?;
            Ok::<_, LoadError>((from, until))
        }
    });
    let producers = usize::try_from(to.producers.max(1)).unwrap_or(1);
    let mut answers = requests.buffer_unordered(producers);
    while let Some(answer) = answers.next().await {
        let (from, until) = answer?;
        (from..until).for_each(|position| totals.add(&stream.event(position)));
        sent.fetch_add(until - from, Ordering::Relaxed);
    }
    Ok(totals)
}

fn body(stream: &Stream, from: u64, until: u64) -> Vec<u8> {
    let mut body = vec![b'['];
    for position in from..until {
        if position > from {
            body.push(b',');
        }
        write_json(&stream.event(position), &mut body);
    }
    body.push(b']');
    body
}

async fn post(client: &reqwest::Client, to: &ToHttp, body: Vec<u8>) -> Result<(), LoadError> {
    const ATTEMPT: &str = "send events";
    let request = client
        .post(format!("{}/api/v1/events", to.url))
        .bearer_auth(&to.key)
        .header("content-type", "application/cloudevents-batch+json")
        .body(body);
    let answer = request.send().await.map_err(http(ATTEMPT))?;
    if answer.status().as_u16() == 204 { Ok(()) } else { Err(refused(ATTEMPT, answer).await) }
}

async fn pace(began: Instant, position: u64, rate: Option<u32>) {
    let Some(rate) = rate else { return };
    let due = Duration::from_micros(position.saturating_mul(1_000_000) / u64::from(rate.max(1)));
    if let Some(early) = due.checked_sub(began.elapsed()) {
        tokio::time::sleep(early).await;
    }
}

/// The words of an answer that says no.
pub(crate) async fn refused(attempt: &str, answer: reqwest::Response) -> LoadError {
    let status = answer.status().as_u16();
    let body = answer.text().await.unwrap_or_default().chars().take(500).collect();
    LoadError::Refused { attempt: attempt.to_owned(), status, body }
}

/// Names what was attempted.
pub(crate) fn http(attempt: &'static str) -> impl Fn(reqwest::Error) -> LoadError {
    move |source| LoadError::Http { attempt: attempt.to_owned(), source }
}
