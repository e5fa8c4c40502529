//! Limits on a meter's usage in a billing period, and the answers that follow from them
//! (invariant 12). It keeps no totals: a level is handed to it.

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

/// A tenant's limit on one meter for one billing period. Members that it does not know are
/// passed over when it is read: a newer process may have written them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
    /// The limit it is held against; `None` when the limit was taken away, and the rest no
    /// longer matters.
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

/// The highest threshold, in percent of the limit.
pub const THRESHOLD_PERCENT_MAX: u16 = 1000;
/// The most limits of one tenant.
pub const LIMITS_MAX: usize = 256;

/// Why a tenant's limits are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLimits {
    /// More than can be kept.
    #[error("{limits} limits, more than {LIMITS_MAX}")]
    TooMany {
        /// How many.
        limits: usize,
    },
    /// Two limits on one meter.
    #[error("meter {meter} has two limits")]
    DoubledMeter {
        /// Which meter.
        meter: MeterKey,
    },
    /// A limit of nothing, or less.
    #[error("the limit on meter {meter} is {limit}, and must be above zero")]
    NotPositive {
        /// Which meter.
        meter: MeterKey,
        /// The limit.
        limit: Quantity,
    },
    /// Thresholds out of order or out of range.
    #[error("the thresholds on meter {meter} must rise, within 1 to {THRESHOLD_PERCENT_MAX} percent")]
    Thresholds {
        /// Which meter.
        meter: MeterKey,
    },
}

impl LimitSet {
    /// Whether the limits can come into force.
    ///
    /// # Errors
    /// The first rule that they break.
    pub fn validate(&self) -> Result<(), InvalidLimits> {
        if self.limits.len() > LIMITS_MAX {
            return Err(InvalidLimits::TooMany { limits: self.limits.len() });
        }
        for (at, limit) in self.limits.iter().enumerate() {
            let meter = limit.meter.clone();
            if self.limits[..at].iter().any(|earlier| earlier.meter == meter) {
                return Err(InvalidLimits::DoubledMeter { meter });
            }
            if limit.limit <= Quantity::ZERO {
                return Err(InvalidLimits::NotPositive { meter, limit: limit.limit });
            }
            let thresholds = &limit.thresholds_percent;
            let rising = thresholds.windows(2).all(|pair| pair[0] < pair[1]);
            if !rising || !thresholds.iter().all(|t| (1..=THRESHOLD_PERCENT_MAX).contains(t)) {
                return Err(InvalidLimits::Thresholds { meter });
            }
        }
        Ok(())
    }
}

/// Whether a tenant may use more, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaAnswer {
    /// Whether it may.
    pub allowed: bool,
    /// Usage in the billing period.
    pub used: Quantity,
    /// The limit; `None` without one.
    pub limit: Option<Quantity>,
    /// What is left of the limit, never below zero; `None` without a limit.
    pub remaining: Option<Quantity>,
    /// When the period ends; `None` when a new one has begun of which nothing has been seen yet.
    pub resets_at: Option<Timestamp>,
    /// How far this answer has seen the journal, in broker time.
    pub as_of: Timestamp,
    /// Whether that is longer ago than is tolerated.
    pub stale: bool,
}

/// The answer at `now` from the last known level. A level is stale when its `as_of` lies
/// more than `max_staleness_ms` before `now`; then the limit's `when_stale` decides.
///
/// A level is published when something changed, so whoever keeps levels raises `as_of`
/// as the partition moves on without changing them; otherwise a quiet tenant goes stale.
pub fn answer(level: &QuotaLevel, now: Timestamp, max_staleness_ms: i64) -> QuotaAnswer {
    let over = now >= level.period.end;
    let used = if over { Quantity::ZERO } else { level.used };
    let stale = now.millis().saturating_sub(level.as_of.millis()) > max_staleness_ms;
    let allowed = match &level.limit {
        None => true,
        Some(limit) if stale => limit.when_stale == WhenStale::Allow,
        Some(limit) => limit.enforcement == Enforcement::Soft || used < limit.limit,
    };
    let limit = level.limit.as_ref().map(|limit| limit.limit);
    let left = |limit: Quantity| limit.checked_sub(used).unwrap_or(Quantity::ZERO).max(Quantity::ZERO);
    QuotaAnswer {
        allowed,
        used,
        limit,
        remaining: limit.map(left),
        resets_at: (!over).then_some(level.period.end),
        as_of: level.as_of,
        stale,
    }
}
