//! Prices and plans that are taken and refused, and which version is in force.

use std::collections::BTreeSet;

use super::*;
use crate::exact::ExactAmount;

/// A price as text, and how it is written back or why it is refused.
const AMOUNTS: &str = "
    text             | read as
    0                | 0
    1.50             | 1.5
    0.0025           | 0.0025
    007.10           | 7.1
    0.000000000001   | 0.000000000001
    0.0000000000010  | 0.000000000001
    0.0000000000001  | a price has at most twelve decimals
    1000000000000000 | 1000000000000000
    1000000000000001 | a price is at most 10^15
    99999999999999999999999999999999999999999999 | a price is at most 10^15
    -1               | a price is not below zero
    1e-3             | a price is plain decimal text such as \"0.0025\"
    1.               | a price is plain decimal text such as \"0.0025\"
    .5               | a price is plain decimal text such as \"0.0025\"
    1,50             | a price is plain decimal text such as \"0.0025\"
    NaN              | a price is plain decimal text such as \"0.0025\"
";

#[test]
fn price_amounts() {
    for cells in rows(AMOUNTS) {
        let found = PriceAmount::parse(cells[0]).map_or_else(|e| e.to_string(), |price| price.to_string());
        assert_eq!(found, cells[1], "{cells:?}");
        if let Ok(price) = PriceAmount::parse(cells[0]) {
            assert_eq!(price.to_decimal().to_string(), cells[1]);
            assert_eq!(ExactAmount::from(price).to_string(), cells[1]);
        }
    }
    assert!(PriceAmount::parse("").is_err());
}

/// What is wrong with a price.
const REFUSED: &str = "
    price                                      | reason
    graduated 10 at 1, 10 at 1, rest at 1      | tiers must rise: tier 2 ends at 10, the one before it at 10
    graduated 10 at 1, 9.999 at 1, rest at 1   | tiers must rise: tier 2 ends at 9.999, the one before it at 10
    graduated 0 at 1, rest at 1                | tiers must rise: tier 1 ends at 0, the one before it at 0
    volume -5 at 1, rest at 1                  | tiers must rise: tier 1 ends at -5, the one before it at 0
    volume rest at 1, rest at 2                | tier 1 has no up_to, but only the last tier may be open
    volume 10 at 1, 20 at 2                    | the last tier must be open: leave out its up_to (20), or add a tier for what lies above
    package 0 for 5                            | a package must hold more than zero units, not 0
    package -1 for 5                           | a package must hold more than zero units, not -1
    graduated 10 at 1, rest at 1               | fine
";

#[test]
fn prices_that_are_refused() {
    for cells in rows(REFUSED) {
        let found = price(cells[0]).validate().map_or_else(|e| e.to_string(), |()| "fine".to_owned());
        assert_eq!(found, cells[1], "{cells:?}");
    }
    let none = PriceModel::Volume { tiers: Vec::new() };
    assert_eq!(none.validate().unwrap_err().to_string(), "a tiered price needs at least one tier");
    assert_eq!(
        meter_price("calls", "-1", "per_unit 1").validate().unwrap_err().to_string(),
        "the included quantity cannot be below zero, as -1 is"
    );
}

#[test]
fn plans_that_are_refused() {
    let known = BTreeSet::from([MeterName::new("calls").unwrap()]);
    let says = |plan: &PlanVersion| plan.validate(&known).iter().map(ToString::to_string).collect::<Vec<_>>();
    let calls = || meter_price("calls", "0", "per_unit 1");
    assert_eq!(says(&plan("EUR", Some("9.99"), vec![calls()])), Vec::<String>::new());
    assert_eq!(says(&plan("EUR", None, vec![])), ["the plan has neither a flat fee nor a price"]);
    assert_eq!(
        says(&plan("JPY", Some("9.99"), vec![calls(), calls()])),
        ["the flat fee 9.99 has more decimals than JPY is billed with", "the meter calls has two prices"]
    );
    assert_eq!(
        says(&PlanVersion {
            version: 0,
            ..plan("EUR", None, vec![meter_price("bytes", "0", "package 0 for 1")])
        }),
        [
            "versions of a plan are numbered from 1",
            "the plan names the meter bytes, which is not defined",
            "the price of bytes cannot be applied: a package must hold more than zero units, not 0"
        ]
    );
}

