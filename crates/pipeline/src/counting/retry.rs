//! How long to wait before what failed is tried again: longer each time, never for ever
//! longer, never exactly together with others. And how often what is done regularly is done.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};

use crate::world::Runtime;

/// Delays from a fifth of a second to five seconds, without end.
pub(crate) fn delays<R: Runtime>(runtime: &R) -> impl Iterator<Item = Duration> + Send + use<R> {
    // Without chance everyone waits alike, which only costs time.
    let seed = runtime.random().map_or(0, |bytes| u64::from_le_bytes(std::array::from_fn(|at| bytes[at])));
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(200))
        .with_max_delay(Duration::from_secs(5))
        .with_jitter()
        .with_jitter_seed(seed)
        .without_max_times()
        .build()
}

/// Comes round again and again: at once, then a period after it was last waited for.
pub(crate) struct Every<R> {
    runtime: R,
    period: Duration,
    due: Option<Duration>,
}

impl<R: Runtime> Every<R> {
    pub(crate) fn new(runtime: &R, period: Duration) -> Self {
        Self { runtime: runtime.clone(), period, due: None }
    }

    /// Waits until it comes round.
    pub(crate) async fn tick(&mut self) {
        if let Some(due) = self.due {
            let left = due.saturating_sub(self.runtime.elapsed());
            if !left.is_zero() {
                self.runtime.sleep(left).await;
            }
        }
        self.due = Some(self.runtime.elapsed() + self.period);
    }
}
