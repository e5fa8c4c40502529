//! The money side by itself: rating, and drafting whole invoices.

use std::hint::black_box;

use anyhow::{Context, Result, ensure};
use weir_billing::{
    InvoiceInput, LegalEntityKey, MeterName, MeterPrice, PlanKey, PlanVersion, PriceAmount, PriceModel, Tier,
    UsageOfPeriod, draft as draft_invoice, rate_price,
};
use weir_core::time::DAY_MS;
use weir_core::{Currency, Position, Quantity, Span, TenantId, Timestamp};

use crate::clock::Stopwatch;
use crate::parts::{Line, Size, speed};
use crate::stage::{BASE_MS, PARTITION, batches, float, offset};

const LINES: [&str; 3] = ["processor time", "ns/line", "lines/s"];
/// Priced meters of the plan.
const PRICES: u64 = 10;

/// Each of ten prices with ever other quantities, rounded to the currency.
pub(crate) fn rating(size: Size) -> Result<Vec<Line>> {
    let plan = plan()?;
    let mut watch = Stopwatch::default();
    for (from, until) in batches(0, size.units) {
        let usage: Result<Vec<_>> =
            (from..until).map(|line| Ok((price(&plan, line)?, quantity(line)?))).collect();
        let usage = usage?;
        let rated = watch.time(|| {
            let rated = usage.iter().filter_map(|(price, quantity)| rate_price(price, *quantity).ok());
            rated.filter_map(|rated| black_box(rated.amount.rounded(plan.currency)).ok()).count()
        });
        ensure!(u64::try_from(rated)? == until - from, "{rated} of {} lines were rated", until - from);
    }
    Ok(speed(&watch, float(size.units)?, LINES))
}

/// Ten-line drafts: rated, rounded, each line and the whole hashed.
pub(crate) fn draft(size: Size) -> Result<Vec<Line>> {
    let plan = plan()?;
    let mut watch = Stopwatch::default();
    let invoices = size.units / PRICES;
    for invoice in 0..invoices {
        let usage: Result<Vec<_>> = (0..PRICES).map(|meter| usage(meter, invoice * PRICES + meter)).collect();
        let (usage, input) = (usage?, input(&plan, invoice)?);
        let input = InvoiceInput { usage: &usage, ..input };
        let drafted = watch.time(|| draft_invoice(&input))?;
        ensure!(drafted.lines.len() == usage.len(), "{} lines were drafted", drafted.lines.len());
    }
    Ok(speed(&watch, float(invoices * PRICES)?, LINES))
}

fn input(plan: &PlanVersion, invoice: u64) -> Result<InvoiceInput<'_>> {
    let start = Timestamp::clamped(BASE_MS);
    Ok(InvoiceInput {
        id: format!("inv_{invoice:032x}"),
        tenant: TenantId::new(&format!("tenant-{invoice:07}"))?,
        legal_entity: LegalEntityKey::new("load")?,
        subscription_id: format!("sub_{invoice:032x}"),
        plan,
        period: Span { start, end: start.plus_millis(30 * DAY_MS) },
        zone: "Europe/Berlin".to_owned(),
        cut: Position { generation: 1, partition: PARTITION, offset: offset(invoice)? },
        usage: &[],
    })
}

fn usage(meter: u64, line: u64) -> Result<UsageOfPeriod> {
    Ok(UsageOfPeriod {
        meter: name(meter)?,
        quantity: quantity(line)?,
        event_count: i64::try_from(line % 100_000)?,
    })
}

/// From nothing to a billion units, with up to nine decimals.
fn quantity(line: u64) -> Result<Quantity> {
    let nanos = i128::from(line.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 1_000_000_000_000_000_000);
    Quantity::from_nanos(nanos).context("a quantity")
}

fn price(plan: &PlanVersion, line: u64) -> Result<&MeterPrice> {
    plan.prices.get(usize::try_from(line % PRICES)?).context("a price")
}

fn name(meter: u64) -> Result<MeterName> {
    Ok(MeterName::new(&format!("meter_{meter}"))?)
}

/// Four prices by unit, three graduated, two by volume, one by package.
fn plan() -> Result<PlanVersion> {
    let prices: Result<Vec<_>> = (0..PRICES).map(meter_price).collect();
    Ok(PlanVersion {
        key: PlanKey::new("pro")?,
        version: 1,
        name: "Pro".to_owned(),
        currency: Currency::new("USD")?,
        flat_fee: None,
        prices: prices?,
        begins_at: None,
    })
}

fn meter_price(meter: u64) -> Result<MeterPrice> {
    let amount = PriceAmount::parse;
    let tier = |up_to: Option<i64>, unit: &str| {
        let up_to = up_to.map(Quantity::from_units);
        Ok::<_, anyhow::Error>(Tier { up_to, unit_amount: amount(unit)?, flat_amount: amount("1.50")? })
    };
    let tiers = || {
        Ok::<_, anyhow::Error>(vec![
            tier(Some(1_000), "0.01")?,
            tier(Some(1_000_000), "0.0075")?,
            tier(None, "0.005")?,
        ])
    };
    let price = match meter {
        0..4 => PriceModel::PerUnit { unit_amount: amount("0.000125")? },
        4..7 => PriceModel::Graduated { tiers: tiers()? },
        7..9 => PriceModel::Volume { tiers: tiers()? },
        _ => {
            PriceModel::Package { package_size: Quantity::from_units(1_000), package_amount: amount("0.40")? }
        }
    };
    Ok(MeterPrice {
        meter: name(meter)?,
        description: String::new(),
        unit: "units".to_owned(),
        included: Quantity::from_units(100),
        price,
    })
}
