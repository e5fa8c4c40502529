//! What usage comes to, under every price model. Amounts before and after rounding.

use super::*;
use crate::rating::rate_price;

/// The invoice shows "billed"; "exact" stays on the line as proof. Underscores are for the eye.
const TABLE: &str = "
    price                                                  | included | usage                | exact                          | billed
    per_unit 0.001                                         | 0        | 1_000_000            | 1000                           | 1000.00 EUR
    per_unit 0.001                                         | 0        | 4                    | 0.004                          | 0.00 EUR
    per_unit 0.001                                         | 0        | 5                    | 0.005                          | 0.01 EUR
    per_unit 0.001                                         | 0        | 0                    | 0                              | 0.00 EUR
    per_unit 0.10                                          | 100      | 99.9                 | 0                              | 0.00 EUR
    per_unit 0.10                                          | 100      | 100                  | 0                              | 0.00 EUR
    per_unit 0.10                                          | 100      | 100.5                | 0.05                           | 0.05 EUR
    per_unit 0.10                                          | 0        | -12                  | -1.2                           | -1.20 EUR
    per_unit 0.10                                          | 100      | -12                  | -1.2                           | -1.20 EUR
    per_unit 0.005                                         | 0        | -1                   | -0.005                         | -0.01 EUR
    per_unit 0.000000000085                                | 0        | 123_456_789_012      | 10.49382706602                 | 10.49 USD
    per_unit 0.000000000001                                | 0        | 0.000000001          | 0.000000000000000000001        | 0.00 EUR
    per_unit 0.5                                           | 0        | 1                    | 0.5                            | 1 JPY
    per_unit 0.5                                           | 0        | 3                    | 1.5                            | 2 JPY
    per_unit 0.15                                          | 0        | 12_343               | 1851.45                        | 1851 JPY
    per_unit 0.5                                           | 0        | -1                   | -0.5                           | -1 JPY
    per_unit 0.0015                                        | 0        | 1                    | 0.0015                         | 0.002 KWD
    per_unit 0.0015                                        | 0        | 0.333333333          | 0.0004999999995                | 0.000 KWD
    per_unit 0.0015                                        | 0        | 7                    | 0.0105                         | 0.011 KWD
    graduated 10 at 1.00, 20 at 0.50, rest at 0.25         | 0        | 0                    | 0                              | 0.00 EUR
    graduated 10 at 1.00, 20 at 0.50, rest at 0.25         | 0        | 10                   | 10                             | 10.00 EUR
    graduated 10 at 1.00, 20 at 0.50, rest at 0.25         | 0        | 10.000000001         | 10.0000000005                  | 10.00 EUR
    graduated 10 at 1.00, 20 at 0.50, rest at 0.25         | 0        | 10.5                 | 10.25                          | 10.25 EUR
    graduated 10 at 1.00, 20 at 0.50, rest at 0.25         | 0        | 20                   | 15                             | 15.00 EUR
    graduated 10 at 1.00, 20 at 0.50, rest at 0.25         | 0        | 24                   | 16                             | 16.00 EUR
    graduated 10 at 1.00, 20 at 0.50, rest at 0.25         | 4        | 24                   | 15                             | 15.00 EUR
    graduated 10 at 1.00, 20 at 0.50, rest at 0.25         | 0        | -3                   | 0                              | 0.00 EUR
    graduated 10 at 0 + 5.00, rest at 1.00 + 2.00          | 0        | 0                    | 0                              | 0.00 EUR
    graduated 10 at 0 + 5.00, rest at 1.00 + 2.00          | 0        | 0.1                  | 5                              | 5.00 EUR
    graduated 10 at 0 + 5.00, rest at 1.00 + 2.00          | 0        | 10                   | 5                              | 5.00 EUR
    graduated 10 at 0 + 5.00, rest at 1.00 + 2.00          | 0        | 10.5                 | 7.5                            | 7.50 EUR
    volume 10 at 1.00, 20 at 0.50, rest at 0.25            | 0        | 0                    | 0                              | 0.00 EUR
    volume 10 at 1.00, 20 at 0.50, rest at 0.25            | 0        | 9.999999999          | 9.999999999                    | 10.00 EUR
    volume 10 at 1.00, 20 at 0.50, rest at 0.25            | 0        | 10                   | 10                             | 10.00 EUR
    volume 10 at 1.00, 20 at 0.50, rest at 0.25            | 0        | 10.5                 | 5.25                           | 5.25 EUR
    volume 10 at 1.00, 20 at 0.50, rest at 0.25            | 0        | 20                   | 10                             | 10.00 EUR
    volume 10 at 1.00, 20 at 0.50, rest at 0.25            | 0        | 20.000000001         | 5.00000000025                  | 5.00 EUR
    volume 10 at 1.00, 20 at 0.50, rest at 0.25            | 0        | -3                   | 0                              | 0.00 EUR
    volume 10 at 1.00 + 3.00, rest at 0.50 + 4.00          | 0        | 10                   | 13                             | 13.00 EUR
    volume 10 at 1.00 + 3.00, rest at 0.50 + 4.00          | 0        | 11                   | 9.5                            | 9.50 EUR
    package 100 for 5.00                                   | 0        | 0                    | 0                              | 0.00 EUR
    package 100 for 5.00                                   | 0        | 0.000000001          | 5                              | 5.00 EUR
    package 100 for 5.00                                   | 0        | 100                  | 5                              | 5.00 EUR
    package 100 for 5.00                                   | 0        | 100.5                | 10                             | 10.00 EUR
    package 100 for 5.00                                   | 50       | 150                  | 5                              | 5.00 EUR
    package 100 for 5.00                                   | 50       | 151                  | 10                             | 10.00 EUR
    package 0.5 for 1.25                                   | 0        | 1.1                  | 3.75                           | 3.75 EUR
    package 100 for 5.00                                   | 0        | -250                 | 0                              | 0.00 EUR
    per_unit 0.001                                         | 0        | 10_000_000_000_000_000_000_000_000_000 | 10000000000000000000000000 | 10000000000000000000000000.00 EUR
    per_unit 0.000000000003                                | 0        | 10_000_000_000_000_000_000_000_000_000.000000001 | 30000000000000000.000000000000000000003 | 30000000000000000.00 EUR
    graduated 1 at 0.000000000007, rest at 0.000000000003  | 0        | 10_000_000_000_000_000_000_000_000_000 | 30000000000000000.000000000004 | 30000000000000000.00 EUR
    package 1000 for 0.000000000001                       | 0        | 10_000_000_000_000_000_000_000_000_000 | 10000000000000 | 10000000000000.00 EUR
    per_unit 1000                                         | 0        | 10_000_000_000_000_000_000_000_000_000 | 10000000000000000000000000000000 | too large
