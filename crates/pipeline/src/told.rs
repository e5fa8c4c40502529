//! How far a command has come that takes long, told to whoever waits for it.

/// Whoever waits; `()` when nobody does.
pub trait Told: Sync {
    /// So much is done of what there is, as far as that is known: `3 of 8 partitions read`.
    fn told(&self, what: &str, done: u64, of: Option<u64>);
}

impl Told for () {
    fn told(&self, _what: &str, _done: u64, _of: Option<u64>) {}
}

/// A number of things in memory, as it is told.
pub(crate) fn many(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
