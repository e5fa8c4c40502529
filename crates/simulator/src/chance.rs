//! Chance from a seed: the only source of it in a simulation. The same seed brings the same,
//! on every machine and with every version of the compiler.

/// A stream of numbers (SplitMix64).
#[derive(Clone, Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    /// A stream that is another one for each seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(mix(seed ^ 0x5bd1_e995_9e37_79b9))
    }

    /// A stream of its own for one purpose, which other purposes do not move.
    pub(crate) fn of(seed: u64, purpose: &str, number: u64) -> Self {
        let named = purpose.bytes().fold(seed, |hash, byte| mix(hash ^ u64::from(byte)));
        Self(mix(named ^ mix(number)))
    }

    /// The next 64 bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `bound`; 0 where that is 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        // The bias is below bound / 2^64.
        let wide = u128::from(self.bits()) * u128::from(bound);
        u64::try_from(wide >> 64).unwrap_or(0)
    }

    /// A number of `[low, high]`.
    pub(crate) fn between(&mut self, low: i64, high: i64) -> i64 {
        let width = high.saturating_sub(low).unsigned_abs().saturating_add(1);
        low.saturating_add_unsigned(self.below(width))
    }

    /// An index below `length`; 0 where that is 0.
    pub(crate) fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(u64::try_from(length).unwrap_or(u64::MAX))).unwrap_or(0)
    }

    /// True so many times in a thousand.
    pub(crate) fn per_mille(&mut self, times: u64) -> bool {
        self.below(1_000) < times
    }

    /// One of several.
    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.index(from.len())]
    }
}

fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_in_their_bounds_and_reach_them() {
        let mut chance = Chance::new(1);
        let drawn: std::collections::BTreeSet<i64> = (0..200).map(|_| chance.between(-2, 3)).collect();
        assert_eq!(drawn.into_iter().collect::<Vec<_>>(), [-2, -1, 0, 1, 2, 3]);
        assert_eq!(chance.below(0), 0);
    }

    #[test]
    fn purposes_have_streams_of_their_own() {
        let first = |purpose, number| Chance::of(7, purpose, number).bits();
        assert_eq!(first("commit", 1), first("commit", 1));
        assert_ne!(first("commit", 1), first("commit", 2));
        assert_ne!(first("commit", 1), first("fold", 1));
    }
}
