//! Catalogue files that are taken, and files that are refused with line and reason.

use super::*;
use weir_core::time::{DAY_MS, HOUR_MS};

const EXAMPLE: &str = include_str!("../../../../schemas/catalog/example.toml");

fn now() -> Timestamp {
    Timestamp::parse("2026-11-24T08:00:00Z").unwrap()
}

fn words(refusals: Vec<Refusal>) -> String {
    refusals.iter().map(Refusal::to_string).collect::<Vec<_>>().join("\n")
}

/// What applying `text` to what is published says, a line each.
fn outcome(published: &str, text: &str) -> String {
    let current = parse(published).unwrap().catalog;
    let file = match parse(text) {
        Ok(file) => file,
        Err(refusals) => return words(refusals),
    };
    match difference(&current, &file, now(), HOUR_MS, HOUR_MS) {
        Ok(found) => {
            let changes = found.changes.iter().map(Change::to_string);
            changes.chain(found.notes.iter().map(Note::to_string)).collect::<Vec<_>>().join("\n")
        }
        Err(refusals) => words(refusals),
    }
}

fn check(published: &str, text: &str, expected: &str) {
    let expected: Vec<_> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let found = outcome(published, text);
    assert_eq!(found.lines().map(str::trim).collect::<Vec<_>>(), expected, "{text}");
}

#[test]
fn the_example_is_taken_whole_and_changes_nothing_the_second_time() {
    check(
        "",
        EXAMPLE,
        "+ legal entity acme-de: Acme Metering GmbH, invoices ACMEDE-000001…
         + legal entity acme-us: Acme Metering Inc., invoices ACMEUS-000001…
         + meter api_calls v1: calls of com.example.api.request, from the beginning
         + meter bandwidth v1: bytes of com.example.network.out, from the beginning
         + meter compute v1: cpu-minutes of com.example.compute.sample, from the beginning
         + meter storage v1: GB of com.example.storage.level, from the beginning
         + meter users v1: users of com.example.user.seen, from the beginning
         + plan desi v1: INR, api_calls package, compute graduated, bandwidth per_unit, from the beginning
         + plan pro v1: USD, flat fee 199, api_calls volume, bandwidth per_unit, storage per_unit, from the beginning
         + plan samurai v1: JPY, flat fee 3000, api_calls per_unit, compute per_unit, from the beginning
         + plan starter v1: EUR, flat fee 29, api_calls graduated, bandwidth package, users graduated, from the beginning",
    );
    check(EXAMPLE, EXAMPLE, "");
}

const METER: &str = r#"[[meter]]
key = "calls"
version = 1
unit = "calls"
event_type = "call"
aggregation = "count"
"#;

const PLAN: &str = r#"[[plan]]
key = "pro"
version = 1
name = "Pro"
currency = "EUR"
[[plan.price]]
meter = "calls"
model = "per_unit"
unit_amount = "0.10"
"#;

fn both() -> String {
    format!("{METER}{PLAN}")
}

#[test]
fn what_the_file_leaves_out_stays() {
    check(
        &both(),
        "",
        "meter calls v1 is published and not in the file: unchanged
         plan pro v1 is published and not in the file: unchanged",
    );
}

