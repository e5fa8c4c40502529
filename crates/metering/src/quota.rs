//! Limits on a meter's usage in a billing period, and the answers that follow from them.

use serde::{Deserialize, Serialize};
use weir_core::{Position, Quantity, Span, TenantId, Timestamp};

use crate::meter::MeterKey;

/// What happens at the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Enforcement {
    /// Answers go on saying "allowed"; alerts are raised.
    Soft,
    /// Answers say "not allowed" once usage reaches the limit.
    Hard,
}

/// What to answer when the level is older than `max_staleness`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenStale {
    /// Say "allowed".
    #[default]
    Allow,
    /// Say "not allowed".
    Deny,
}

/// A tenant's limit on one meter for one billing period.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Which meter.
    pub meter: MeterKey,
    /// The limit, in the meter's unit.
    pub limit: Quantity,
    /// Soft or hard.
    pub enforcement: Enforcement,
    /// Percentages of the limit at which an alert is raised, rising, 1 to 1000.
    #[serde(default = "default_thresholds")]
    pub thresholds_percent: Vec<u16>,
    /// What to answer when the level is stale.
    #[serde(default)]
    pub when_stale: WhenStale,
}

fn default_thresholds() -> Vec<u16> {
    vec![80, 100]
}

/// All limits of a tenant, in force from the control record that carries them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitSet {
    /// Whose limits.
    pub tenant: TenantId,
    /// Rises with each change; a record with an older revision changes nothing.
    pub revision: i64,
    /// The limits, one a meter at most. Meters not named have none.
    pub limits: Vec<Limit>,
}

/// Where a tenant stands on a limited meter: a function of the journal up to `position`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaLevel {
    /// Whose usage.
    pub tenant: TenantId,
    /// The limit it is held against; `None` when the limit was taken away.
    pub limit: Option<Limit>,
    /// Which meter.
    pub meter: MeterKey,
    /// The billing period.
    pub period: Span,
    /// Usage in it.
    pub used: Quantity,
    /// The last record that this level has seen.
    pub position: Position,
    /// That record's broker time.
    pub as_of: Timestamp,
}
