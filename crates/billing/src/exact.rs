//! Amounts of money before rounding: signed integers of up to 256 bits that count
//! 10^-21 of a currency unit (nine decimals of a quantity times twelve of a price), so
//! that no digit of quantity times price is ever lost. Rounded once, here, to money.

use std::cmp::Ordering;
use std::fmt;

use ruint::aliases::U256;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use weir_core::{Currency, Money, Quantity};

use crate::price::PriceAmount;

/// Decimals that an exact amount carries: 9 of the quantity and 12 of the price.
pub const EXACT_DECIMALS: u32 = 21;
/// 10^21, one currency unit.
const ONE: u128 = 10_u128.pow(EXACT_DECIMALS);
/// 10^9: a price at 10^-12 becomes an exact amount.
const PRICE_TO_EXACT: u64 = 1_000_000_000;
/// The longest text that is read as an exact amount, in bytes: 78 digits, point and sign.
const TEXT_BYTES_MAX: usize = 80;

/// An unrounded amount, exact. Serialised as decimal text without trailing zeros.
/// Carries no currency; the document that it stands on does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ExactAmount {
    /// Never set for zero.
    negative: bool,
    /// In 10^-21 of a currency unit.
    magnitude: U256,
}

/// An amount that money (28 digits) or 256 bits cannot hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an amount has more digits than can be billed")]
pub struct AmountTooLarge;

/// A text that is not an exact amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a decimal number with at most 21 decimals")]
pub struct InvalidExactAmount;

impl ExactAmount {
    /// Nothing.
    pub const ZERO: Self = Self { negative: false, magnitude: U256::ZERO };

    /// Quantity times price.
    pub fn product(quantity: Quantity, price: PriceAmount) -> Result<Self, AmountTooLarge> {
        let magnitude = U256::from(quantity.nanos().unsigned_abs())
            .checked_mul(U256::from(price.picos()))
            .ok_or(AmountTooLarge)?;
        Ok(Self::new(quantity.is_negative(), magnitude))
    }

    /// A whole number of times a price.
    pub fn times(count: u128, price: PriceAmount) -> Result<Self, AmountTooLarge> {
        let magnitude = U256::from(count)
            .checked_mul(U256::from(price.picos()))
            .and_then(|product| product.checked_mul(U256::from(PRICE_TO_EXACT)))
            .ok_or(AmountTooLarge)?;
        Ok(Self::new(false, magnitude))
    }

    /// The sum.
    pub fn checked_add(self, other: Self) -> Result<Self, AmountTooLarge> {
        if self.negative == other.negative {
            let magnitude = self.magnitude.checked_add(other.magnitude).ok_or(AmountTooLarge)?;
            return Ok(Self::new(self.negative, magnitude));
        }
        let (larger, smaller) = if self.magnitude >= other.magnitude { (self, other) } else { (other, self) };
        let magnitude = larger.magnitude.checked_sub(smaller.magnitude).ok_or(AmountTooLarge)?;
        Ok(Self::new(larger.negative, magnitude))
    }

    /// The one place where a line's amount is rounded: one division, to the currency's
    /// decimals, half away from zero.
    pub fn rounded(self, currency: Currency) -> Result<Money, AmountTooLarge> {
        let decimals = EXACT_DECIMALS.checked_sub(currency.exponent()).ok_or(AmountTooLarge)?;
        let step = U256::from(10_u128.pow(decimals));
        let (mut whole, rest) = self.magnitude.div_rem(step);
        if rest >= step - rest {
            whole += U256::from(1);
        }
        let magnitude = i128::try_from(whole).map_err(|_| AmountTooLarge)?;
        let signed = if self.negative { -magnitude } else { magnitude };
        let amount =
            Decimal::try_from_i128_with_scale(signed, currency.exponent()).map_err(|_| AmountTooLarge)?;
        // Nothing is left to round; this only gives zero its sign.
        Ok(Money::rounded(amount, currency))
    }

    /// Reads plain decimal text with at most 21 decimals.
    pub fn parse(text: &str) -> Result<Self, InvalidExactAmount> {
        let bad = InvalidExactAmount;
        let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let decimals = u32::try_from(fraction.len()).map_err(|_| bad)?;
        let plain = whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit());
        let dangling = digits.contains('.') && fraction.is_empty();
        if text.len() > TEXT_BYTES_MAX || whole.is_empty() || dangling || !plain || decimals > EXACT_DECIMALS
        {
            return Err(bad);
        }
        let mut magnitude = U256::ZERO;
        for digit in whole.bytes().chain(fraction.bytes()) {
            magnitude = magnitude
                .checked_mul(U256::from(10))
                .and_then(|m| m.checked_add(U256::from(digit - b'0')))
                .ok_or(bad)?;
        }
        let step = U256::from(10_u128.pow(EXACT_DECIMALS - decimals));
        Ok(Self::new(negative, magnitude.checked_mul(step).ok_or(bad)?))
    }

    fn new(negative: bool, magnitude: U256) -> Self {
        Self { negative: negative && !magnitude.is_zero(), magnitude }
    }
}

impl Ord for ExactAmount {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.negative, other.negative) {
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (false, false) => self.magnitude.cmp(&other.magnitude),
            (true, true) => other.magnitude.cmp(&self.magnitude),
        }
    }
}

impl PartialOrd for ExactAmount {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl From<PriceAmount> for ExactAmount {
    fn from(price: PriceAmount) -> Self {
        // At most 2^128 times 2^30: far below 2^256.
        Self::new(false, U256::from(price.picos()) * U256::from(PRICE_TO_EXACT))
    }
}

impl fmt::Display for ExactAmount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = self.magnitude.div_rem(U256::from(ONE));
        let sign = if self.negative { "-" } else { "" };
        if rest.is_zero() {
            return write!(f, "{sign}{whole}");
        }
        let digits = rest.to_string();
        let width = 21;
        write!(f, "{sign}{whole}.{}", format!("{digits:0>width$}").trim_end_matches('0'))
    }
}

impl fmt::Debug for ExactAmount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for ExactAmount {
    type Error = InvalidExactAmount;
    fn try_from(text: String) -> Result<Self, InvalidExactAmount> {
        Self::parse(&text)
    }
}

impl From<ExactAmount> for String {
    fn from(amount: ExactAmount) -> String {
        amount.to_string()
    }
}
