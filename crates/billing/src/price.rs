//! What usage of one meter costs: by unit, graduated, by volume, or by package.
//!
//! A tier covers `(up_to of the tier before, up_to]`: usage of exactly `up_to` belongs
//! to the tier that ends there, and a fraction above it already to the next, so no
//! fractional usage falls between two tiers. No usage costs nothing under every model,
//! flat amounts of tiers included; what is owed without usage is the plan's flat fee.

use std::fmt;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use weir_core::Quantity;

/// Decimals that a price may have.
pub const PRICE_DECIMALS: u32 = 12;
/// The largest price, in currency units. With it, 100 tiers at the largest quantity
/// still fit into 256 bits.
pub const PRICE_UNITS_MAX: u128 = 1_000_000_000_000_000;
/// The most tiers that a price may have.
pub const TIERS_MAX: usize = 100;
/// 10^12, one currency unit.
const ONE: u128 = 10_u128.pow(PRICE_DECIMALS);

/// An amount in a price list, in the plan's currency: never below zero, at most twelve
/// decimals. Serialised as decimal text without trailing zeros.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PriceAmount(u128);

/// Why a text is not a price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPriceAmount {
    /// Not plain decimal text.
    #[error("a price is plain decimal text such as \"0.0025\"")]
    NotANumber,
    /// A minus sign.
    #[error("a price is not below zero")]
    Negative,
    /// More than twelve decimals.
    #[error("a price has at most twelve decimals")]
    TooPrecise,
    /// Above 10^15.
    #[error("a price is at most 10^15")]
    OutOfRange,
}

impl PriceAmount {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// Reads plain decimal text.
    pub fn parse(text: &str) -> Result<Self, InvalidPriceAmount> {
        use InvalidPriceAmount as Bad;
        let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let dangling = digits.contains('.') && fraction.is_empty();
        if whole.is_empty() || dangling || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit())
        {
            return Err(Bad::NotANumber);
        }
        if negative {
            return Err(Bad::Negative);
        }
        let fraction = fraction.trim_end_matches('0');
        let decimals = u32::try_from(fraction.len()).unwrap_or(u32::MAX);
        let missing = PRICE_DECIMALS.checked_sub(decimals).ok_or(Bad::TooPrecise)?;
        let mut value: u128 = 0;
        for digit in whole.bytes().chain(fraction.bytes()) {
            value = value
                .checked_mul(10)
                .and_then(|v| v.checked_add(u128::from(digit - b'0')))
                .ok_or(Bad::OutOfRange)?;
        }
        let picos = value.checked_mul(10_u128.pow(missing)).ok_or(Bad::OutOfRange)?;
        if picos > PRICE_UNITS_MAX * ONE { Err(Bad::OutOfRange) } else { Ok(Self(picos)) }
    }

    /// In 10^-12 of a currency unit.
    pub fn picos(self) -> u128 {
        self.0
    }

    /// The same as a decimal, without trailing zeros.
    pub fn to_decimal(self) -> Decimal {
        // At most 10^27, which a decimal's 96 bits hold.
        i128::try_from(self.0)
            .ok()
            .and_then(|picos| Decimal::try_from_i128_with_scale(picos, PRICE_DECIMALS).ok())
            .unwrap_or(Decimal::MAX)
            .normalize()
    }

    /// Decimals that are written: 3 for 0.025.
    pub fn decimals(self) -> u32 {
        self.to_decimal().scale()
    }
}

impl fmt::Display for PriceAmount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / ONE, self.0 % ONE);
        if rest == 0 {
            write!(f, "{whole}")
        } else {
            write!(f, "{whole}.{}", format!("{rest:012}").trim_end_matches('0'))
        }
    }
}

impl fmt::Debug for PriceAmount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for PriceAmount {
    type Error = InvalidPriceAmount;
    fn try_from(text: String) -> Result<Self, InvalidPriceAmount> {
        Self::parse(&text)
    }
}

impl From<PriceAmount> for String {
    fn from(price: PriceAmount) -> String {
        price.to_string()
    }
}