/// Versions 1 (from the beginning), 2 and 3 of a plan.
const IN_FORCE: &str = "
    period starts at         | version
    2020-01-01T00:00:00.000Z | 1
    2026-12-31T23:59:59.999Z | 1
    2027-01-01T00:00:00.000Z | 2
    2027-05-31T23:59:59.999Z | 2
    2027-06-01T00:00:00.000Z | 3
";

#[test]
fn the_version_in_force_when_a_period_starts() {
    let begins = [None, Some("2027-01-01T00:00:00Z"), Some("2027-06-01T00:00:00Z")];
    let versions: Vec<_> = (1..)
        .zip(begins)
        .map(|(version, at)| {
            let begins_at = at.map(|at| Timestamp::parse(at).unwrap());
            PlanVersion { version, begins_at, ..plan("EUR", Some("1"), vec![]) }
        })
        .collect();
    let key = PlanKey::new("pro").unwrap();
    for cells in rows(IN_FORCE) {
        let found = PlanVersion::in_force(&versions, &key, Timestamp::parse(cells[0]).unwrap());
        assert_eq!(found.unwrap().version.to_string(), cells[1], "{cells:?}");
    }
    assert_eq!(PlanVersion::in_force(&versions[1..], &key, Timestamp::EPOCH), None);
    assert_eq!(PlanVersion::in_force(&versions, &PlanKey::new("other").unwrap(), Timestamp::EPOCH), None);
}

#[test]
fn plans_are_read_back_as_written_whatever_zeros_they_were_given() {
    let prices =
        |amount: &str| vec![meter_price("calls", "100", &format!("graduated 10.00 at {amount}, rest at 2"))];
    let plan_of = |fee, amount| plan("EUR", Some(fee), prices(amount));
    let plan = plan_of("9.90", "0.100");
    let text = plan.canonical_json().unwrap();
    assert_eq!(
        text,
        "{\"begins_at\":null,\"currency\":\"EUR\",\"flat_fee\":\"9.9\",\"key\":\"pro\",\"name\":\"Pro\",\"prices\":[\
         {\"description\":\"\",\"included\":\"100\",\"meter\":\"calls\",\"price\":{\"model\":\"graduated\",\"tiers\":[\
         {\"flat_amount\":\"0\",\"unit_amount\":\"0.1\",\"up_to\":\"10\"},{\"flat_amount\":\"0\",\"unit_amount\":\"2\",\"up_to\":null}]},\
         \"unit\":\"units\"}],\"version\":1}"
    );
    assert_eq!(serde_json::from_str::<PlanVersion>(&text).unwrap(), plan);
    assert_eq!(plan_of("9.9", "0.1").content_hash().unwrap(), plan.content_hash().unwrap());
    assert_ne!(plan_of("9.9", "0.11").content_hash().unwrap(), plan.content_hash().unwrap());
}

#[test]
fn names_and_exact_amounts_are_read_or_refused() {
    for good in ["a", "api_calls", "gpu-2", &"m".repeat(64)] {
        assert_eq!(MeterName::new(good).unwrap().as_str(), good);
    }
    for bad in ["", "A", "2x", "_a", "a b", "a\0", "é", &"m".repeat(65)] {
        assert!(MeterName::new(bad).is_err() && PlanKey::new(bad).is_err(), "{bad:?}");
        assert!(serde_json::from_value::<LegalEntityKey>(bad.into()).is_err(), "{bad:?}");
    }
    for (text, expected) in
        [("-0.00", "0"), ("-1.50", "-1.5"), ("0.000000000000000000001", "0.000000000000000000001")]
    {
        assert_eq!(ExactAmount::parse(text).unwrap().to_string(), expected);
    }
    let too_long = "9".repeat(79);
    for bad in ["", "-", "1.", ".5", "+1", "1e3", "0.0000000000000000000001", &too_long] {
        assert!(ExactAmount::parse(bad).is_err(), "{bad}");
    }
}
