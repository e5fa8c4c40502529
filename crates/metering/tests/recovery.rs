//! A shard that is built again from what the ledger keeps goes on exactly as the one that
//! was never lost, except that it may raise alerts again under the ids that they had.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use support::streams::journal;
use weir_core::{Hash128, Timestamp};
use weir_metering::aggregate::Aggregate;
use weir_metering::catalogue::Catalogue;
use weir_metering::outcome::{Adjusted, Alert, Outcome};
use weir_metering::record::{Batch, BodyRef};
use weir_metering::shard::{PeriodTotal, Recovered, Shard};

/// What the ledger would hand over after `outcome`.
fn recovered(next_offset: i64, outcome: &Outcome, catalogue: &Catalogue) -> Recovered {
    let mut totals: BTreeMap<_, Aggregate> = BTreeMap::new();
    let mut series = BTreeSet::new();
    for (key, delta) in &outcome.deltas {
        series.insert((key.tenant.clone(), key.meter.clone(), key.dimensions.clone()));
        let Some(period) = catalogue.tenants[&key.tenant].period_of(key.hour) else { continue };
        match totals.entry((key.tenant.clone(), key.meter.clone(), period)) {
            std::collections::btree_map::Entry::Occupied(mut total) => {
                total.get_mut().merge(delta.clone()).unwrap();
            }
            std::collections::btree_map::Entry::Vacant(place) => {
                place.insert(delta.clone());
            }
        }
    }
    let limits: BTreeMap<_, _> = outcome.limits.iter().map(|set| (set.tenant.clone(), set.clone())).collect();
    let counted = |one: &Adjusted| (one.adjustment.tenant.clone(), one.adjustment.id.clone());
    let total = |((tenant, meter, period), aggregate)| PeriodTotal { tenant, meter, period, aggregate };
    Recovered {
        next_offset,
        broker_time_max: outcome.broker_time_max,
        limits: limits.into_values().collect(),
        totals: totals.into_iter().map(total).collect(),
        series: series.into_iter().collect(),
        adjustments: outcome.adjustments.iter().map(counted).collect(),
    }
}

/// Reads a batch again and remembers what was accepted.
fn remember_again(shard: &mut Shard, batch: &Batch, outcome: &Outcome) {
    let accepted: BTreeSet<usize> = outcome.accepted.iter().map(|accepted| accepted.index).collect();
    let mut broker_time_max = Timestamp::EPOCH;
    for (index, record) in batch.records().enumerate() {
        broker_time_max = broker_time_max.max(record.broker_time);
        if let BodyRef::Event(event, _) = record.body
            && accepted.contains(&index)
        {
            shard.remember(event, broker_time_max);
        }
    }
}

/// The alerts that the outbox does not have yet.
fn new_alerts(alerts: &[Alert], known: &BTreeSet<Hash128>) -> Vec<Alert> {
    alerts.iter().filter(|alert| !known.contains(&alert.id)).cloned().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_rebuilt_shard_goes_on_as_before(records in journal(160), lost_at in 0_usize..160) {
        let catalogue = support::catalogue();
        let batches = support::cut(&records, vec![lost_at.min(records.len())]);
        let [first, rest] = &batches[..] else { return Ok(()) };
        let mut kept = support::shard();
        let before = kept.apply(first, &catalogue);
        let mut rebuilt =
            Shard::new(support::config(), support::key(), recovered(first.to, &before, &catalogue));
        remember_again(&mut rebuilt, first, &before);
        prop_assert_eq!(kept.remembered_ids(), rebuilt.remembered_ids());
        prop_assert_eq!(kept.series(), rebuilt.series());
        prop_assert_eq!(kept.levels(&catalogue), rebuilt.levels(&catalogue));

        let mut one = kept.apply(rest, &catalogue);
        let mut other = rebuilt.apply(rest, &catalogue);
        let known = before.alerts.iter().map(|alert| alert.id).collect();
        one.alerts = new_alerts(&one.alerts, &known);
        other.alerts = new_alerts(&other.alerts, &known);
        prop_assert_eq!(one, other);
        prop_assert_eq!(kept.remembered_ids(), rebuilt.remembered_ids());
    }
}
