//! Which tenant an event is of: the k-th has a share in proportion to 1/k^s. Drawn in one
//! look-up from an alias table (Vose), 12 bytes a tenant.

use crate::chance;

/// The shares of tenants.
#[derive(Debug)]
pub(crate) struct Skew {
    /// Of 2^32: below it a draw stays in its slot, else it goes to the slot's alias.
    keep: Vec<f64>,
    alias: Vec<u32>,
    count: u32,
}

impl Skew {
    /// Shares of `count` tenants with exponent `s`; 0 gives each the same.
    pub(crate) fn new(count: u32, s: f64) -> Self {
        const WHOLE: f64 = 4_294_967_296.0;
        let weights: Vec<f64> = (1..=count).map(|rank| f64::from(rank).powf(-s)).collect();
        let mean = weights.iter().sum::<f64>() / f64::from(count);
        let mut scaled: Vec<f64> = weights.into_iter().map(|weight| weight / mean).collect();
        let mut keep = vec![WHOLE; scaled.len()];
        let mut alias: Vec<u32> = (0..count).collect();
        let at = |slot: u32| usize::try_from(slot).unwrap_or(0);
        let (mut small, mut large): (Vec<u32>, Vec<u32>) =
            (0..count).partition(|slot| scaled[at(*slot)] < 1.0);
        while let (Some(poor), Some(rich)) = (small.pop(), large.pop()) {
            keep[at(poor)] = scaled[at(poor)] * WHOLE;
            alias[at(poor)] = rich;
            scaled[at(rich)] -= 1.0 - scaled[at(poor)];
            if scaled[at(rich)] < 1.0 {
                small.push(rich);
            } else {
                large.push(rich);
            }
        }
        Self { keep, alias, count }
    }

    /// The tenant that these 64 bits of chance draw.
    pub(crate) fn draw(&self, bits: u64) -> u32 {
        let slot = chance::below(chance::high(bits), self.count);
        let at = usize::try_from(slot).unwrap_or(0);
        if f64::from(chance::low(bits)) < self.keep[at] { slot } else { self.alias[at] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_follow_the_exponent() {
        let skew = Skew::new(1_000, 1.0);
        let mut counts = vec![0_u32; 1_000];
        for nth in 0..1_000_000 {
            counts[usize::try_from(skew.draw(chance::mix(nth))).unwrap()] += 1;
        }
        // The harmonic number of 1,000 is 7.4855.
        for (rank, expected) in [(1, 133_592), (2, 66_796), (10, 13_359), (100, 1_336)] {
            let found = counts[rank - 1];
            assert!(found.abs_diff(expected) < expected / 10, "rank {rank}: {found}, not {expected}");
        }
    }
}
