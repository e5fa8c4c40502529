//! When alarms begin and end, as text tables: what happens in the journal, when, which
//! alerts follow, and where usage then stands.

mod support;

use std::collections::BTreeSet;

use support::{apply_one, at, event, facts, limit, meter, tenant};
use weir_core::time::{DAY_MS, HOUR_MS};
use weir_core::{Homes, Timestamp};
use weir_metering::catalogue::Catalogue;
use weir_metering::meter::Aggregation;
use weir_metering::outcome::{Alert, AlertKind, Direction};
use weir_metering::quota::LimitSet;
use weir_metering::record::RecordBody;

/// `day:hour` as milliseconds since the first day.
fn hours(text: &str) -> i64 {
    let (day, hour) = text.split_once(':').unwrap();
    day.parse::<i64>().unwrap() * DAY_MS + hour.parse::<i64>().unwrap() * HOUR_MS
}

fn body(what: &str, row: usize, time: &str) -> RecordBody {
    let (verb, rest) = what.split_once(' ').unwrap_or((what, ""));
    match verb {
        "use" => {
            let time = Some(at(hours(time)));
            RecordBody::Event { event: event(&tenant(true, 0), &row.to_string(), time, rest), hops: 0 }
        }
        "limit" => {
            let limits = match rest.split_once(' ') {
                Some((units, percents)) => {
                    let percents: Vec<u16> = percents.split(',').map(|p| p.parse().unwrap()).collect();
                    vec![limit("meter", units.parse().unwrap(), &percents)]
                }
                None => vec![],
            };
            let revision = i64::try_from(row).unwrap();
            RecordBody::Limits { set: LimitSet { tenant: tenant(true, 0), revision, limits }, hops: 0 }
        }
        _ => RecordBody::Tick,
    }
}

fn shown(alert: &Alert) -> String {
    let AlertKind::Quota { period, threshold_percent, used, direction, .. } = &alert.kind else {
        return format!("{:?}", alert.kind);
    };
    let sign = if *direction == Direction::Reached { '+' } else { '-' };
    let day = (period.start.millis() - at(0).millis()) / DAY_MS;
    format!("{sign}{threshold_percent}@{used}/d{day}")
}

/// The columns are: what | arrival | event time | alerts | the level, where one is published.
/// A period is one day. Alerts: + reached, - resolved, percent @ usage / day of the period.
fn check(aggregation: Aggregation, table: &str) {
    let catalogue =
        Catalogue::new(1, vec![meter("meter", aggregation)], [].into(), Homes::new(support::PARTITIONS))
            .with_tenant(tenant(true, 0), facts(0, 0, 1, 10));
    let mut shard = support::shard();
    let mut ids = BTreeSet::new();
    for (row, line) in table.lines().map(str::trim).filter(|line| !line.is_empty()).enumerate() {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let body = body(cells[0], row, cells[2]);
        let outcome = apply_one(&mut shard, &catalogue, hours(cells[1]), body);
        let alerts: Vec<_> = outcome.alerts.iter().map(shown).collect();
        assert_eq!(alerts.join(" "), cells[3], "{line}");
        let level = |level: &weir_metering::quota::QuotaLevel| {
            let day = (level.period.start.millis() - at(0).millis()) / DAY_MS;
            let limit = level.limit.as_ref().map_or("none".to_owned(), |limit| limit.limit.to_string());
            format!("{} of {limit}/d{day}", level.used)
        };
        let levels: Vec<_> = outcome.levels.iter().map(level).collect();
        assert_eq!(levels.join(" "), cells[4], "{line}");
        assert!(outcome.alerts.iter().all(|alert| ids.insert(alert.id)), "an id came twice: {line}");
        assert!(outcome.alerts.iter().all(|alert| alert.at > Timestamp::EPOCH));
    }
}