/// What is replaced in the file of one meter and one plan, by what, and what is said.
const REFUSED: &[(&str, &str, &str)] = &[
    (
        "unit_amount = \"0.10\"",
        "unit_amount = 0.10",
        "line 15, column 15: invalid type: floating point `0.1`, expected a string; amounts, quantities and times are written in quotes",
    ),
    (
        "unit_amount = \"0.10\"",
        "unit_amount = \"1e-3\"",
        "line 15, column 15: a price is plain decimal text such as \"0.0025\"",
    ),
    ("unit_amount = \"0.10\"", "unit_amount = \"-1\"", "line 15, column 15: a price is not below zero"),
    (
        "unit_amount = \"0.10\"",
        "unit_amount = \"0.0000000000001\"",
        "line 15, column 15: a price has at most twelve decimals",
    ),
    (
        "unit_amount = \"0.10\"",
        "unit_price = \"0.10\"",
        "line 15, column 1: unknown field `unit_price`, expected one of `meter`, `description`, `included`, `model`, `unit_amount`, `tiers`, `package_size`, `package_amount`",
    ),
    ("unit_amount = \"0.10\"\n", "", "line 14, column 9: a per_unit price needs unit_amount"),
    (
        "unit_amount = \"0.10\"",
        "unit_amount = \"0.10\"\npackage_size = \"10\"",
        "line 16, column 16: a per_unit price has no package_size",
    ),
    (
        "model = \"per_unit\"\nunit_amount = \"0.10\"\n",
        "",
        "line 12, column 1: the plan names the meter calls without a price: give it a model and its amounts",
    ),
    (
        "model = \"per_unit\"",
        "model = \"stairs\"",
        "line 14, column 9: \"stairs\" is not a price model: per_unit, graduated, volume or package",
    ),
    (
        "meter = \"calls\"",
        "meter = \"bytes\"",
        "line 12, column 1: the plan names the meter bytes, which is not defined",
    ),
    (
        "currency = \"EUR\"",
        "currency = \"EUX\"",
        "line 11, column 12: \"EUX\" is not an ISO 4217 currency code such as EUR",
    ),
    (
        "currency = \"EUR\"",
        "currency = \"JPY\"\nflat_fee = \"9.99\"",
        "line 12, column 12: the flat fee 9.99 has more decimals than JPY is billed with",
    ),
    (
        "aggregation = \"count\"",
        "aggregation = \"sum\"",
        "line 1, column 1: meter calls version 1: value_property is needed by every aggregation but count",
    ),
    (
        "aggregation = \"count\"",
        "aggregation = \"count\"\nvalue_property = \"n\"",
        "line 1, column 1: meter calls version 1: value_property must be left out for count",
    ),
    (
        "aggregation = \"count\"",
        "aggregation = \"mean\"",
        "line 6, column 15: unknown variant `mean`, expected one of `count`, `sum`, `max`, `min`, `latest`, `unique`",
    ),
    (
        "key = \"calls\"",
        "key = \"Calls\"",
        "line 2, column 7: a meter key is 1 to 64 of a-z, 0-9, _ and -, and begins with a letter",
    ),
    (
        "version = 1\nunit",
        "version = 0\nunit",
        "line 1, column 1: meter calls version 0: version begins at 1",
    ),
    ("unit = \"calls\"", "unit = \"calls", "line 4, column 14: invalid basic string, expected `\"`"),
];

#[test]
fn files_that_are_refused() {
    for (part, other, expected) in REFUSED {
        let text = both().replace(part, other);
        assert_ne!(text, both(), "{part}");
        check("", &text, expected);
    }
}

/// A tiers list, and what is said.
const TIERS: &[(&str, &str)] = &[
    ("[]", "line 12, column 1: the price of calls cannot be applied: a tiered price needs at least one tier"),
    (
        "[{ up_to = \"10\", unit_amount = \"2\" }, { up_to = \"10\", unit_amount = \"1\" }, { unit_amount = \"1\" }]",
        "line 15, column 47: the price of calls cannot be applied: tiers must rise: tier 2 ends at 10, the one before it at 10",
    ),
    (
        "[{ unit_amount = \"2\" }, { unit_amount = \"1\" }]",
        "line 15, column 10: the price of calls cannot be applied: tier 1 has no up_to, but only the last tier may be open",
    ),
    (
        "[{ up_to = \"10\", unit_amount = \"2\" }]",
        "line 12, column 1: the price of calls cannot be applied: the last tier must be open: leave out its up_to (10), or add a tier for what lies above",
    ),
];

#[test]
fn tiers_that_are_refused() {
    for (tiers, expected) in TIERS {
        let text = both()
            .replace("\"per_unit\"", "\"graduated\"")
            .replace("unit_amount = \"0.10\"", &format!("tiers = {tiers}"));
        check("", &text, expected);
    }
}

fn plan_version(version: u32, begins_at: &str) -> String {
    let begins_at =
        if begins_at.is_empty() { String::new() } else { format!("begins_at = \"{begins_at}\"\n") };
    both() + &PLAN.replace("version = 1\n", &format!("version = {version}\n{begins_at}"))
}