/// One tier of a graduated or volume price.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    /// The last quantity that the tier covers; `None` for the last tier, which is open.
    #[serde(default)]
    pub up_to: Option<Quantity>,
    /// For each unit inside the tier.
    pub unit_amount: PriceAmount,
    /// Once, when the tier is reached.
    #[serde(default)]
    pub flat_amount: PriceAmount,
}

/// How usage becomes an amount.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "model", rename_all = "snake_case", deny_unknown_fields)]
pub enum PriceModel {
    /// Every unit costs the same.
    PerUnit {
        /// For each unit.
        unit_amount: PriceAmount,
    },
    /// Each unit costs what the tier in which it falls says.
    Graduated {
        /// Rising; the last one open.
        tiers: Vec<Tier>,
    },
    /// Every unit costs what the tier says in which the whole quantity falls.
    Volume {
        /// Rising; the last one open.
        tiers: Vec<Tier>,
    },
    /// Whole packages only: one that was begun is billed whole.
    Package {
        /// Units in a package.
        package_size: Quantity,
        /// For each package.
        package_amount: PriceAmount,
    },
}

/// What is wrong with a price. Tiers are numbered from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PriceError {
    /// An empty list of tiers.
    #[error("a tiered price needs at least one tier")]
    NoTiers,
    /// Too many tiers.
    #[error("a price has at most 100 tiers, this one has {0}")]
    TooManyTiers(usize),
    /// A tier that ends where the one before ends, or earlier.
    #[error("tiers must rise: tier {tier} ends at {up_to}, the one before it at {before}")]
    TiersDoNotRise {
        /// Which tier, from 1.
        tier: usize,
        /// Where it ends.
        up_to: Quantity,
        /// Where the one before it ends (0 for the first).
        before: Quantity,
    },
    /// A tier without an end that is not the last.
    #[error("tier {tier} has no up_to, but only the last tier may be open")]
    OpenTierInside {
        /// Which tier, from 1.
        tier: usize,
    },
    /// A last tier with an end.
    #[error("the last tier must be open: leave out its up_to ({up_to}), or add a tier for what lies above")]
    LastTierNotOpen {
        /// Where it ends.
        up_to: Quantity,
    },
    /// A package of nothing.
    #[error("a package must hold more than zero units, not {0}")]
    PackageSize(Quantity),
    /// Fewer than no units included.
    #[error("the included quantity cannot be below zero, as {0} is")]
    IncludedNegative(Quantity),
}

impl PriceError {
    /// Which tier is meant, from 1, where one is.
    pub fn tier(&self) -> Option<usize> {
        match self {
            Self::TiersDoNotRise { tier, .. } | Self::OpenTierInside { tier } => Some(*tier),
            _ => None,
        }
    }
}

impl PriceModel {
    /// Says what is wrong with the price, if anything.
    pub fn validate(&self) -> Result<(), PriceError> {
        match self {
            Self::PerUnit { .. } => Ok(()),
            Self::Graduated { tiers } | Self::Volume { tiers } => validate_tiers(tiers),
            Self::Package { package_size, .. } if *package_size <= Quantity::ZERO => {
                Err(PriceError::PackageSize(*package_size))
            }
            Self::Package { .. } => Ok(()),
        }
    }

    /// The model's name in files and documents.
    pub fn name(&self) -> &'static str {
        match self {
            Self::PerUnit { .. } => "per_unit",
            Self::Graduated { .. } => "graduated",
            Self::Volume { .. } => "volume",
            Self::Package { .. } => "package",
        }
    }
}

fn validate_tiers(tiers: &[Tier]) -> Result<(), PriceError> {
    if tiers.len() > TIERS_MAX {
        return Err(PriceError::TooManyTiers(tiers.len()));
    }
    let (last, inner) = tiers.split_last().ok_or(PriceError::NoTiers)?;
    let mut before = Quantity::ZERO;
    for (index, tier) in inner.iter().enumerate() {
        let up_to = tier.up_to.ok_or(PriceError::OpenTierInside { tier: index + 1 })?;
        if up_to <= before {
            return Err(PriceError::TiersDoNotRise { tier: index + 1, up_to, before });
        }
        before = up_to;
    }
    last.up_to.map_or(Ok(()), |up_to| Err(PriceError::LastTierNotOpen { up_to }))
}