";

#[test]
fn usage_and_what_it_costs() {
    for cells in rows(TABLE) {
        let [model, included, usage, exact, billed] = cells[..] else { panic!("{cells:?}") };
        let rated = rate_price(&meter_price("calls", included, model), quantity(usage)).unwrap();
        assert_eq!(rated.amount.to_string(), exact, "{cells:?}");
        let code = billed.rsplit(' ').next().unwrap();
        let currency = Currency::new(code).unwrap_or(Currency::new("EUR").unwrap());
        let found = rated.amount.rounded(currency).map_or("too large".to_owned(), |money| money.to_string());
        assert_eq!(found, billed, "{cells:?}");
    }
}

/// The parts of a tiered amount, as they stand on the line: from..to quantity = amount.
const PARTS: &str = "
    price                                          | usage | parts
    graduated 10 at 1.00, 20 at 0.50, rest at 0.25 | 0     |
    graduated 10 at 1.00, 20 at 0.50, rest at 0.25 | 10    | 0..10 10 = 10
    graduated 10 at 1.00, 20 at 0.50, rest at 0.25 | 24.5  | 0..10 10 = 10, 10..20 10 = 5, 20..open 4.5 = 1.125
    graduated 10 at 0 + 5.00, rest at 1.00 + 2.00  | 10.5  | 0..10 10 = 5, 10..open 0.5 = 2.5
    volume 10 at 1.00, 20 at 0.50, rest at 0.25    | 10    | 0..10 10 = 10
    volume 10 at 1.00, 20 at 0.50, rest at 0.25    | 10.5  | 10..20 10.5 = 5.25
    volume 10 at 1.00, 20 at 0.50, rest at 0.25    | 40    | 20..open 40 = 10
    per_unit 1.00                                  | 40    |
";

#[test]
fn the_parts_of_tiered_amounts() {
    for cells in rows(PARTS) {
        let rated = rate_price(&meter_price("calls", "0", cells[0]), quantity(cells[1])).unwrap();
        let part = |part: &crate::TierPart| {
            let to = part.to.map_or("open".to_owned(), |to| to.to_string());
            format!("{}..{to} {} = {}", part.from, part.quantity, part.amount)
        };
        assert_eq!(rated.tiers.iter().map(part).collect::<Vec<_>>().join(", "), cells[2], "{cells:?}");
    }
}

#[test]
fn packages_are_counted_and_usage_below_zero_is_said() {
    let rated =
        |model: &str, usage: &str| rate_price(&meter_price("calls", "0", model), quantity(usage)).unwrap();
    assert_eq!(rated("package 100 for 5.00", "100.5").packages, Some(Quantity::from_units(2)));
    assert_eq!(rated("per_unit 5.00", "100.5").packages, None);
    for (model, below) in [("per_unit 1", false), ("volume rest at 1", true), ("package 1 for 1", true)] {
        assert_eq!(rated(model, "-1").below_zero, below, "{model}");
        assert!(!rated(model, "1").below_zero, "{model}");
    }
}
