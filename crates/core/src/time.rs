//! Instants and spans. An instant is UTC in milliseconds, a span is half-open.
//! Nothing here reads a clock: whoever needs "now" is given it.

use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

/// Milliseconds in one hour.
pub const HOUR_MS: i64 = 3_600_000;
/// Milliseconds in one day.
pub const DAY_MS: i64 = 24 * HOUR_MS;

/// A length of time in milliseconds as days and smaller units, for people: `36 d 1 h`.
pub fn span_words(millis: i64) -> String {
    let seconds = millis / 1_000;
    let parts = [
        (seconds / 86_400, "d"),
        (seconds / 3_600 % 24, "h"),
        (seconds / 60 % 60, "min"),
        (seconds % 60, "s"),
    ];
    let parts: Vec<String> = parts
        .iter()
        .filter(|(count, _)| *count != 0)
        .map(|(count, unit)| format!("{count} {unit}"))
        .collect();
    if parts.is_empty() { "0 s".to_owned() } else { parts.join(" ") }
}

/// An instant: milliseconds since 1970-01-01T00:00:00Z, UTC.
/// Serialised as RFC 3339 text with milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Timestamp(i64);

/// Why a text or number is not an instant that Weir takes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTimestamp {
    /// Not RFC 3339.
    #[error("{0:?} is not an RFC 3339 time such as 2026-11-24T08:00:00Z")]
    NotRfc3339(String),
    /// Outside the years 1970 to 9999.
    #[error("a time must lie between the years 1970 and 9999")]
    OutOfRange,
}

/// 9999-12-31T23:59:59.999Z, the last instant that every store can keep.
const MAX_MS: i64 = 253_402_300_799_999;

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);

    /// An instant from milliseconds since the epoch, within the years 1970 to 9999.
    pub fn from_millis(ms: i64) -> Result<Self, InvalidTimestamp> {
        if (0..=MAX_MS).contains(&ms) { Ok(Self(ms)) } else { Err(InvalidTimestamp::OutOfRange) }
    }

    /// Like [`Timestamp::from_millis`], but the nearest allowed instant for one out of range.
    pub fn clamped(ms: i64) -> Self {
        Self(ms.clamp(0, MAX_MS))
    }

    /// Reads RFC 3339 text; digits past milliseconds are cut off.
    pub fn parse(text: &str) -> Result<Self, InvalidTimestamp> {
        let parsed = DateTime::parse_from_rfc3339(text)
            .map_err(|_| InvalidTimestamp::NotRfc3339(text.chars().take(64).collect()))?;
        Self::from_millis(parsed.timestamp_millis())
    }

    /// Milliseconds since the epoch.
    pub fn millis(self) -> i64 {
        self.0
    }

    /// This instant moved by `ms` milliseconds (negative: earlier), kept in range.
    pub fn plus_millis(self, ms: i64) -> Self {
        Self::clamped(self.0.saturating_add(ms))
    }

    /// The same instant for chrono.
    pub fn to_chrono(self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(self.0).unwrap_or_default()
    }
}

impl From<DateTime<Utc>> for Timestamp {
    fn from(time: DateTime<Utc>) -> Self {
        Self::clamped(time.timestamp_millis())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_chrono().to_rfc3339_opts(SecondsFormat::Millis, true))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for Timestamp {
    type Error = InvalidTimestamp;
    fn try_from(text: String) -> Result<Self, InvalidTimestamp> {
        Self::parse(&text)
    }
}

impl From<Timestamp> for String {
    fn from(time: Timestamp) -> String {
        time.to_string()
    }
}

/// A half-open span of time `[start, end)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Span {
    /// The first instant inside.
    pub start: Timestamp,
    /// The first instant after.
    pub end: Timestamp,
}

impl Span {
    /// Whether `at` lies inside.
    pub fn contains(&self, at: Timestamp) -> bool {
        self.start <= at && at < self.end
    }
}

/// How many minutes past a UTC hour the hours of a tenant's billing time zone
/// begin: 0 for most, 30 for Asia/Kolkata, 45 for Asia/Kathmandu. Stored with the
/// tenant and never computed again with newer zone data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HourAlignment {
    minutes: u8,
}

impl HourAlignment {
    /// An alignment of 0 to 59 minutes; `None` for anything else.
    pub fn from_minutes(minutes: u8) -> Option<Self> {
        (minutes < 60).then_some(Self { minutes })
    }

    /// Minutes past the UTC hour.
    pub fn minutes(self) -> u8 {
        self.minutes
    }

    /// The start of the local hour that holds `at`, as a UTC instant.
    pub fn hour_of(self, at: Timestamp) -> Timestamp {
        let shift = i64::from(self.minutes) * 60_000;
        let since = at.millis() - shift;
        Timestamp::clamped(since.div_euclid(HOUR_MS) * HOUR_MS + shift)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_said_in_the_units_that_it_has() {
        let check = |millis, words: &str| assert_eq!(span_words(millis), words);
        check(35 * DAY_MS, "35 d");
        check(36 * DAY_MS + HOUR_MS, "36 d 1 h");
        check(90_000, "1 min 30 s");
        check(999, "0 s");
    }

    #[test]
    fn hours_of_kolkata_begin_at_half_past() {
        let kolkata = HourAlignment::from_minutes(30).unwrap();
        let at = Timestamp::parse("2026-11-24T08:15:00Z").unwrap();
        assert_eq!(kolkata.hour_of(at).to_string(), "2026-11-24T07:30:00.000Z");
        assert_eq!(HourAlignment::default().hour_of(at).to_string(), "2026-11-24T08:00:00.000Z");
    }

    #[test]
    fn a_span_does_not_hold_its_end() {
        let span = Span { start: Timestamp::clamped(10), end: Timestamp::clamped(20) };
        assert!(span.contains(Timestamp::clamped(10)) && !span.contains(Timestamp::clamped(20)));
    }
}
