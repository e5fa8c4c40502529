//! Splitting an amount of money so that nothing is lost: by largest remainder.

use ruint::aliases::U256;
use rust_decimal::Decimal;
use weir_core::Money;
use weir_core::money::MoneyError;

/// Why an amount could not be split.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// Nobody to give it to.
    #[error("an amount cannot be split when every weight is zero")]
    NoWeight,
    /// More digits than money can hold.
    #[error("an amount could not be split")]
    Money(#[from] MoneyError),
}

/// Splits `amount` in proportion to `weights`. The parts are whole cents (of the amount's
/// currency) and sum to the whole; what rounding down leaves over goes, a cent each, to
/// the parts with the largest remainders, the earlier one first where they are equal.
pub fn split(amount: Money, weights: &[u64]) -> Result<Vec<Money>, SplitError> {
    let sum: u128 = weights.iter().copied().map(u128::from).sum();
    if sum == 0 {
        return Err(SplitError::NoWeight);
    }
    let mut cents = amount.amount;
    cents.rescale(amount.currency.exponent());
    let whole = cents.mantissa().unsigned_abs();
    let shares: Vec<(u128, U256)> =
        weights.iter().map(|weight| share(whole, *weight, sum)).collect::<Result<_, _>>()?;
    let given: u128 = shares.iter().map(|(part, _)| part).sum();
    let mut parts: Vec<u128> = shares.iter().map(|(part, _)| *part).collect();
    let mut order: Vec<usize> = (0..shares.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(shares[*index].1));
    let left_over = usize::try_from(whole - given).map_err(|_| MoneyError::Overflow)?;
    for index in order.into_iter().take(left_over) {
        parts[index] += 1;
    }
    parts.into_iter().map(|part| money(part, cents.is_sign_negative(), amount)).collect()
}

/// A part rounded down, and what is left of it.
fn share(whole: u128, weight: u64, sum: u128) -> Result<(u128, U256), SplitError> {
    let (part, rest) = (U256::from(whole) * U256::from(weight)).div_rem(U256::from(sum));
    Ok((u128::try_from(part).map_err(|_| MoneyError::Overflow)?, rest))
}

fn money(cents: u128, negative: bool, like: Money) -> Result<Money, SplitError> {
    let cents = i128::try_from(cents).map_err(|_| MoneyError::Overflow)?;
    let signed = if negative { -cents } else { cents };
    let amount = Decimal::try_from_i128_with_scale(signed, like.currency.exponent())
        .map_err(|_| MoneyError::Overflow)?;
    Ok(Money::rounded(amount, like.currency))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use weir_core::Currency;

    fn amount(text: &str, code: &str) -> Money {
        Money::rounded(text.parse().unwrap(), Currency::new(code).unwrap())
    }

    /// amount, currency, weights, parts
    const TABLE: &str = "
        100.00 EUR 1,1,1   33.34 33.33 33.33
        -100.00 EUR 1,1,1  -33.34 -33.33 -33.33
        100    JPY 1,1,1   34 33 33
        0.01   EUR 1,2     0.00 0.01
        10.00  EUR 0,1,0   0.00 10.00 0.00
        1.000  KWD 2,1     0.667 0.333
        0.00   EUR 5,5     0.00 0.00
    ";

    #[test]
    fn splits() {
        for row in TABLE.lines().map(str::trim).filter(|row| !row.is_empty()) {
            let cells: Vec<_> = row.split_whitespace().collect();
            let weights: Vec<u64> = cells[2].split(',').map(|w| w.parse().unwrap()).collect();
            let parts = split(amount(cells[0], cells[1]), &weights).unwrap();
            let found: Vec<_> = parts.iter().map(|part| part.amount.to_string()).collect();
            assert_eq!(found, cells[3..], "{row}");
        }
        assert_eq!(split(amount("1", "EUR"), &[0, 0]), Err(SplitError::NoWeight));
    }

    proptest! {
        #[test]
        fn parts_sum_to_the_whole(cents in -1_000_000_000_000_i64..1_000_000_000_000,
                                  weights in proptest::collection::vec(any::<u64>(), 1..20)) {
            prop_assume!(weights.iter().any(|w| *w > 0));
            let whole = amount(&Decimal::new(cents, 2).to_string(), "EUR");
            let parts = split(whole, &weights).unwrap();
            let sum = parts.iter().try_fold(Money::zero(whole.currency), |sum, part| sum.checked_add(*part));
            prop_assert_eq!(sum, Ok(whole));
        }
    }
}
