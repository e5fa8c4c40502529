//! What a quota answer says, as text tables, and which limits are refused.

mod support;

use support::{at, limit, tenant};
use weir_core::time::DAY_MS;
use weir_core::{Position, Quantity, Span};
use weir_metering::quota::{Enforcement, Limit, LimitSet, QuotaLevel, WhenStale, answer};

/// limit, enforcement, when stale, used, seconds since as_of, seconds since the period's
/// start (a period is one day; 60 s are tolerated) => allowed, used, remaining, resets, stale
const TABLE: &str = "
    10   hard allow  9.999999999  0   100    => yes 9.999999999 0.000000001 yes fresh
    10   hard allow  10           0   100    => no  10          0           yes fresh
    10   hard allow  25           0   100    => no  25          0           yes fresh
    10   soft allow  25           0   100    => yes 25          0           yes fresh
    10   hard allow  -5           0   100    => yes -5          15          yes fresh
    10   hard allow  25           60  100    => no  25          0           yes fresh
    10   hard allow  25           61  100    => yes 25          0           yes stale
    10   hard deny   5            61  100    => no  5           5           yes stale
    10   soft deny   5            61  100    => no  5           5           yes stale
    10   hard allow  25           0   86399  => no  25          0           yes fresh
    10   hard allow  25           1   86400  => yes 0           10          no  fresh
    10   hard deny   25           61  86400  => no  0           10          no  stale
    none hard deny   25           61  100    => yes 25          -           yes stale
    10   hard allow  25           -5  100    => no  25          0           yes fresh
";

fn check(row: &str) {
    let (given, expected) = row.split_once("=>").unwrap();
    let cells: Vec<_> = given.split_whitespace().collect();
    let (age, now) = (cells[4].parse::<i64>().unwrap(), cells[5].parse::<i64>().unwrap() * 1000);
    let held = |units: i64| Limit {
        enforcement: if cells[1] == "hard" { Enforcement::Hard } else { Enforcement::Soft },
        when_stale: if cells[2] == "deny" { WhenStale::Deny } else { WhenStale::Allow },
        ..limit("calls", units, &[100])
    };
    let level = QuotaLevel {
        tenant: tenant(true, 0),
        limit: cells[0].parse().ok().map(held),
        meter: support::meter_key("calls"),
        period: Span { start: at(0), end: at(DAY_MS) },
        used: Quantity::parse(cells[3]).unwrap(),
        position: Position { generation: 1, partition: 1, offset: 9 },
        as_of: at(now - age * 1000),
    };
    let found = answer(&level, at(now), 60_000);
    let yes = |yes: bool| if yes { "yes" } else { "no" };
    let shown = [
        yes(found.allowed).to_owned(),
        found.used.to_string(),
        found.remaining.map_or("-".to_owned(), |remaining| remaining.to_string()),
        yes(found.resets_at == Some(level.period.end)).to_owned(),
        if found.stale { "stale" } else { "fresh" }.to_owned(),
    ];
    assert_eq!(shown.to_vec(), expected.split_whitespace().collect::<Vec<_>>(), "{row}");
    assert_eq!(found.as_of, level.as_of);
}

#[test]
fn answers() {
    TABLE.lines().map(str::trim).filter(|row| !row.is_empty()).for_each(check);
}

#[test]
fn limits_that_make_no_sense_are_refused() {
    let check = |limits: Vec<Limit>, expected: &str| {
        let found = LimitSet { tenant: tenant(true, 0), revision: 1, limits }.validate();
        assert_eq!(found.map_or_else(|error| error.to_string(), |()| "ok".to_owned()), expected);
    };
    check(vec![], "ok");
    check(vec![limit("calls", 1, &[1, 1000]), limit("bytes", 1, &[])], "ok");
    check(vec![limit("calls", 1, &[]), limit("calls", 2, &[])], "meter calls has two limits");
    check(vec![limit("calls", 0, &[])], "the limit on meter calls is 0, and must be above zero");
    let thresholds = "the thresholds on meter calls must rise, within 1 to 1000 percent";
    check(vec![limit("calls", 1, &[0])], thresholds);
    check(vec![limit("calls", 1, &[1001])], thresholds);
    check(vec![limit("calls", 1, &[80, 80])], thresholds);
    check(vec![limit("calls", 1, &[100, 80])], thresholds);
}
