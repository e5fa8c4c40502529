//! How long to wait before what failed is tried again: longer each time, never for ever
//! longer, never exactly together with others.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};

/// Delays from a fifth of a second to five seconds, without end.
pub(crate) fn delays() -> impl Iterator<Item = Duration> + Send {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(200))
        .with_max_delay(Duration::from_secs(5))
        .with_jitter()
        .without_max_times()
        .build()
}
