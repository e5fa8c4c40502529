//! What usage costs in a simulation, in the simulator's own words: the engine is given plans
//! made of them, the oracle rates by the words.

use weir_billing::price::{PriceAmount, PriceModel, Tier};
use weir_billing::{MeterName, MeterPrice, PlanKey, PlanVersion};
use weir_core::time::HOUR_MS;
use weir_core::{Currency, Quantity, Timestamp};

use super::cast::BEGIN_MS;

/// How long after its end a period waits for late events.
pub(crate) const GRACE_MS: i64 = HOUR_MS;

/// What usage beyond the included units costs, in ten-thousandths of a euro.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cost {
    /// For each unit.
    Unit(i128),
    /// For each package that was begun: its size, and its price.
    Package(i128, i128),
    /// For each unit up to the first number, and for each unit beyond.
    Steps(i128, i128, i128),
}

/// What a meter costs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PriceFacts {
    pub(crate) meter: &'static str,
    /// Units that cost nothing.
    pub(crate) included: i128,
    pub(crate) cost: Cost,
}

/// A version of a plan.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlanFacts {
    pub(crate) key: &'static str,
    pub(crate) version: u32,
    pub(crate) fee_cents: i128,
    pub(crate) prices: &'static [PriceFacts],
    /// It rates periods that start at or after this.
    pub(crate) begins_ms: Option<i64>,
}

const fn price(meter: &'static str, included: i128, cost: Cost) -> PriceFacts {
    PriceFacts { meter, included, cost }
}

/// All versions of all plans.
pub(crate) const PLANS: &[PlanFacts] = &[
    PlanFacts {
        key: "basic",
        version: 1,
        fee_cents: 0,
        prices: &[price("calls", 3, Cost::Unit(125)), price("bytes", 0, Cost::Package(50, 9_999))],
        begins_ms: None,
    },
    PlanFacts {
        key: "pro",
        version: 1,
        fee_cents: 1_000,
        prices: &[
            price("bytes", 20, Cost::Steps(100, 333, 111)),
            price("users", 1, Cost::Unit(20_000)),
            price("peak", 0, Cost::Unit(5)),
            price("credits", 0, Cost::Unit(37)),
        ],
        begins_ms: None,
    },
    PlanFacts {
        key: "pro",
        version: 2,
        fee_cents: 1_250,
        prices: &[price("level", 0, Cost::Unit(1_005)), price("bytes", 10, Cost::Unit(415))],
        begins_ms: Some(BEGIN_MS - 6 * HOUR_MS),
    },
];

impl PlanFacts {
    /// The version that rates a period of a plan.
    pub(crate) fn rating(key: &str, period_start_ms: i64) -> Option<&'static Self> {
        let begun = |plan: &&Self| plan.begins_ms.is_none_or(|begins_ms| begins_ms <= period_start_ms);
        PLANS.iter().filter(|plan| plan.key == key).filter(begun).max_by_key(|plan| plan.version)
    }

    /// The version as the ledger holds it.
    pub(crate) fn definition(&self) -> Option<PlanVersion> {
        let fee = PriceAmount::parse(&decimal(self.fee_cents, 2)).ok()?;
        let prices = self.prices.iter().map(PriceFacts::definition).collect::<Option<_>>()?;
        Some(PlanVersion {
            key: PlanKey::new(self.key).ok()?,
            version: self.version,
            name: self.key.to_owned(),
            currency: Currency::new("EUR").ok()?,
            flat_fee: (self.fee_cents > 0).then_some(fee),
            prices,
            begins_at: self.begins_ms.map(Timestamp::clamped),
        })
    }
}

impl PriceFacts {
    fn definition(&self) -> Option<MeterPrice> {
        let amount = |ten_thousandths: i128| PriceAmount::parse(&decimal(ten_thousandths, 4)).ok();
        let units = |units: i128| Quantity::from_nanos(units * 1_000_000_000);
        let tier =
            |up_to, cost| Some(Tier { up_to, unit_amount: amount(cost)?, flat_amount: PriceAmount::ZERO });
        let price = match self.cost {
            Cost::Unit(cost) => PriceModel::PerUnit { unit_amount: amount(cost)? },
            Cost::Package(size, cost) => {
                PriceModel::Package { package_size: units(size)?, package_amount: amount(cost)? }
            }
            Cost::Steps(first, below, above) => {
                PriceModel::Graduated { tiers: vec![tier(Some(units(first)?), below)?, tier(None, above)?] }
            }
        };
        Some(MeterPrice {
            meter: MeterName::new(self.meter).ok()?,
            description: String::new(),
            unit: "unit".to_owned(),
            included: units(self.included)?,
            price,
        })
    }
}

/// A number of the smallest part as decimal text.
fn decimal(parts: i128, decimals: u32) -> String {
    let one = 10_i128.pow(decimals);
    let width = usize::try_from(decimals).unwrap_or(0);
    format!("{}.{:0width$}", parts / one, parts % one)
}
