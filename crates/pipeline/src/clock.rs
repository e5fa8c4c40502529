//! The clock of the machine that counts. It judges no event (journal time does, invariant 4):
//! it only tells a broker time that cannot be right, and how long things waited.

use chrono::Utc;
use weir_core::Timestamp;

/// This machine's clock, or one that is wrong by a fixed time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    wrong_by_ms: i64,
}

impl Clock {
    /// A clock that shows so many milliseconds more than the machine's; fewer below zero.
    pub const fn wrong_by_ms(wrong_by_ms: i64) -> Self {
        Self { wrong_by_ms }
    }

    /// What it shows.
    pub fn now(self) -> Timestamp {
        Timestamp::clamped(Utc::now().timestamp_millis().saturating_add(self.wrong_by_ms))
    }
}
