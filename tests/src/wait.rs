//! Waiting for something that happens elsewhere: asked again and again until a bound. The one
//! place where a test sleeps; the tests of single crates wait with it too.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long most things may take on a busy machine with two cores.
pub const PATIENCE: Duration = Duration::from_secs(90);
const INTERVAL: Duration = Duration::from_millis(20);

/// Asks until the answer is `Ok(Some)`, and says what was waited for when it never is. An error
/// counts as not yet, and the last one is reported.
pub async fn until<T, F, A>(what: &str, patience: Duration, mut ask: F) -> Result<T>
where
    F: FnMut() -> A,
    A: Future<Output = Result<Option<T>>>,
{
    let begin = Instant::now();
    loop {
        let answer = ask().await;
        match answer {
            Ok(Some(value)) => return Ok(value),
            Ok(None) if begin.elapsed() > patience => {
                bail!("waited {} s in vain for {what}", patience.as_secs());
            }
            Err(error) if begin.elapsed() > patience => {
                bail!("waited {} s in vain for {what}: {error:#}", patience.as_secs());
            }
            Ok(None) | Err(_) => tokio::time::sleep(INTERVAL).await,
        }
    }
}
