//! Measured amounts: signed 128-bit counts of 10^-9 units. Adding is exact and
//! associative, so any grouping of batches gives the same total.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Nano-units in one unit.
pub const NANOS_PER_UNIT: i128 = 1_000_000_000;
/// The largest magnitude that one event may carry: 10^15 units.
pub const EVENT_NANOS_MAX: i128 = 1_000_000_000_000_000 * NANOS_PER_UNIT;
/// The largest magnitude of a total: what `numeric(38,9)` and `Decimal(38,9)` hold.
pub const TOTAL_NANOS_MAX: i128 = 99_999_999_999_999_999_999_999_999_999_999_999_999;
/// The longest text that is read as a number, in bytes.
const NUMBER_BYTES_MAX: usize = 64;

/// A quantity in nano-units. Serialised as decimal text without trailing zeros.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Quantity(i128);

/// Why a text is not a quantity that one event may carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidQuantity {
    /// Not a decimal number at all (NaN and infinities are not).
    #[error("not a decimal number")]
    NotANumber,
    /// Beyond 10^15 units, or too many digits to be read.
    #[error("beyond the range of -10^15 to 10^15 units")]
    OutOfRange,
    /// More than nine decimals.
    #[error(
        "more than nine decimals; round it before sending, as text (for example \"0.3\"), or set precision = \"round\" on the meter"
    )]
    TooPrecise,
}

impl Quantity {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// From nano-units; `None` outside what the stores can keep.
    pub fn from_nanos(nanos: i128) -> Option<Self> {
        (nanos.unsigned_abs() <= TOTAL_NANOS_MAX.unsigned_abs()).then_some(Self(nanos))
    }

    /// From whole units.
    pub fn from_units(units: i64) -> Self {
        Self(i128::from(units) * NANOS_PER_UNIT)
    }

    /// Nano-units.
    pub fn nanos(self) -> i128 {
        self.0
    }

    /// The sum, or `None` where it would leave what the stores can keep.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).and_then(Self::from_nanos)
    }

    /// The difference, or `None` where it would leave what the stores can keep.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).and_then(Self::from_nanos)
    }

    /// Whether it is below zero.
    pub fn is_negative(self) -> bool {
        self.0 < 0
    }

    /// Reads what an event may carry: a JSON-style number (exponent allowed, `+` not
    /// needed), exact at nine decimals, within ±10^15 units.
    pub fn parse(text: &str) -> Result<Self, InvalidQuantity> {
        read(text, false)
    }

    /// Like [`Quantity::parse`], but digits past the ninth decimal are rounded, half away from zero.
    pub fn parse_rounded(text: &str) -> Result<Self, InvalidQuantity> {
        read(text, true)
    }

    /// Reads a stored total: plain decimal text with at most nine decimals, any magnitude
    /// that the stores can keep.
    pub fn parse_total(text: &str) -> Result<Self, InvalidQuantity> {
        let number = Number::read(text)?;
        let nanos = number.nanos(false)?;
        Self::from_nanos(nanos).ok_or(InvalidQuantity::OutOfRange)
    }
}

fn read(text: &str, round: bool) -> Result<Quantity, InvalidQuantity> {
    if let Some(units) = whole_units(text) {
        return Ok(Quantity::from_units(units));
    }
    let nanos = Number::read(text)?.nanos(round)?;
    if nanos.unsigned_abs() > EVENT_NANOS_MAX.unsigned_abs() {
        return Err(InvalidQuantity::OutOfRange);
    }
    Ok(Quantity(nanos))
}

/// The value of up to 15 plain digits, which is what most events carry.
fn whole_units(text: &str) -> Option<i64> {
    if !(1..=15).contains(&text.len()) {
        return None;
    }
    text.bytes().try_fold(0_i64, |sum, byte| match byte {
        b'0'..=b'9' => Some(sum * 10 + i64::from(byte - b'0')),
        _ => None,
    })
}

/// A decimal number taken apart: sign, significant digits, power of ten of the last digit.
struct Number {
    negative: bool,
    digits: Vec<u8>,
    exponent: i64,
}

