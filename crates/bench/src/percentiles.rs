//! Percentiles of times, exactly: all of them are kept and sorted.

use std::time::Duration;

use crate::results::Measured;

/// The value below which this part of all (in thousandths) lies; zero when there is none.
pub(crate) fn thousandth(times: &mut [Duration], thousandths: usize) -> Duration {
    times.sort_unstable();
    let last = times.len().saturating_sub(1);
    times.get((times.len() * thousandths / 1_000).min(last)).copied().unwrap_or_default()
}

/// p50, p99 and p99.9 of something, in milliseconds.
pub(crate) fn of(what: &str, times: &mut [Duration]) -> Vec<Measured> {
    let named = [("p50", 500), ("p99", 990), ("p99.9", 999)];
    let measured = named.map(|(name, part)| {
        let value = thousandth(times, part).as_secs_f64() * 1e3;
        Measured::new(format!("{what}, {name}"), "ms", value)
    });
    measured.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_all_values() {
        let mut times: Vec<_> = (1..=1_000).rev().map(Duration::from_millis).collect();
        for (part, expected) in [(500, 501), (990, 991), (999, 1_000), (0, 1)] {
            assert_eq!(thousandth(&mut times, part), Duration::from_millis(expected), "{part}");
        }
        assert_eq!(thousandth(&mut [], 990), Duration::ZERO);
    }
}
