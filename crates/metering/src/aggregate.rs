//! Usage of one key in one hour, and how two parts of it become one.

use std::collections::BTreeSet;

use weir_core::{Hash128, Quantity, TenantId, Timestamp};

use crate::meter::MeterKey;

/// What usage is kept by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UsageKey {
    /// Whose usage.
    pub tenant: TenantId,
    /// Which meter.
    pub meter: MeterKey,
    /// Start of the hour (of the tenant's billing zone), as a UTC instant.
    pub hour: Timestamp,
    /// The dimension values: canonical JSON, an object of texts with sorted names; `{}` for
    /// none, `{"other":"true"}` past the bound on series.
    pub dimensions: String,
}

/// Usage of one key. Merging is associative, so any grouping gives the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Aggregate {
    /// How many events.
    Count {
        /// Events.
        count: u64,
    },
    /// Their sum.
    Sum {
        /// Sum of the values.
        quantity: Quantity,
        /// Events.
        count: u64,
    },
    /// Their largest value.
    Max {
        /// Largest value.
        quantity: Quantity,
        /// Events.
        count: u64,
    },
    /// Their smallest value.
    Min {
        /// Smallest value.
        quantity: Quantity,
        /// Events.
        count: u64,
    },
    /// The latest value.
    Latest {
        /// Its event time.
        time: Timestamp,
        /// Its offset, which settles a tie of times.
        offset: i64,
        /// The value.
        quantity: Quantity,
        /// Events.
        count: u64,
    },
    /// The different values.
    Unique {
        /// Keyed hashes of the values.
        hashes: BTreeSet<Hash128>,
        /// Events.
        count: u64,
    },
}