impl Number {
    fn read(text: &str) -> Result<Self, InvalidQuantity> {
        let bad = InvalidQuantity::NotANumber;
        if text.is_empty() {
            return Err(bad);
        }
        if text.len() > NUMBER_BYTES_MAX {
            let numeric =
                text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+' | b'e' | b'E'));
            return Err(if numeric { InvalidQuantity::OutOfRange } else { bad });
        }
        let (negative, rest) = match text.as_bytes()[0] {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let (mantissa, exponent) = match rest.find(['e', 'E']) {
            Some(at) => (&rest[..at], rest[at + 1..].parse::<i32>().map_err(|_| bad)?),
            None => (rest, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let dangling = mantissa.contains('.') && fraction.is_empty();
        if whole.is_empty()
            || dangling
            || !(whole.bytes().chain(fraction.bytes())).all(|b| b.is_ascii_digit())
        {
            return Err(bad);
        }
        let mut digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).map(|b| b - b'0').collect();
        let mut exponent = i64::from(exponent) - i64::try_from(fraction.len()).unwrap_or(0);
        while digits.last() == Some(&0) {
            digits.pop();
            exponent += 1;
        }
        let zeros = digits.iter().take_while(|d| **d == 0).count();
        digits.drain(..zeros);
        Ok(Self { negative, digits, exponent })
    }

    fn nanos(&self, round: bool) -> Result<i128, InvalidQuantity> {
        if self.digits.is_empty() {
            return Ok(0);
        }
        let power = self.exponent + 9;
        let length = i64::try_from(self.digits.len()).unwrap_or(i64::MAX);
        // 38 decimal digits are the most that an i128 surely holds.
        if length + power > 38 {
            return Err(InvalidQuantity::OutOfRange);
        }
        if power < 0 && !round {
            return Err(InvalidQuantity::TooPrecise);
        }
        let kept = usize::try_from((length + power.min(0)).max(0)).unwrap_or(0);
        let mut value = self.digits[..kept].iter().fold(0_i128, |sum, d| sum * 10 + i128::from(*d));
        if power >= 0 {
            value *= 10_i128.pow(u32::try_from(power).unwrap_or(0));
        } else if length + power >= 0 && self.digits[kept] >= 5 {
            value += 1;
        }
        Ok(if self.negative { -value } else { value })
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = self.0.unsigned_abs() / NANOS_PER_UNIT.unsigned_abs();
        let nanos = self.0.unsigned_abs() % NANOS_PER_UNIT.unsigned_abs();
        let sign = if self.0 < 0 { "-" } else { "" };
        if nanos == 0 {
            write!(f, "{sign}{units}")
        } else {
            let fraction = format!("{nanos:09}");
            write!(f, "{sign}{units}.{}", fraction.trim_end_matches('0'))
        }
    }
}

impl fmt::Debug for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for Quantity {
    type Error = InvalidQuantity;
    fn try_from(text: String) -> Result<Self, InvalidQuantity> {
        Self::parse_total(&text)
    }
}

impl From<Quantity> for String {
    fn from(quantity: Quantity) -> String {
        quantity.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// text, what it is read as
    const TABLE: &str = "
        0                       0
        -0.0                    0
        1                       1
        1.50                    1.5
        1e-07                   0.0000001
        1E3                     1000
        0.000000001             0.000000001
        1e-9                    0.000000001
        1e-10                   TooPrecise
        0.30000000000000004     TooPrecise
        1.0000000000000000000   1
        1000000000000000        1000000000000000
        1000000000000000.000000001 OutOfRange
        1e16                    OutOfRange
        1e400                   OutOfRange
        1234567890123456789012345678901234567890 OutOfRange
        NaN                     NotANumber
        Infinity                NotANumber
        0x10                    NotANumber
        1.                      NotANumber
        .5                      NotANumber
        1_000                   NotANumber
        --1                     NotANumber
        1e                      NotANumber
    ";

    #[test]
    fn texts_of_events() {
        for row in TABLE.lines().map(str::trim).filter(|row| !row.is_empty()) {
            let (text, expected) = row.split_once(char::is_whitespace).unwrap();
            let found = match Quantity::parse(text) {
                Ok(quantity) => quantity.to_string(),
                Err(error) => format!("{error:?}"),
            };
            assert_eq!(found, expected.trim(), "{row}");
        }
    }

    #[test]
    fn rounding_goes_half_away_from_zero() {
        let read = |text| Quantity::parse_rounded(text).unwrap().to_string();
        assert_eq!(read("0.0000000005"), "0.000000001");
        assert_eq!(read("-0.0000000005"), "-0.000000001");
        assert_eq!(read("0.00000000049"), "0");
        assert_eq!(read("0.30000000000000004"), "0.3");
        assert_eq!(read("1e-30"), "0");
        assert_eq!(read("9.9999999999"), "10");
    }

    proptest! {
        #[test]
        fn display_and_parse_agree(nanos in -EVENT_NANOS_MAX..=EVENT_NANOS_MAX) {
            let quantity = Quantity::from_nanos(nanos).unwrap();
            prop_assert_eq!(Quantity::parse(&quantity.to_string()), Ok(quantity));
        }

        #[test]
        fn any_text_is_read_or_refused_without_a_panic(text in "\\PC{0,80}") {
            let _ = Quantity::parse(&text);
            let _ = Quantity::parse_rounded(&text);
        }
    }
}
