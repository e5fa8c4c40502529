//! Numbers that look like chance and follow from a seed and a position. Not for secrets.

/// Spreads a number over all of 64 bits; different numbers stay different (splitmix64).
pub(crate) fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The upper half.
pub(crate) fn high(number: u64) -> u32 {
    u32::try_from(number >> 32).unwrap_or(0)
}

/// The lower half.
pub(crate) fn low(number: u64) -> u32 {
    u32::try_from(number & 0xffff_ffff).unwrap_or(0)
}

/// A number below `bound`, from 32 bits.
pub(crate) fn below(bits: u32, bound: u32) -> u32 {
    high(u64::from(bits) * u64::from(bound))
}
