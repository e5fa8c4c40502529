//! A usage event as the services emit it, and the rules that every accepted one obeys.

use weir_core::Timestamp;

/// The longest `id`, `source`, `type`, dimension name and dimension value, in bytes.
pub const TEXT_BYTES_MAX: usize = 256;
/// The most entries in `data`.
pub const DATA_ENTRIES_MAX: usize = 64;
/// The longest `data` value that no meter uses as a dimension, in bytes.
pub const DATA_VALUE_BYTES_MAX: usize = 4096;

/// A usage event. Whatever format it came in, it has become this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageEvent {
    /// CloudEvents `subject`: the tenant, not yet known to exist.
    pub tenant: String,
    /// CloudEvents `source`.
    pub source: String,
    /// CloudEvents `id`; unique with tenant and source.
    pub id: String,
    /// CloudEvents `type`; meters choose events by it.
    pub event_type: String,
    /// CloudEvents `time`; `None` means the broker's time of its first arrival.
    pub time: Option<Timestamp>,
    /// The top-level members of `data`, sorted by name, each once: texts as they are,
    /// numbers and booleans in their JSON spelling, objects and arrays as compact JSON;
    /// nulls are left out.
    pub data: Vec<(String, String)>,
}

impl UsageEvent {
    /// The value of a member of `data`.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.data.binary_search_by(|(key, _)| key.as_str().cmp(name)).ok().map(|at| self.data[at].1.as_str())
    }
}
