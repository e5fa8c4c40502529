//! Rating: a quantity and a price become an exact amount. Nothing is rounded here; a
//! line is rounded once, by [`ExactAmount::rounded`].
//!
//! Usage below zero (a meter that takes returns) is credited at a per-unit price, the
//! mirror of what it would cost. Tiers and packages have no mirror that a customer could
//! foresee, so under them usage below zero costs nothing, and `below_zero` says so.

use serde::{Deserialize, Serialize};
use weir_core::Quantity;
use weir_core::quantity::NANOS_PER_UNIT;

use crate::exact::{AmountTooLarge, ExactAmount};
use crate::plan::MeterPrice;
use crate::price::{PriceAmount, PriceError, PriceModel, Tier};

/// Which rules of rating and invoicing are used. Raised by any change that could alter
/// one byte of an invoice; each line keeps it.
pub const ENGINE_VERSION: &str = "1";

/// What a quantity comes to.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Rated {
    /// Exact, unrounded.
    pub amount: ExactAmount,
    /// The tiers that were reached (one for volume); none for other models.
    pub tiers: Vec<TierPart>,
    /// Packages billed, a whole number; `None` for other models.
    pub packages: Option<Quantity>,
    /// Usage lay below zero and the model does not credit it.
    pub below_zero: bool,
}

/// The part of an amount that one tier makes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TierPart {
    /// The tier covers what lies above this…
    pub from: Quantity,
    /// …up to and with this; `None` for the open one.
    pub to: Option<Quantity>,
    /// How much usage was billed in it.
    pub quantity: Quantity,
    /// For each unit.
    pub unit_amount: PriceAmount,
    /// For the tier as such.
    pub flat_amount: PriceAmount,
    /// `quantity * unit_amount + flat_amount`, exact.
    pub amount: ExactAmount,
}

/// Why a quantity could not be rated. All of them are permanent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RatingError {
    /// More digits than can be billed.
    #[error("a quantity of {quantity} cannot be rated: {error}")]
    TooLarge {
        /// The quantity.
        quantity: Quantity,
        /// What does not fit.
        error: AmountTooLarge,
    },
    /// A price that validation refuses.
    #[error("a quantity of {quantity} cannot be rated by an invalid price: {error}")]
    Price {
        /// The quantity.
        quantity: Quantity,
        /// What is wrong with the price.
        error: PriceError,
    },
}

/// Rates what is left of `quantity` after the price's included units.
pub fn rate_price(price: &MeterPrice, quantity: Quantity) -> Result<Rated, RatingError> {
    let free = quantity.min(price.included).max(Quantity::ZERO);
    let billable =
        quantity.checked_sub(free).ok_or(RatingError::TooLarge { quantity, error: AmountTooLarge })?;
    rate(&price.price, billable)
}

/// Rates `quantity` units under `model`.
pub fn rate(model: &PriceModel, quantity: Quantity) -> Result<Rated, RatingError> {
    model.validate().map_err(|error| RatingError::Price { quantity, error })?;
    let positive = quantity.max(Quantity::ZERO);
    let rated = match model {
        PriceModel::PerUnit { unit_amount } => per_unit(*unit_amount, quantity),
        PriceModel::Graduated { tiers } => graduated(tiers, positive),
        PriceModel::Volume { tiers } => volume(tiers, positive),
        PriceModel::Package { package_size, package_amount } => {
            package(*package_size, *package_amount, positive)
        }
    };
    let rated = rated.map_err(|error| RatingError::TooLarge { quantity, error })?;
    let credited = matches!(model, PriceModel::PerUnit { .. });
    Ok(Rated { below_zero: quantity.is_negative() && !credited, ..rated })
}

fn per_unit(unit_amount: PriceAmount, quantity: Quantity) -> Result<Rated, AmountTooLarge> {
    Ok(Rated { amount: ExactAmount::product(quantity, unit_amount)?, ..Rated::default() })
}

fn graduated(tiers: &[Tier], quantity: Quantity) -> Result<Rated, AmountTooLarge> {
    let mut rated = Rated::default();
    let mut from = Quantity::ZERO;
    for tier in tiers {
        if quantity <= from {
            break;
        }
        let end = tier.up_to.map_or(quantity, |up_to| up_to.min(quantity));
        let part = tier_part(tier, from, end.checked_sub(from).ok_or(AmountTooLarge)?)?;
        rated.amount = rated.amount.checked_add(part.amount)?;
        rated.tiers.push(part);
        from = end;
    }
    Ok(rated)
}

fn volume(tiers: &[Tier], quantity: Quantity) -> Result<Rated, AmountTooLarge> {
    if quantity == Quantity::ZERO {
        return Ok(Rated::default());
    }
    let mut from = Quantity::ZERO;
    for tier in tiers {
        match tier.up_to {
            Some(up_to) if up_to < quantity => from = up_to,
            _ => {
                let part = tier_part(tier, from, quantity)?;
                return Ok(Rated { amount: part.amount, tiers: vec![part], ..Rated::default() });
            }
        }
    }
    // Not reached: a valid list ends with an open tier.
    Err(AmountTooLarge)
}

fn package(size: Quantity, amount: PriceAmount, quantity: Quantity) -> Result<Rated, AmountTooLarge> {
    let (used, size) = (quantity.nanos().unsigned_abs(), size.nanos().unsigned_abs());
    let count = used.div_ceil(size);
    let packages = i128::try_from(count)
        .ok()
        .and_then(|count| count.checked_mul(NANOS_PER_UNIT))
        .and_then(Quantity::from_nanos)
        .ok_or(AmountTooLarge)?;
    Ok(Rated { amount: ExactAmount::times(count, amount)?, packages: Some(packages), ..Rated::default() })
}

fn tier_part(tier: &Tier, from: Quantity, quantity: Quantity) -> Result<TierPart, AmountTooLarge> {
    let units = ExactAmount::product(quantity, tier.unit_amount)?;
    Ok(TierPart {
        from,
        to: tier.up_to,
        quantity,
        unit_amount: tier.unit_amount,
        flat_amount: tier.flat_amount,
        amount: units.checked_add(tier.flat_amount.into())?,
    })
}
