//! Where batches are cut never matters: `apply(a ++ b)` equals `apply(a)` and then `apply(b)`.

mod support;

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use support::streams::journal;
use weir_core::Timestamp;
use weir_metering::adjustment::Change;
use weir_metering::aggregate::Aggregate;
use weir_metering::outcome::AlertKind;
use weir_metering::quota::QuotaLevel;

/// The levels that hold, but for how far they have seen: a longer batch has seen further
/// without a change. A level without a limit only takes an earlier one away.
fn standing(levels: Vec<QuotaLevel>) -> Vec<QuotaLevel> {
    let mut levels: Vec<_> = levels.into_iter().filter(|level| level.limit.is_some()).collect();
    for level in &mut levels {
        level.position.offset = 0;
        level.as_of = Timestamp::EPOCH;
    }
    levels
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn cuts_never_matter(
        records in journal(160),
        cuts in prop::collection::vec(0_usize..160, 0..12),
    ) {
        let catalogue = support::catalogue();
        let (mut one, mut other) = (support::shard(), support::shard());
        let mut whole = support::apply_all(&mut one, &support::cut(&records, vec![]), &catalogue);
        let mut parts = support::apply_all(&mut other, &support::cut(&records, cuts), &catalogue);

        let take = |levels: &mut Vec<QuotaLevel>| standing(std::mem::take(levels));
        prop_assert_eq!(take(&mut whole.levels), take(&mut parts.levels));
        prop_assert_eq!(&whole, &parts);
        prop_assert_eq!(one.levels(&catalogue), other.levels(&catalogue));
        prop_assert_eq!(one.remembered_ids(), other.remembered_ids());
        prop_assert_eq!(one.series(), other.series());

        let counts = whole.counts;
        let ends = counts.accepted + counts.duplicate + counts.rejected + counts.forwarded + counts.control;
        prop_assert_eq!(counts.read, ends);
        prop_assert_eq!(usize::try_from(counts.read).unwrap(), records.len());
        prop_assert_eq!(whole.accepted.len() + whole.exceptions.len(), records.len());
    }

    #[test]
    fn one_batch_a_record_is_no_exception(records in journal(60)) {
        let catalogue = support::catalogue();
        let every = (0..records.len()).collect();
        let whole = support::apply_all(&mut support::shard(), &support::cut(&records, vec![]), &catalogue);
        let parts = support::apply_all(&mut support::shard(), &support::cut(&records, every), &catalogue);
        prop_assert_eq!(whole.alerts, parts.alerts);
        prop_assert_eq!(whole.deltas, parts.deltas);
    }
}

/// The properties would hold of journals in which nothing happens, so look that it does.
#[test]
fn the_random_journals_hold_everything() {
    let mut runner = TestRunner::deterministic();
    let mut seen = BTreeSet::new();
    for _ in 0..100 {
        let records = journal(160).new_tree(&mut runner).unwrap().current();
        let outcome =
            support::apply_all(&mut support::shard(), &support::cut(&records, vec![]), &support::catalogue());
        seen.extend(outcome.exceptions.iter().map(|exception| format!("{:?}", exception.verdict)));
        seen.extend(outcome.deltas.values().map(|delta| format!("{:?}", delta.aggregation())));
        seen.extend(outcome.alerts.iter().map(|alert| match &alert.kind {
            AlertKind::Quota { direction, meter, .. } => format!("{direction:?} {meter}"),
            AlertKind::Conflict { .. } => "conflict alert".to_owned(),
            AlertKind::SeriesBound { .. } => "series bound".to_owned(),
        }));
        seen.extend(outcome.adjustments.iter().map(|one| {
            match &one.adjustment.change {
                Change::Entry(_) if one.usage.values().any(|usage| usage.count() < 0) => "entry below zero",
                Change::Entry(_) => "entry",
                Change::Void { .. } if one.usage.is_empty() => "void of nothing",
                Change::Void { .. } => "void",
            }
            .to_owned()
        }));
        let below_zero = |usage: &&Aggregate| usage.count() < 0;
        seen.extend(outcome.deltas.values().find(below_zero).map(|_| "delta below zero".to_owned()));
        seen.extend(outcome.levels.iter().map(|level| format!("limited: {}", level.limit.is_some())));
    }
    let expected = "Rejected(Malformed), Rejected(InvalidEvent), Rejected(InvalidValue), \
        Rejected(UnknownTenant), Rejected(TooLate), Rejected(InFuture), Rejected(Misrouted), Duplicate, \
        Conflict, Forwarded, Control, Count, Sum, Max, Min, Latest, Unique, Reached calls, Reached bytes, \
        Reached peak, Reached floor, Reached seats, Reached users, Resolved calls, Resolved bytes, \
        Resolved peak, Resolved floor, Resolved seats, Resolved users, conflict alert, series bound, \
        limited: true, limited: false, entry, entry below zero, void, void of nothing, delta below zero";
    let missing: Vec<_> = expected.split(", ").filter(|what| !seen.contains(*what)).collect();
    assert!(missing.is_empty(), "never happened: {missing:?}");
}
