//! Meters: which events count, which number in them, and how numbers become usage.
//! Which version applies to an event is the catalogue's to say (invariant 16).

mod rules;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use weir_core::Timestamp;

pub use rules::{
    DESCRIPTION_BYTES_MAX, DIMENSIONS_MAX, FILTER_VALUES_MAX, FILTERS_MAX, InvalidMeter, RESERVED_DIMENSION,
    UNIT_BYTES_MAX,
};

/// A meter's name: 1 to 64 of `a-z 0-9 _ -`, beginning with a letter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MeterKey(Arc<str>);

/// A text that is not a meter's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a meter key is 1 to 64 of a-z, 0-9, _ and -, and begins with a letter")]
pub struct InvalidMeterKey;

impl MeterKey {
    /// Takes a text as a meter key, or says why not.
    pub fn new(text: &str) -> Result<Self, InvalidMeterKey> {
        let bytes = text.as_bytes();
        let fits = (1..=64).contains(&bytes.len())
            && bytes[0].is_ascii_lowercase()
            && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-'));
        if fits { Ok(Self(Arc::from(text))) } else { Err(InvalidMeterKey) }
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MeterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for MeterKey {
    type Error = InvalidMeterKey;
    fn try_from(text: String) -> Result<Self, InvalidMeterKey> {
        Self::new(&text)
    }
}

impl From<MeterKey> for String {
    fn from(key: MeterKey) -> String {
        key.0.to_string()
    }
}

/// How a meter turns events into usage. Never changes between versions of a meter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Aggregation {
    /// How many events.
    Count,
    /// The sum of the value.
    Sum,
    /// The largest value.
    Max,
    /// The smallest value.
    Min,
    /// The value with the latest event time (later offset wins a tie).
    Latest,
    /// How many different values, exactly.
    Unique,
}

/// What a meter does with digits past the ninth decimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// Refuses the event.
    #[default]
    Exact,
    /// Rounds half away from zero.
    Round,
}

/// One condition on a member of `data`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// The member's name.
    pub property: String,
    /// `in`: its value is one of `values`; `not_in`: it is none of them (or absent).
    pub operator: FilterOperator,
    /// The values.
    pub values: Vec<String>,
}

/// How a filter compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FilterOperator {
    /// One of the values.
    In,
    /// None of the values.
    NotIn,
}

/// One immutable version of a meter.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Meter {
    /// The meter's name.
    pub key: MeterKey,
    /// 1, 2, 3…
    pub version: u32,
    /// For people.
    #[serde(default)]
    pub description: String,
    /// The unit of the quantity, for people and invoices: `GB`, `requests`.
    pub unit: String,
    /// The CloudEvents `type` of the events it counts.
    pub event_type: String,
    /// How it counts.
    pub aggregation: Aggregation,
    /// The member of `data` that holds the value; none for `count`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_property: Option<String>,
    /// Members of `data` by which usage is kept apart.
    #[serde(default)]
    pub dimensions: Vec<String>,
    /// All must hold for an event to count.
    #[serde(default)]
    pub filters: Vec<Filter>,
    /// What happens to more than nine decimals.
    #[serde(default)]
    pub precision: Precision,
    /// Whether values below zero are taken.
    #[serde(default)]
    pub allow_negative: bool,
    /// The first event time that this version applies to; `None` for "from the beginning".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begins_at: Option<Timestamp>,
}
