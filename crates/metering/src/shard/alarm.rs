//! Thresholds: which ones fire, and the alerts that their crossings make.
//!
//! A threshold fires while its period is not over and usage is at or above that percentage
//! of the limit. So alarms are a pure function of totals, limits and time: nothing about
//! them is stored, and a rebuilt shard knows them.

use weir_core::digest::Digest;
use weir_core::{HashKey, Quantity, Span, TenantId};

use crate::meter::MeterKey;
use crate::outcome::{Alert, AlertKind, Direction};
use crate::quota::Limit;

use super::work::At;

/// A limit in force, with its thresholds worked out.
#[derive(Clone, Debug)]
pub(super) struct HeldLimit {
    /// Nano-units around the usage that was counted last, `[from, to)`, between which no
    /// threshold lies: looked at for every event, so it stands first.
    quiet: (i128, i128),
    pub(super) limit: Limit,
    /// For each threshold, rising: percent, and the least usage in nano-units at which it
    /// fires; `None` beyond every total.
    marks: Vec<(u16, Option<i128>)>,
}

impl PartialEq for HeldLimit {
    /// Everything else follows from the limit, or from the way here.
    fn eq(&self, other: &Self) -> bool {
        self.limit == other.limit
    }
}

impl HeldLimit {
    pub(super) fn new(limit: Limit) -> Self {
        let mark = |percent: &u16| (*percent, least_nanos(limit.limit, *percent));
        let marks = limit.thresholds_percent.iter().map(mark).collect();
        Self { quiet: (0, 0), limit, marks }
    }

    /// Whether any threshold lies between two amounts. Almost never: asked for every event.
    pub(super) fn separates(&mut self, one: Quantity, other: Quantity) -> bool {
        if self.is_quiet_at(one) && self.is_quiet_at(other) {
            return false;
        }
        let leasts = || self.marks.iter().filter_map(|(_, least)| *least);
        let from = leasts().filter(|least| *least <= other.nanos()).max().unwrap_or(i128::MIN);
        let to = leasts().filter(|least| *least > other.nanos()).min().unwrap_or(i128::MAX);
        self.quiet = (from, to);
        !self.is_quiet_at(one)
    }

    /// Whether no threshold lies between an amount and the usage that was counted last.
    pub(super) fn is_quiet_at(&self, used: Quantity) -> bool {
        (self.quiet.0..self.quiet.1).contains(&used.nanos())
    }

    /// The thresholds that usage of `used` reaches, rising.
    fn reached(&self, used: Quantity) -> impl Iterator<Item = u16> {
        let reaches = move |mark: &&(u16, Option<i128>)| mark.1.is_some_and(|least| used.nanos() >= least);
        self.marks.iter().filter(reaches).map(|mark| mark.0)
    }
}

/// The least n with n · 100 >= limit · percent; `None` where that is beyond every total.
fn least_nanos(limit: Quantity, percent: u16) -> Option<i128> {
    let percent = i128::from(percent);
    let (hundreds, rest) = (limit.nanos().div_euclid(100), limit.nanos().rem_euclid(100));
    let rounded_up = (rest * percent + 99).div_euclid(100);
    hundreds.checked_mul(percent)?.checked_add(rounded_up)
}

/// A limit and the usage that is held against it; `None` when nothing can fire.
pub(super) type Standing<'a> = Option<(&'a HeldLimit, Quantity)>;

/// A threshold that was crossed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Crossing<'a> {
    percent: u16,
    direction: Direction,
    limit: &'a Limit,
}

/// What begins and ceases to fire between two standings: first what ceases, by rising
/// threshold and with the limit that it fired under, then what begins.
pub(super) fn crossings<'a>(before: Standing<'a>, after: Standing<'a>) -> impl Iterator<Item = Crossing<'a>> {
    let ceased = firing_only(before, after, Direction::Resolved);
    ceased.chain(firing_only(after, before, Direction::Reached))
}

fn firing_only<'a>(
    one: Standing<'a>,
    other: Standing<'a>,
    direction: Direction,
) -> impl Iterator<Item = Crossing<'a>> {
    let fires_there = move |percent: u16| {
        other.is_some_and(|(held, used)| held.reached(used).any(|reached| reached == percent))
    };
    one.into_iter().flat_map(move |(held, used)| {
        let limit = &held.limit;
        let only_here = held.reached(used).filter(move |percent| !fires_there(*percent));
        only_here.map(move |percent| Crossing { percent, direction, limit })
    })
}

/// Where a crossing happened, and whose it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scene<'a> {
    pub(super) key: &'a HashKey,
    pub(super) at: &'a At,
    pub(super) tenant: &'a TenantId,
    pub(super) meter: &'a MeterKey,
    pub(super) period: Span,
    pub(super) used: Quantity,
}

impl Scene<'_> {
    /// The alert of a crossing. Its id is a hash of (tenant, meter, start of the period,
    /// threshold, direction, position).
    pub(super) fn alert(&self, crossing: &Crossing<'_>) -> Alert {
        let position = self.at.position;
        let direction = match crossing.direction {
            Direction::Reached => "reached",
            Direction::Resolved => "resolved",
        };
        let mut digest = Digest::new(self.key, "quota alert");
        digest.field(self.tenant.as_str().as_bytes()).field(self.meter.as_str().as_bytes());
        digest.int(self.period.start.millis()).int(i64::from(crossing.percent)).field(direction.as_bytes());
        digest.int(i64::from(position.generation)).int(i64::from(position.partition)).int(position.offset);
        let kind = AlertKind::Quota {
            meter: self.meter.clone(),
            period: self.period,
            threshold_percent: crossing.percent,
            limit: crossing.limit.limit,
            enforcement: crossing.limit.enforcement,
            used: self.used,
            direction: crossing.direction,
        };
        Alert { id: digest.finish(), tenant: self.tenant.clone(), position, at: self.at.broker_time, kind }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use weir_core::quantity::TOTAL_NANOS_MAX;

    use super::*;

    proptest! {
        #[test]
        fn marks_are_exact(limit in 1_i128..100_000, percent in 1_u16..=1000, used in 0_i128..1_000_000) {
            let least = least_nanos(Quantity::from_nanos(limit).unwrap(), percent).unwrap();
            prop_assert_eq!(used >= least, used * 100 >= limit * i128::from(percent));
        }
    }

    #[test]
    fn thresholds_lie_between_amounts_whatever_was_asked_before() {
        let limit = Limit {
            meter: MeterKey::new("calls").unwrap(),
            limit: Quantity::from_units(10),
            enforcement: crate::quota::Enforcement::Soft,
            thresholds_percent: vec![50, 100],
            when_stale: crate::quota::WhenStale::Allow,
        };
        let mut held = HeldLimit::new(limit);
        let side = |units: i64| (units >= 5, units >= 10);
        for (one, other) in (-1..13).flat_map(|one| (-1..13).map(move |other| (one, other))) {
            let found = held.separates(Quantity::from_units(one), Quantity::from_units(other));
            assert_eq!(found, side(one) != side(other), "{one} and {other}");
        }
    }

    #[test]
    fn the_largest_limit_is_reached_at_a_hundred_percent_and_never_past_it() {
        let limit = Quantity::from_nanos(TOTAL_NANOS_MAX).unwrap();
        assert_eq!(least_nanos(limit, 100), Some(TOTAL_NANOS_MAX));
        assert!(least_nanos(limit, 101).is_some_and(|least| least > TOTAL_NANOS_MAX));
        assert_eq!(least_nanos(limit, 1000), None);
    }
}
