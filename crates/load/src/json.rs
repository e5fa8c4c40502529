//! An event as CloudEvents JSON, for the API. Every text is made of letters that need no escape.

use crate::avro::{put_id, put_meter, put_quantity, put_region, put_source, put_tenant};
use crate::profile::Kind;
use crate::stream::Event;

/// Appends the event as a JSON object.
pub fn write_json(event: &Event, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"specversion":"1.0","id":""#);
    put_id(out, event);
    out.extend_from_slice(br#"","source":""#);
    put_source(out, event);
    out.extend_from_slice(br#"","type":""#);
    put_meter(out, event.meter);
    out.extend_from_slice(br#"","subject":""#);
    put_tenant(out, event.tenant);
    out.extend_from_slice(br#"","time":""#);
    out.extend_from_slice(instant(event.time_ms).as_bytes());
    out.extend_from_slice(br#"","data":{"#);
    if event.kind == Kind::Sum {
        out.extend_from_slice(br#""quantity":""#);
        put_quantity(out, event.thousandths);
        out.push(b'"');
    }
    if let Some(region) = event.region {
        if event.kind == Kind::Sum {
            out.push(b',');
        }
        out.extend_from_slice(br#""region":""#);
        put_region(out, region);
        out.push(b'"');
    }
    out.extend_from_slice(b"}}");
}

/// RFC 3339 in UTC with milliseconds (days to a date after Howard Hinnant's algorithm).
fn instant(time_ms: i64) -> String {
    let (days, in_day) = (time_ms.div_euclid(86_400_000), time_ms.rem_euclid(86_400_000));
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute) = (in_day / 3_600_000, in_day / 60_000 % 60);
    let (second, millis) = (in_day / 1_000 % 60, in_day % 1_000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_written_as_people_write_them() {
        let cases = [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_123, "2000-02-29T00:00:00.123Z"),
            (1_795_478_399_999, "2026-11-23T23:59:59.999Z"),
        ];
        for (time_ms, text) in cases {
            assert_eq!(instant(time_ms), text);
        }
    }
}
