//! Which letters are meant. A filter that names nothing means all of them.

use std::collections::BTreeSet;

use weir_core::{Partition, Position, Timestamp};

use super::reading::Entry;

/// What a letter must be like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// One of these places, by which it is known; any when empty.
    pub positions: BTreeSet<Position>,
    /// One of these codes; any when empty.
    pub reasons: BTreeSet<String>,
    /// This tenant's.
    pub tenant: Option<String>,
    /// The broker had it at this time or later.
    pub since: Option<Timestamp>,
    /// The broker had it before this time.
    pub until: Option<Timestamp>,
    /// It stood in this partition of the usage topic.
    pub partition: Option<Partition>,
}

impl Filter {
    /// Whether a letter that stood there at that time may be meant: this much never changes,
    /// however often it is rejected.
    pub(super) fn may_hold(&self, origin: Position, arrived_at: Timestamp) -> bool {
        (self.positions.is_empty() || self.positions.contains(&origin))
            && self.partition.is_none_or(|partition| partition == origin.partition)
            && self.since.is_none_or(|since| since <= arrived_at)
            && self.until.is_none_or(|until| arrived_at < until)
    }

    /// Whether a letter is meant.
    pub(super) fn holds(&self, entry: &Entry) -> bool {
        self.may_hold(entry.origin, entry.arrived_at)
            && (self.reasons.is_empty() || self.reasons.contains(&*entry.code))
            && self.tenant.as_deref().is_none_or(|tenant| entry.tenant.as_deref() == Some(tenant))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_of_a_filter_leaves_out() {
        let at = |hour: i64| Timestamp::clamped(hour * 3_600_000);
        let origin = Position { generation: 1, partition: 3, offset: 7 };
        let entry = Entry {
            origin,
            arrived_at: at(5),
            code: "too_late".into(),
            tenant: Some("acme".into()),
            letters: 1,
            place: (0, 0),
            rejected_at: at(5),
        };
        let check = |change: fn(&mut Filter), held: bool| {
            let mut filter = Filter::default();
            change(&mut filter);
            assert_eq!(filter.holds(&entry), held, "{filter:?}");
        };
        check(|_| {}, true);
        check(|f| f.partition = Some(3), true);
        check(|f| f.partition = Some(4), false);
        check(|f| f.since = Some(Timestamp::clamped(5 * 3_600_000)), true);
        check(|f| f.since = Some(Timestamp::clamped(5 * 3_600_000 + 1)), false);
        check(|f| f.until = Some(Timestamp::clamped(5 * 3_600_000)), false);
        check(|f| f.until = Some(Timestamp::clamped(5 * 3_600_000 + 1)), true);
        check(|f| f.tenant = Some("acme".into()), true);
        check(|f| f.tenant = Some("other".into()), false);
        check(|f| f.reasons = ["too_late".to_owned(), "conflict".to_owned()].into(), true);
        check(|f| f.reasons = ["conflict".to_owned()].into(), false);
        check(|f| f.positions = ["1/3/7".parse().unwrap()].into(), true);
        check(|f| f.positions = ["1/3/8".parse().unwrap()].into(), false);
    }
}
