//! Monthly billing periods, counted from an anchor day in a tenant's time zone.
//! Period `n` is computed from the anchor, never from period `n - 1`, so an anchor
//! on the 31st comes back to the 31st after February.

use chrono::{Months, NaiveDate, NaiveTime, Offset, TimeZone};
use chrono_tz::Tz;

use crate::time::{HourAlignment, Span, Timestamp};

/// How many months after the anchor the zone's offset must fit: anchors lie up to ten years
/// back, and the years after today are those that zone data tells.
const ALIGNED_MONTHS: u32 = 144;

/// Where a tenant's billing periods begin: local midnight of `anchor` and of the
/// same day in each later month (the month's last day where it has no such day).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BillingCalendar {
    zone: Tz,
    anchor: NaiveDate,
}

/// Why a calendar cannot be made, or has no such period.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CalendarError {
    /// Not a name of the IANA time zone database.
    #[error("{0:?} is not an IANA time zone such as Europe/Berlin")]
    UnknownZone(String),
    /// The zone's offset from UTC changes by a part of an hour, so no hour fits it all the time.
    #[error(
        "the time zone {0} moves by a part of an hour during these years; usage kept by the hour cannot follow it, choose another billing zone"
    )]
    UnevenZone(String),
    /// A period outside the years that Weir keeps.
    #[error("billing period {0} lies outside the years that can be billed")]
    OutOfRange(u32),
}

impl BillingCalendar {
    /// A calendar for an IANA zone name and an anchor day.
    pub fn new(zone: &str, anchor: NaiveDate) -> Result<Self, CalendarError> {
        let zone =
            zone.parse::<Tz>().map_err(|_| CalendarError::UnknownZone(zone.chars().take(64).collect()))?;
        Ok(Self { zone, anchor })
    }

    /// The IANA name of the zone.
    pub fn zone(&self) -> &'static str {
        self.zone.name()
    }

    /// The first day of period 0, in the zone.
    pub fn anchor(&self) -> NaiveDate {
        self.anchor
    }

    /// Bounds of period `index` (0 is the one that begins on the anchor).
    pub fn period(&self, index: u32) -> Result<Span, CalendarError> {
        let next = index.checked_add(1).ok_or(CalendarError::OutOfRange(index))?;
        Ok(Span { start: self.start_of(index)?, end: self.start_of(next)? })
    }

    /// Every period that begins before `until`, from period 0.
    pub fn periods_until(&self, until: Timestamp) -> Result<Vec<Span>, CalendarError> {
        let mut periods = Vec::new();
        for index in 0.. {
            let period = self.period(index)?;
            if period.start >= until {
                break;
            }
            periods.push(period);
        }
        Ok(periods)
    }

    /// How far past the UTC hour the zone's hours begin, looked at over the years from the anchor.
    pub fn hour_alignment(&self) -> Result<HourAlignment, CalendarError> {
        let uneven = || CalendarError::UnevenZone(self.zone.name().to_owned());
        let mut found: Option<i32> = None;
        for index in 0..=ALIGNED_MONTHS {
            let start = self.start_of(index)?.to_chrono();
            let offset = self.zone.offset_from_utc_datetime(&start.naive_utc()).fix().local_minus_utc();
            let past_hour = (-offset).rem_euclid(3600);
            if past_hour % 60 != 0 || found.is_some_and(|f| f != past_hour) {
                return Err(uneven());
            }
            found = Some(past_hour);
        }
        let minutes = u8::try_from(found.unwrap_or(0) / 60).map_err(|_| uneven())?;
        HourAlignment::from_minutes(minutes).ok_or_else(uneven)
    }

    fn start_of(&self, index: u32) -> Result<Timestamp, CalendarError> {
        let out_of_range = CalendarError::OutOfRange(index);
        let day = self.anchor.checked_add_months(Months::new(index)).ok_or(out_of_range.clone())?;
        let mut local = day.and_time(NaiveTime::MIN);
        // A midnight that the clocks jump over: the first instant after the gap.
        // Gaps known so far end on a quarter hour within a day.
        for _ in 0..=96 {
            if let Some(found) = self.zone.from_local_datetime(&local).earliest() {
                return Timestamp::from_millis(found.timestamp_millis()).map_err(|_| out_of_range);
            }
            local += chrono::Duration::minutes(15);
        }
        Err(out_of_range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// zone, anchor, period, start, end
    const TABLE: &str = "
        Asia/Kolkata       2026-10-22  0  2026-10-21T18:30:00.000Z  2026-11-21T18:30:00.000Z
        Europe/Berlin      2026-03-01  0  2026-02-28T23:00:00.000Z  2026-03-31T22:00:00.000Z
        America/New_York   2026-01-31  1  2026-02-28T05:00:00.000Z  2026-03-31T04:00:00.000Z
        America/New_York   2026-01-31  2  2026-03-31T04:00:00.000Z  2026-04-30T04:00:00.000Z
        Africa/Cairo       2023-04-28  0  2023-04-27T22:00:00.000Z  2023-05-27T21:00:00.000Z
        UTC                2024-02-29 12  2025-02-28T00:00:00.000Z  2025-03-29T00:00:00.000Z
    ";

    #[test]
    fn period_bounds() {
        for row in TABLE.lines().map(str::trim).filter(|row| !row.is_empty()) {
            let cells: Vec<_> = row.split_whitespace().collect();
            let calendar = BillingCalendar::new(cells[0], cells[1].parse().unwrap()).unwrap();
            let span = calendar.period(cells[2].parse().unwrap()).unwrap();
            assert_eq!(
                (span.start.to_string(), span.end.to_string()),
                (cells[3].into(), cells[4].into()),
                "{row}"
            );
        }
    }

    #[test]
    fn alignment_follows_the_zone_and_refuses_lord_howe() {
        let anchor = NaiveDate::from_ymd_opt(2026, 1, 1).unwrap();
        let minutes = |zone: &str| {
            BillingCalendar::new(zone, anchor).unwrap().hour_alignment().map(HourAlignment::minutes)
        };
        assert_eq!(minutes("Europe/Berlin"), Ok(0));
        assert_eq!(minutes("Asia/Kolkata"), Ok(30));
        assert_eq!(minutes("Asia/Kathmandu"), Ok(15));
        assert!(minutes("Australia/Lord_Howe").is_err());
        // It moved from half an hour past to the hour in May 2018.
        let korea = |anchor: &str| BillingCalendar::new("Asia/Pyongyang", anchor.parse().unwrap()).unwrap();
        assert!(korea("2016-07-01").hour_alignment().is_err());
        assert_eq!(korea("2018-06-01").hour_alignment().map(HourAlignment::minutes), Ok(0));
    }
}
