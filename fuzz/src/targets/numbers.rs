//! Texts that become numbers: quantities, prices, exact amounts; and times, positions, invoice
//! numbers and names. What is read is compared with big integers that know no bound.

use num_bigint::BigInt;
use weir_billing::{ExactAmount, InvoiceNumber, PriceAmount};
use weir_core::quantity::{EVENT_NANOS_MAX, InvalidQuantity};
use weir_core::{Position, Quantity, TenantId, Timestamp};
use weir_metering::meter::MeterKey;

use crate::Seeds;
use crate::memory::within;

/// Powers of ten beyond this are not computed here: no text of an input has so many decimals.
const POWER_MAX: i64 = 9_000;

/// Reads the input as each of them.
pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let memory_max = 4_096 + 8 * input.len();
    within(memory_max, || {
        let _ = (Quantity::parse(text), Quantity::parse_rounded(text), Quantity::parse_total(text));
        let _ = (PriceAmount::parse(text), ExactAmount::parse(text), Timestamp::parse(text));
    });
    check_quantity(text);
    check_amounts(text);
    if let Ok(time) = Timestamp::parse(text) {
        assert_eq!(Timestamp::parse(&time.to_string()), Ok(time));
    }
    if let Ok(position) = text.parse::<Position>() {
        assert_eq!(position.to_string(), text);
    }
    if let Ok(number) = InvoiceNumber::parse(text) {
        assert_eq!(number.to_string(), text);
        assert!(number.counter() == u64::MAX || number.next().follows(&number));
    }
    assert_eq!(TenantId::new(text).is_ok(), TenantId::is_valid(text));
    if let Ok(key) = MeterKey::new(text) {
        assert_eq!(key.as_str(), text);
    }
}

/// A decimal number of any size.
struct Exact {
    digits: BigInt,
    power: i64,
}

impl Exact {
    /// Reads a number as JSON spells it, with a plus sign and leading zeros allowed.
    fn read(text: &str) -> Option<Self> {
        let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
        let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
        let (whole, fraction) = match mantissa.split_once('.') {
            Some((_, "")) => return None,
            Some(parts) => parts,
            None => (mantissa, ""),
        };
        let digits_of = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let plain_exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        if !digits_of(whole) || !(fraction.is_empty() || digits_of(fraction)) || !digits_of(plain_exponent) {
            return None;
        }
        let digits: BigInt = format!("{whole}{fraction}").parse().ok()?;
        let digits = if text.starts_with('-') { -digits } else { digits };
        let exponent = i64::from(exponent.parse::<i32>().ok()?);
        Some(Self { digits, power: exponent - i64::try_from(fraction.len()).ok()? })
    }

    /// The number in units of its last decimal: quotient, rest and what was divided by.
    fn scaled(&self, decimals: i64) -> Option<(BigInt, BigInt, BigInt)> {
        let power = self.power + decimals;
        if power.abs() > POWER_MAX {
            return None;
        }
        let step = BigInt::from(10).pow(u32::try_from(power.unsigned_abs()).ok()?);
        if power >= 0 {
            return Some((&self.digits * step, BigInt::ZERO, BigInt::from(1)));
        }
        Some((&self.digits / &step, &self.digits % &step, step))
    }
}

/// A quantity is what its text says, or refused for a reason that is true.
pub fn check_quantity(text: &str) {
    let exact = Exact::read(text);
    let scaled = exact.as_ref().and_then(|exact| exact.scaled(9));
    let beyond = |nanos: &BigInt| nanos.magnitude() > BigInt::from(EVENT_NANOS_MAX).magnitude();
    match Quantity::parse(text) {
        Ok(quantity) => {
            check_exact(quantity, &exact, &scaled);
            assert_eq!(Quantity::parse(&quantity.to_string()), Ok(quantity));
            assert_eq!(Quantity::parse_rounded(text), Ok(quantity), "nothing is left to round");
        }
        Err(InvalidQuantity::NotANumber) => assert!(exact.is_none(), "{text:?} is a number"),
        Err(InvalidQuantity::TooPrecise) => {
            assert!(scaled.is_none_or(|(_, rest, _)| rest != BigInt::ZERO), "{text:?} has nine decimals");
        }
        Err(InvalidQuantity::OutOfRange) => {
            let within = scaled.is_some_and(|(nanos, _, _)| !beyond(&nanos));
            assert!(text.len() > 64 || !within, "{text:?} is in range");
        }
    }
    check_rounded(text);
    if let Ok(total) = Quantity::parse_total(text) {
        let exact = Exact::read(text);
        let scaled = exact.as_ref().and_then(|exact| exact.scaled(9));
        check_exact(total, &exact, &scaled);
        assert_eq!(Quantity::parse_total(&total.to_string()), Ok(total));
    }
}

fn check_exact(quantity: Quantity, exact: &Option<Exact>, scaled: &Option<(BigInt, BigInt, BigInt)>) {
    match scaled {
        Some((nanos, rest, _)) => {
            assert_eq!((&BigInt::from(quantity.nanos()), &BigInt::ZERO), (nanos, rest));
        }
        // A power of ten that large belongs to zero alone.
        None => assert!(
            exact.as_ref().is_some_and(|exact| exact.digits == BigInt::ZERO) && quantity == Quantity::ZERO
        ),
    }
}

/// Rounded to the nearest nano-unit, halves away from zero.
fn check_rounded(text: &str) {
    let (Ok(rounded), Some(exact)) = (Quantity::parse_rounded(text), Exact::read(text)) else { return };
    let Some((mut nanos, rest, step)) = exact.scaled(9) else {
        assert_eq!(rounded, Quantity::ZERO, "{text:?} is too small to be seen");
        return;
    };
    if BigInt::from(rest.magnitude().clone()) * 2 >= step {
        nanos += if exact.digits < BigInt::ZERO { -1 } else { 1 };
    }
    assert_eq!(BigInt::from(rounded.nanos()), nanos, "{text:?}");
}

fn check_amounts(text: &str) {
    if let Ok(price) = PriceAmount::parse(text) {
        let (picos, rest, _) = Exact::read(text).and_then(|exact| exact.scaled(12)).expect("a plain number");
        assert_eq!((BigInt::from(price.picos()), BigInt::ZERO), (picos, rest));
        assert_eq!(PriceAmount::parse(&price.to_string()), Ok(price));
    }
    if let Ok(amount) = ExactAmount::parse(text) {
        assert_eq!(ExactAmount::parse(&amount.to_string()), Ok(amount));
        let written = Exact::read(&amount.to_string()).and_then(|exact| exact.scaled(21));
        assert_eq!(written, Exact::read(text).and_then(|exact| exact.scaled(21)), "{text:?}");
    }
}

/// Texts at the edges.
pub fn seeds() -> Seeds {
    let texts = [
        "0",
        "-0.0",
        "1",
        "1.50",
        "1e-07",
        "1E3",
        "0.000000001",
        "1e-10",
        "0.30000000000000004",
        "1000000000000000",
        "1000000000000000.000000001",
        "1e400",
        "-999999999999999.999999999",
        "99999999999999999999999999999.999999999",
        "0.000000000001",
        "0.000000000000000000001",
        "NaN",
        "1.",
        ".5",
        "+3",
        "2026-11-24T08:00:00.123Z",
        "1969-12-31T23:59:60+01:00",
        "9999-12-31T23:59:59.999999Z",
        "1/3/4711",
        "ACME-000001",
        "ACME-18446744073709551615",
        "hudson-data",
        "api_calls",
    ];
    texts.iter().enumerate().map(|(at, text)| (format!("{at:02}"), text.as_bytes().to_vec())).collect()
}
