//! Tests of the money side: tables that a finance person can read and correct, and laws.

mod invoices;
mod prices;
mod rating_laws;
mod rating_tables;
mod verification;

use weir_core::{Currency, Position, Quantity, Span, TenantId, Timestamp};

use crate::draft::{InvoiceInput, UsageOfPeriod, finalize};
use crate::invoice::Invoice;
use crate::name::{LegalEntityKey, MeterName, PlanKey};
use crate::number::{InvoiceNumber, NumberPrefix};
use crate::plan::{MeterPrice, PlanVersion};
use crate::price::{PriceAmount, PriceModel, Tier};

/// Rows of a table: a line each, cells between bars, without the heading.
fn rows(table: &str) -> impl Iterator<Item = Vec<&str>> {
    let lines = table.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.skip(1).map(|line| line.split('|').map(str::trim).collect())
}

fn quantity(text: &str) -> Quantity {
    Quantity::parse_total(&text.replace('_', "")).unwrap()
}

/// A price as the tables write it: `per_unit 0.10`, `package 100 for 5.00`, `graduated
/// 10 at 1.00, 20 at 0.50 + 3.00, rest at 0.25` (`+` the tier's flat amount).
fn price(text: &str) -> PriceModel {
    let (model, rest) = text.split_once(' ').unwrap();
    let amount = |text: &str| PriceAmount::parse(text).unwrap();
    let tier = |text: &str| {
        let (up_to, amounts) = text.trim().split_once(" at ").unwrap();
        let (unit, flat) = amounts.split_once(" + ").unwrap_or((amounts, "0"));
        let up_to = (up_to != "rest").then(|| quantity(up_to));
        Tier { up_to, unit_amount: amount(unit), flat_amount: amount(flat) }
    };
    match model {
        "per_unit" => PriceModel::PerUnit { unit_amount: amount(rest) },
        "graduated" => PriceModel::Graduated { tiers: rest.split(',').map(tier).collect() },
        "volume" => PriceModel::Volume { tiers: rest.split(',').map(tier).collect() },
        "package" => {
            let (size, each) = rest.split_once(" for ").unwrap();
            PriceModel::Package { package_size: quantity(size), package_amount: amount(each) }
        }
        other => panic!("no price model {other}"),
    }
}

fn meter_price(meter: &str, included: &str, model: &str) -> MeterPrice {
    MeterPrice {
        meter: MeterName::new(meter).unwrap(),
        description: String::new(),
        unit: "units".to_owned(),
        included: quantity(included),
        price: price(model),
    }
}

fn plan(currency: &str, flat_fee: Option<&str>, prices: Vec<MeterPrice>) -> PlanVersion {
    PlanVersion {
        key: PlanKey::new("pro").unwrap(),
        version: 1,
        name: "Pro".to_owned(),
        currency: Currency::new(currency).unwrap(),
        flat_fee: flat_fee.map(|fee| PriceAmount::parse(fee).unwrap()),
        prices,
        begins_at: None,
    }
}

/// Usage as the tables write it: `calls 1500 in 3, bytes 7.5 in 2` (events).
fn usage(text: &str) -> Vec<UsageOfPeriod> {
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    let entry = |entry: &str| {
        let cells: Vec<_> = entry.split_whitespace().collect();
        UsageOfPeriod {
            meter: MeterName::new(cells[0]).unwrap(),
            quantity: quantity(cells[1]),
            event_count: cells[3].parse().unwrap(),
        }
    };
    entries.map(entry).collect()
}

fn cut(offset: i64) -> Position {
    Position { generation: 1, partition: 3, offset }
}

fn input<'a>(plan: &'a PlanVersion, usage: &'a [UsageOfPeriod]) -> InvoiceInput<'a> {
    InvoiceInput {
        id: "inv_1".to_owned(),
        tenant: TenantId::new("acme").unwrap(),
        legal_entity: LegalEntityKey::new("weir-de").unwrap(),
        subscription_id: "sub_1".to_owned(),
        plan,
        period: Span {
            start: Timestamp::parse("2026-10-31T23:00:00Z").unwrap(),
            end: Timestamp::parse("2026-11-30T23:00:00Z").unwrap(),
        },
        zone: "Europe/Berlin".to_owned(),
        cut: cut(100),
        usage,
    }
}

fn numbered(draft: Invoice, counter: u64) -> Invoice {
    let number = InvoiceNumber::new(NumberPrefix::new("WEIR").unwrap(), counter).unwrap();
    finalize(draft, number, Timestamp::parse("2026-12-02T08:00:00Z").unwrap()).unwrap()
}
