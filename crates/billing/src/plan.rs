//! Plans as immutable versions: what a subscription costs in a billing period.
//!
//! One version rates a whole period: the one in force when the period starts. A version
//! that begins inside a period is used from the next period on (invariant 16 allows a
//! change on any hour; splitting a period at that hour is not done here).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use weir_core::{Currency, Quantity, Timestamp};

use crate::canonical::{self, CanonicalError};
use crate::name::{MeterName, PlanKey};
use crate::price::{PriceAmount, PriceError, PriceModel};

/// What one meter costs under a plan.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeterPrice {
    /// Which meter.
    pub meter: MeterName,
    /// What stands on the invoice line.
    #[serde(default)]
    pub description: String,
    /// The meter's unit, as it stands on the invoice line.
    pub unit: String,
    /// Units in each period that cost nothing; taken off before the model is applied.
    #[serde(default)]
    pub included: Quantity,
    /// How the rest becomes an amount.
    pub price: PriceModel,
}

/// One immutable version of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanVersion {
    /// Which plan.
    pub key: PlanKey,
    /// 1, 2, 3…
    pub version: u32,
    /// For people and invoices.
    pub name: String,
    /// The currency of every amount in it.
    pub currency: Currency,
    /// Owed for each period, whatever the usage; no more decimals than the currency has.
    #[serde(default)]
    pub flat_fee: Option<PriceAmount>,
    /// The priced meters, in the order of the invoice's lines. Meters not named are free.
    pub prices: Vec<MeterPrice>,
    /// It rates periods that start at or after this; `None` for "from the beginning".
    #[serde(default)]
    pub begins_at: Option<Timestamp>,
}

/// What is wrong with a plan. `index` counts the prices from 0.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Version 0.
    #[error("versions of a plan are numbered from 1")]
    VersionZero,
    /// It costs nothing at all.
    #[error("the plan has neither a flat fee nor a price")]
    Empty,
    /// A fee that could not be billed as written.
    #[error("the flat fee {fee} has more decimals than {currency} is billed with")]
    FlatFeeTooPrecise {
        /// The fee.
        fee: PriceAmount,
        /// The plan's currency.
        currency: Currency,
    },
    /// A meter that nobody defined.
    #[error("the plan names the meter {meter}, which is not defined")]
    UnknownMeter {
        /// Which price.
        index: usize,
        /// Its meter.
        meter: MeterName,
    },
    /// Two prices for a meter.
    #[error("the meter {meter} has two prices")]
    PricedTwice {
        /// The second price.
        index: usize,
        /// Its meter.
        meter: MeterName,
    },
    /// A price that cannot be applied.
    #[error("the price of {meter} cannot be applied: {error}")]
    Price {
        /// Which price.
        index: usize,
        /// Its meter.
        meter: MeterName,
        /// What is wrong.
        error: PriceError,
    },
}

impl MeterPrice {
    /// Says what is wrong with the price, if anything.
    pub fn validate(&self) -> Result<(), PriceError> {
        if self.included.is_negative() {
            return Err(PriceError::IncludedNegative(self.included));
        }
        self.price.validate()
    }

    /// SHA-256 of the price's canonical JSON, in hex: what an invoice line refers to.
    pub fn content_hash(&self) -> Result<String, CanonicalError> {
        canonical::content_hash(self)
    }
}

impl PlanVersion {
    /// Everything that is wrong with the plan; empty when nothing is.
    pub fn validate(&self, known_meters: &BTreeSet<MeterName>) -> Vec<PlanError> {
        let mut errors = Vec::new();
        if self.version == 0 {
            errors.push(PlanError::VersionZero);
        }
        if self.flat_fee.is_none() && self.prices.is_empty() {
            errors.push(PlanError::Empty);
        }
        if let Some(fee) = self.flat_fee.filter(|fee| fee.decimals() > self.currency.exponent()) {
            errors.push(PlanError::FlatFeeTooPrecise { fee, currency: self.currency });
        }
        let mut seen = BTreeSet::new();
        for (index, price) in self.prices.iter().enumerate() {
            let meter = price.meter.clone();
            if !known_meters.contains(&meter) {
                errors.push(PlanError::UnknownMeter { index, meter: meter.clone() });
            }
            if !seen.insert(meter.clone()) {
                errors.push(PlanError::PricedTwice { index, meter: meter.clone() });
            }
            if let Err(error) = price.validate() {
                errors.push(PlanError::Price { index, meter, error });
            }
        }
        errors
    }

    /// Canonical JSON: names sorted, decimals without trailing zeros.
    pub fn canonical_json(&self) -> Result<String, CanonicalError> {
        canonical::canonical_json(self)
    }

    /// SHA-256 of the canonical JSON, in hex. Two versions with the same hash have the same content.
    pub fn content_hash(&self) -> Result<String, CanonicalError> {
        canonical::content_hash(self)
    }

    /// The version of `plan` that rates a period starting at `period_start`: the highest
    /// one that has begun by then. `None` when none has.
    pub fn in_force<'a>(versions: &'a [Self], plan: &PlanKey, period_start: Timestamp) -> Option<&'a Self> {
        versions
            .iter()
            .filter(|v| v.key == *plan && v.begins_at.is_none_or(|begins_at| begins_at <= period_start))
            .max_by_key(|v| v.version)
    }
}
