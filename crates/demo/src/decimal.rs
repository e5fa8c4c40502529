//! Decimal numbers for the independent count: signed 128-bit counts of 10^-9 units.
//! Written for this crate alone, so that it can disagree with Weir. No floats.

/// Digits behind the point that are kept.
const DECIMALS: usize = 9;
/// The largest magnitude that one event may carry, in 10^-9: 10^15 units.
const EVENT_NANOS_MAX: i128 = 1_000_000_000_000_000_000_000_000;

/// What happens to digits past the ninth decimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Digits {
    /// They must be zeros.
    Exact,
    /// They are rounded, half away from zero.
    Round,
}

/// Reads a number as an event may carry it, into 10^-9 units; `None` where it may not.
pub fn parse(text: &str, digits: Digits) -> Option<i128> {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let dangling = mantissa.contains('.') && fraction.is_empty();
    if whole.is_empty() || dangling || !all.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // The value is 0.`all` · 10^point; its nano-units are the first point + 9 digits.
    let point = i64::try_from(whole.len()).ok()? + i64::from(exponent);
    let kept = point + i64::try_from(DECIMALS).ok()?;
    let padded = if kept < 0 { "0".repeat(usize::try_from(-kept).ok()?.min(400)) + &all } else { all };
    let kept = usize::try_from(kept.max(0)).ok()?;
    if kept > 400 {
        return None;
    }
    let mut nanos: i128 = 0;
    for index in 0..kept {
        let digit = padded.as_bytes().get(index).map_or(0, |byte| byte - b'0');
        nanos = nanos.checked_mul(10)?.checked_add(i128::from(digit))?;
    }
    let rest = padded.as_bytes().get(kept..).unwrap_or_default();
    match digits {
        Digits::Exact if rest.iter().any(|byte| *byte != b'0') => return None,
        Digits::Round if rest.first().is_some_and(|byte| *byte >= b'5') => nanos += 1,
        _ => {}
    }
    (nanos <= EVENT_NANOS_MAX).then_some(if negative { -nanos } else { nanos })
}

/// Plain decimal text without trailing zeros.
pub fn plain(nanos: i128) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let digits = format!("{:010}", nanos.unsigned_abs());
    let (whole, fraction) = digits.split_at(digits.len() - DECIMALS);
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

/// The same with commas between thousands, for people.
pub fn grouped(nanos: i128) -> String {
    let plain = plain(nanos);
    let (whole, fraction) = match plain.split_once('.') {
        Some((whole, fraction)) => (whole, format!(".{fraction}")),
        None => (plain.as_str(), String::new()),
    };
    format!("{}{fraction}", thousands(whole))
}

/// A whole number's digits with commas between thousands.
pub fn thousands(digits: &str) -> String {
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |rest| ("-", rest));
    let mut text = String::from(sign);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_events() {
        let table = [
            ("94.0", Some(94_000_000_000), Some(94_000_000_000)),
            ("0.000000001", Some(1), Some(1)),
            ("1e-07", Some(100), Some(100)),
            ("12.5E1", Some(125_000_000_000), Some(125_000_000_000)),
            ("-3", Some(-3_000_000_000), Some(-3_000_000_000)),
            ("51.846000000000004", None, Some(51_846_000_000)),
            ("0.0000000005", None, Some(1)),
            ("-0.0000000005", None, Some(-1)),
            ("1e-30", None, Some(0)),
            ("1000000000000000", Some(EVENT_NANOS_MAX), Some(EVENT_NANOS_MAX)),
            ("1000000000000001", None, None),
            ("1234567890123456789012345678901234567890", None, None),
            ("1e400", None, None),
            ("NaN", None, None),
            ("1.", None, None),
            (".5", None, None),
            ("", None, None),
        ];
        for (text, exact, rounded) in table {
            assert_eq!(parse(text, Digits::Exact), exact, "{text}");
            assert_eq!(parse(text, Digits::Round), rounded, "{text}, rounded");
        }
    }

    #[test]
    fn texts_for_people() {
        assert_eq!(plain(51_846_000_000), "51.846");
        assert_eq!(plain(-1), "-0.000000001");
        assert_eq!(grouped(1_234_567_500_000_000), "1,234,567.5");
        assert_eq!(thousands("-1000"), "-1,000");
    }
}