#[test]
fn usage_rises_and_falls() {
    check(
        Aggregation::Sum,
        "
        limit 100 50,80,100 | 0:00 | -    |                        | 0 of 100/d0
        use 49.999999999    | 0:01 | 0:01 |                        | 49.999999999 of 100/d0
        use 0.000000001     | 0:02 | 0:02 | +50@50/d0              | 50 of 100/d0
        use 10              | 0:03 | 0:03 |                        | 60 of 100/d0
        use 45              | 0:04 | 0:04 | +80@105/d0 +100@105/d0 | 105 of 100/d0
        use 500             | 0:05 | 0:05 |                        | 605 of 100/d0
        use -520            | 0:06 | 0:06 | -100@85/d0             | 85 of 100/d0
        use -85             | 0:07 | 0:07 | -50@0/d0 -80@0/d0      | 0 of 100/d0
        use 100             | 0:08 | 0:08 | +50@100/d0 +80@100/d0 +100@100/d0 | 100 of 100/d0
        ",
    );
}

#[test]
fn limits_change() {
    check(
        Aggregation::Sum,
        "
        use 90              | 0:01 | 0:01 |            |
        limit 100 80,100    | 0:02 | -    | +80@90/d0  | 90 of 100/d0
        limit 90 80,100     | 0:03 | -    | +100@90/d0 | 90 of 90/d0
        limit 90 80,100     | 0:04 | -    |            |
        limit 200 10,80,100 | 0:05 | -    | -80@90/d0 -100@90/d0 +10@90/d0 | 90 of 200/d0
        limit 200 80        | 0:06 | -    | -10@90/d0  | 90 of 200/d0
        limit 50 80         | 0:07 | -    | +80@90/d0  | 90 of 50/d0
        limit               | 0:08 | -    | -80@90/d0  | 90 of none/d0
        use 100             | 0:09 | 0:09 |            |
        ",
    );
}

#[test]
fn periods_end() {
    check(
        Aggregation::Sum,
        "
        limit 10 50,100 | 0:00 | -    |           | 0 of 10/d0
        use 10          | 0:01 | 0:01 | +50@10/d0 +100@10/d0 | 10 of 10/d0
        use 5           | 0:23 | 1:00 | +50@5/d1  | 10 of 10/d0
        tick            | 0:23 | -    |           |
        tick            | 1:00 | -    | -50@10/d0 -100@10/d0 | 5 of 10/d1
        use 90          | 1:01 | 0:22 |           | 5 of 10/d1
        use 5           | 1:02 | 1:02 | +100@10/d1 | 10 of 10/d1
        tick            | 4:00 | -    | -50@10/d1 -100@10/d1 | 0 of 10/d4
        tick            | 20:00 | -   |           | 0 of 10/d9
        use 10          | 20:00 | 20:00 |         |
        ",
    );
}

#[test]
fn a_record_that_ends_a_period_is_judged_in_the_next() {
    check(
        Aggregation::Count,
        "
        limit 2 100 | 0:00 | -    |          | 0 of 2/d0
        use         | 0:01 | 0:01 |          | 1 of 2/d0
        use         | 0:02 | 0:02 | +100@2/d0 | 2 of 2/d0
        use         | 1:00 | 0:23 | -100@2/d0 | 0 of 2/d1
        use         | 1:00 | 1:00 |          | 1 of 2/d1
        limit 1 100 | 1:00 | -    | +100@1/d1 | 1 of 1/d1
        ",
    );
}

#[test]
fn the_latest_value_may_fall() {
    check(
        Aggregation::Latest,
        "
        limit 10 100 | 0:00 | -    |            | 0 of 10/d0
        use 12       | 0:05 | 0:05 | +100@12/d0 | 12 of 10/d0
        use 3        | 0:06 | 0:04 |            | 12 of 10/d0
        use 3        | 0:07 | 0:07 | -100@3/d0  | 3 of 10/d0
        use 11       | 0:08 | 0:07 | +100@11/d0 | 11 of 10/d0
        ",
    );
}
