//! A tenant's subscription to a plan, and which of its periods may be billed.
//!
//! Periods are computed once, elsewhere, and stored; here they are given. A period is
//! closed by the journal, never by a clock (invariant 14): the partition must have
//! committed a record at or after the period's end plus the grace for late events.
//! A subscription that starts inside a period is billed for that whole period; nothing
//! is prorated.

use serde::{Deserialize, Serialize};
use weir_core::{Span, TenantId, Timestamp};

use crate::name::{LegalEntityKey, PlanKey};

/// Who is billed for what, by whom, and since when.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subscription {
    /// Its id (`sub_…`), given by whoever made it.
    pub id: String,
    /// Who is billed.
    pub tenant: TenantId,
    /// For which plan.
    pub plan: PlanKey,
    /// By whom.
    pub legal_entity: LegalEntityKey,
    /// IANA name of the zone in which periods begin at midnight.
    pub zone: String,
    /// First day of period 0 in that zone, `YYYY-MM-DD`.
    pub anchor: String,
    /// Periods that end at or before this are not billed.
    pub starts_at: Timestamp,
}

impl Subscription {
    /// Whether any part of `period` belongs to the subscription.
    pub fn covers(&self, period: Span) -> bool {
        period.end > self.starts_at
    }

    /// The periods, of those given, that it covers and that are closed.
    pub fn due<'a>(
        &'a self,
        periods: &'a [Span],
        grace_ms: i64,
        broker_time_max: Timestamp,
    ) -> impl Iterator<Item = Span> + 'a {
        periods
            .iter()
            .copied()
            .filter(move |period| self.covers(*period) && closable(*period, grace_ms, broker_time_max))
    }
}

/// Whether a period is closed: `broker_time_max`, the running maximum of broker time that
/// the tenant's partition has committed, has reached the period's end plus `grace_ms`.
pub fn closable(period: Span, grace_ms: i64, broker_time_max: Timestamp) -> bool {
    broker_time_max.millis() >= period.end.millis().saturating_add(grace_ms.max(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// end, grace, newest broker time, closed
    const TABLE: &str = "
        1000  500  1499  false
        1000  500  1500  true
        1000  500  9000  true
        1000    0   999  false
        1000    0  1000  true
    ";

    #[test]
    fn a_period_is_closed_by_the_journal() {
        for row in TABLE.lines().map(str::trim).filter(|row| !row.is_empty()) {
            let cells: Vec<_> = row.split_whitespace().collect();
            let number = |at: usize| cells[at].parse::<i64>().unwrap();
            let period = Span { start: Timestamp::EPOCH, end: Timestamp::clamped(number(0)) };
            let closed = closable(period, number(1), Timestamp::clamped(number(2)));
            assert_eq!(closed.to_string(), cells[3], "{row}");
        }
    }

    #[test]
    fn periods_before_the_start_are_not_due() {
        let at = Timestamp::clamped;
        let subscription = Subscription {
            id: "sub_1".into(),
            tenant: TenantId::new("acme").unwrap(),
            plan: PlanKey::new("pro").unwrap(),
            legal_entity: LegalEntityKey::new("acme-de").unwrap(),
            zone: "UTC".into(),
            anchor: "1970-01-01".into(),
            starts_at: at(1500),
        };
        let periods = [0, 1000, 2000, 3000].map(|start| Span { start: at(start), end: at(start + 1000) });
        let due: Vec<_> = subscription.due(&periods, 100, at(3200)).map(|p| p.start.millis()).collect();
        assert_eq!(due, [1000, 2000]);
    }
}
