//! Waiting for a condition, with a bound and with words when it does not come true.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::time::Instant;

/// How often a condition is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(40);

/// What a look at a condition found.
#[derive(Debug)]
pub enum Look<T> {
    /// It is true.
    Yes(T),
    /// Not yet; how far it is, in words.
    NotYet(String),
}

/// Looks until it is true, at most `max`. An error while looking ends the waiting.
pub async fn until<T, F>(what: &str, max: Duration, mut look: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<Look<T>>>,
{
    let deadline = Instant::now() + max;
    loop {
        match look().await.with_context(|| format!("while waiting for {what}"))? {
            Look::Yes(found) => return Ok(found),
            Look::NotYet(state) if Instant::now() >= deadline => {
                bail!("waited {} s for {what}: {state}", max.as_secs());
            }
            Look::NotYet(_) => tokio::time::sleep(LOOK_AGAIN).await,
        }
    }
}
