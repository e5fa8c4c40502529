//! What a stream of load looks like. Values and their rules; no event is made here.

use serde::{Deserialize, Serialize};

use crate::error::LoadError;

/// The shape of a stream. Its events follow from it alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// Records to send, duplicates and late ones among them.
    pub events: u64,
    /// Tenants that they are of.
    pub tenants: u32,
    /// The k-th tenant's share is in proportion to 1/k^skew.
    pub skew: f64,
    /// Meters, one event type each.
    pub meters: u32,
    /// Different values of the dimension `region`; 0: no dimension.
    pub dimensions: u32,
    /// Of a million records, those that repeat an earlier one to the byte.
    pub duplicates_ppm: u32,
    /// Of a million records, those whose time is 40 days before `from_ms`.
    pub late_ppm: u32,
    /// Chooses everything that looks like chance; other seeds give other event ids.
    pub seed: u32,
    /// The first event's time, in milliseconds since 1970 UTC.
    pub from_ms: i64,
    /// How much later the last event's time is, in milliseconds; those between move along.
    pub span_ms: i64,
}

/// What a meter of the load does with its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Adds up `data.quantity`.
    Sum,
    /// Counts events.
    Count,
}

/// The key of a meter, which is also its event type.
pub fn meter_key(meter: u32) -> String {
    format!("load_{meter}")
}

/// The id of a tenant.
pub fn tenant_id(tenant: u32) -> String {
    format!("load-{tenant:07}")
}

/// What the meter of this number does.
pub(crate) fn kind_of(meter: u32) -> Kind {
    if meter % 3 == 1 { Kind::Count } else { Kind::Sum }
}

impl Profile {
    /// Whether it describes a stream.
    ///
    /// # Errors
    /// [`LoadError::Profile`] names the first option that does not fit.
    pub fn check(&self) -> Result<(), LoadError> {
        let rule = |holds: bool, option, value: String, rule| match holds {
            true => Ok(()),
            false => Err(LoadError::Profile { option, value, rule }),
        };
        rule(self.events > 0, "--events", self.events.to_string(), "at least one")?;
        rule((1..=9_999_999).contains(&self.tenants), "--tenants", self.tenants.to_string(), "1 to 9999999")?;
        rule((1..=100).contains(&self.meters), "--meters", self.meters.to_string(), "1 to 100")?;
        rule(self.dimensions <= 1_000_000, "--dimensions", self.dimensions.to_string(), "at most 1000000")?;
        rule((0.0..=3.0).contains(&self.skew), "--skew", self.skew.to_string(), "0 to 3")?;
        let special = u64::from(self.duplicates_ppm) + u64::from(self.late_ppm);
        rule(
            special <= 1_000_000,
            "--duplicates with --late",
            special.to_string(),
            "not more than all, in millionths",
        )?;
        rule(self.span_ms >= 0, "--span", self.span_ms.to_string(), "not negative")
    }
}
