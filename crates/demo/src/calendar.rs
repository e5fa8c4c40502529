//! The demo's own arithmetic of billing periods, for choosing anchors and for the independent
//! count: local midnight of the anchor day, and of the same day a month later.

use anyhow::{Context, Result};
use chrono::{DateTime, Days, Months, NaiveDate, NaiveTime, TimeZone, Utc};
use chrono_tz::Tz;

/// A half-open span of instants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period {
    /// The first instant inside.
    pub start: DateTime<Utc>,
    /// The first instant after.
    pub end: DateTime<Utc>,
}

impl Period {
    /// Billing period `number` of an anchor day in a zone.
    pub fn of(zone: &str, anchor: NaiveDate, number: u32) -> Result<Self> {
        Ok(Self { start: midnight(zone, anchor, number)?, end: midnight(zone, anchor, number + 1)? })
    }

    /// Whether the instant, in milliseconds since 1970, lies inside.
    pub fn contains(&self, at_ms: i64) -> bool {
        self.start.timestamp_millis() <= at_ms && at_ms < self.end.timestamp_millis()
    }
}

/// The day `days` days before `now`'s, by the calendar of a zone.
pub fn days_before(zone: &str, now: DateTime<Utc>, days: u64) -> Result<NaiveDate> {
    let today = now.with_timezone(&tz(zone)?).date_naive();
    today.checked_sub_days(Days::new(days)).context("the calendar has no such day")
}

fn midnight(zone: &str, anchor: NaiveDate, months: u32) -> Result<DateTime<Utc>> {
    let day = anchor.checked_add_months(Months::new(months)).context("the calendar has no such month")?;
    let local = day.and_time(NaiveTime::MIN);
    let found = tz(zone)?.from_local_datetime(&local).earliest();
    Ok(found.with_context(|| format!("{day} has no midnight in {zone}"))?.to_utc())
}

fn tz(zone: &str) -> Result<Tz> {
    zone.parse().ok().with_context(|| format!("{zone} is not a time zone"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_follow_the_zone() {
        let of = |zone, anchor: &str, number| {
            let period = Period::of(zone, anchor.parse().unwrap(), number).unwrap();
            format!("{} {}", period.start.format("%F %R"), period.end.format("%F %R"))
        };
        assert_eq!(of("Asia/Kolkata", "2026-10-22", 0), "2026-10-21 18:30 2026-11-21 18:30");
        assert_eq!(of("Europe/Berlin", "2026-10-22", 0), "2026-10-21 22:00 2026-11-21 23:00");
        assert_eq!(of("UTC", "2026-01-31", 1), "2026-02-28 00:00 2026-03-31 00:00");
    }

    #[test]
    fn a_period_that_began_33_days_ago_is_over_whatever_the_month() {
        for day in 0..800 {
            let now: DateTime<Utc> =
                "2026-01-01T00:30:00Z".parse::<DateTime<Utc>>().unwrap() + Days::new(day);
            for zone in ["UTC", "Asia/Kolkata", "America/New_York", "Asia/Tokyo", "Europe/Berlin"] {
                let period = Period::of(zone, days_before(zone, now, 33).unwrap(), 0).unwrap();
                assert!(period.end < now - Days::new(1), "{zone} at {now}");
                assert!(period.start > now - Days::new(34) - chrono::Duration::hours(2), "{zone} at {now}");
            }
        }
    }
}