#[test]
fn published_versions_never_change() {
    let dearer = both().replace("0.10", "0.11");
    check(
        &both(),
        &dearer,
        "line 7, column 1: plan pro version 1 is published with other content; publish version 2 instead",
    );
    check(&both(), &both().replace("0.10", "0.100"), "");
    let gap = plan_version(3, "2027-01-01T00:00:00Z");
    check(&both(), &gap, "line 18, column 11: the next version of plan pro is 2, not 3");
    let second = plan_version(2, "2027-01-01T00:00:00Z");
    check(&both(), &second, "+ plan pro v2: EUR, calls per_unit, from 2027-01-01T00:00:00.000Z");
    let twice = both() + PLAN;
    check("", &twice, "line 16, column 1: version 1 of plan pro is defined twice");
}

#[test]
fn a_later_version_begins_after_the_bound_and_the_margin() {
    let early = plan_version(2, "2026-11-24T09:59:59.999Z");
    check(
        &both(),
        &early,
        "line 19, column 13: version 2 of plan pro begins at 2026-11-24T09:59:59.999Z, too early: events are being counted already; 2026-11-24T10:00:00.000Z or later is possible",
    );
    let without = plan_version(2, "");
    check(
        &both(),
        &without,
        "line 16, column 1: version 2 of plan pro needs begins_at, 2026-11-24T10:00:00.000Z or later",
    );
    let just = plan_version(2, "2026-11-24T10:00:00Z");
    check(&both(), &just, "+ plan pro v2: EUR, calls per_unit, from 2026-11-24T10:00:00.000Z");
    // Published once, it may be applied again at any later time.
    let current = parse(&just).unwrap();
    let later = now().plus_millis(30 * DAY_MS);
    let again = difference(&current.catalog, &current, later, HOUR_MS, HOUR_MS);
    assert_eq!(again, Ok(CatalogDifference::default()));
}

#[test]
fn a_new_version_of_a_meter_keeps_its_meaning() {
    let second = METER.replace("version = 1", "version = 2\nbegins_at = \"2027-01-01T00:00:00Z\"");
    let file = format!("{METER}{second}");
    check(METER, &file, "+ meter calls v2: calls of call, from 2027-01-01T00:00:00.000Z");
    let summed = second.replace("\"count\"", "\"sum\"\nvalue_property = \"n\"");
    check(
        METER,
        &format!("{METER}{summed}"),
        "line 7, column 1: a new version of the meter calls cannot change its aggregation; define another meter",
    );
    let other = second.replace("\"call\"", "\"ring\"");
    check(
        METER,
        &format!("{METER}{other}"),
        "line 7, column 1: a new version of the meter calls cannot change its event_type; define another meter",
    );
}

const ENTITY: &str = r#"[[legal_entity]]
key = "acme"
name = "Acme"
address = ["1 Street"]
country = "DE"
number_prefix = "ACME"
"#;

#[test]
fn legal_entities_are_published_once_and_number_apart() {
    check(
        ENTITY,
        &ENTITY.replace("1 Street", "2 Street"),
        "line 1, column 1: the legal entity acme is published with other content; documents refer to it, so it does not change",
    );
    check(
        ENTITY,
        &ENTITY.replace("\"acme\"", "\"emca\""),
        "line 1, column 1: the number prefix ACME belongs to another legal entity",
    );
    check(
        "",
        &ENTITY.replace("\"DE\"", "\"Germany\""),
        "line 1, column 1: \"Germany\" is not a country code of two capital letters such as DE",
    );
}

#[test]
fn a_new_version_of_a_plan_keeps_its_currency() {
    let second = PLAN.replace("version = 1", "version = 2\nbegins_at = \"2027-01-01T00:00:00Z\"");
    let published = both();
    let dearer = second.replace("0.10", "0.20");
    check(
        &published,
        &format!("{published}{dearer}"),
        "+ plan pro v2: EUR, calls per_unit, from 2027-01-01T00:00:00.000Z",
    );
    check(
        &published,
        &format!("{published}{}", dearer.replace("EUR", "USD")),
        "line 16, column 1: a new version of the plan pro cannot change its currency; define another plan",
    );
}
