//! The day on which an id arrived, and how long the ids of a day are kept.

use weir_core::Timestamp;
use weir_core::time::DAY_MS;

/// A UTC day, in days since 1970-01-01.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Day(pub u32);

impl Day {
    /// The day that holds an instant.
    pub fn of(at: Timestamp) -> Self {
        Self(u32::try_from(at.millis() / DAY_MS).unwrap_or(u32::MAX))
    }

    /// Whether ids that arrived on this day can no longer be repeated at `now`, when ids are
    /// kept for `kept_ms` after the day's end: window and bound for future events. The latest
    /// of them may be stamped almost that bound after the day's end, and is accepted for a window.
    pub fn is_over(self, kept_ms: i64, now: Timestamp) -> bool {
        let day_end_ms = (i64::from(self.0) + 1) * DAY_MS;
        now.millis() >= day_end_ms.saturating_add(kept_ms)
    }
}
