//! What the ledger knows of a partition when it is taken, in memory: `ledger::standing`.

use std::collections::{BTreeMap, BTreeSet};

use weir_backends::StoreError;
use weir_backends::ledger::standing::{FoldedTo, SeriesKey};
use weir_core::{Partition, Span, TenantId, Timestamp};
use weir_metering::aggregate::Aggregate;
use weir_metering::catalogue::Catalogue;
use weir_metering::meter::{Aggregation, MeterKey};
use weir_metering::quota::LimitSet;
use weir_metering::shard::PeriodTotal;

use super::Servers;
use super::usage::UsageLine;
use crate::mutation::Mutation;

impl Servers {
    /// `standing::limits`.
    pub(crate) fn limits(&self, partition: Partition) -> Vec<LimitSet> {
        let ours = self.ledger.limits.iter().filter(|(_, line)| line.partition == partition);
        let set = ours.map(|(tenant, line)| {
            let tenant = TenantId::new(tenant).ok()?;
            Some(LimitSet { tenant, revision: line.revision, limits: line.limits.clone() })
        });
        set.flatten().collect()
    }

    /// `FoldedTo::snapshot`.
    pub(crate) fn is_folded(&self, stand: FoldedTo) -> Result<(), StoreError> {
        let folded = self.ledger.partitions.get(&stand.partition).map(|line| line.row.folded_to);
        if folded == Some(stand.offset) { Ok(()) } else { Err(stand.elsewhere(folded)) }
    }

    /// `standing::adjustments`.
    pub(crate) fn adjustments(&self, partition: Partition) -> Vec<(TenantId, String)> {
        if self.mistaken(Mutation::AdjustmentsForgotten) {
            return Vec::new();
        }
        let ours = self.ledger.adjustments.iter().filter(|(_, one)| one.position.partition == partition);
        ours.map(|(key, _)| key.clone()).collect()
    }

    /// `standing::series`.
    pub(crate) fn series(&self, partition: Partition) -> Vec<SeriesKey> {
        let ours = self.ledger.usage.keys().filter(|row| row.partition == partition);
        let series =
            ours.map(|row| (row.key.tenant.clone(), row.key.meter.clone(), row.key.dimensions.clone()));
        series.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// `standing::totals`.
    pub(crate) fn totals(
        &self,
        partition: Partition,
        ends_after: Timestamp,
        catalogue: &Catalogue,
    ) -> Vec<PeriodTotal> {
        let aggregations: BTreeMap<&MeterKey, Aggregation> =
            catalogue.meters().map(|meter| (&meter.key, meter.aggregation)).collect();
        let mut found: BTreeMap<(TenantId, MeterKey, Span), Aggregate> = BTreeMap::new();
        for (row, line) in self.ledger.usage.iter().filter(|(row, _)| row.partition == partition) {
            let Some(facts) = self.ledger.tenants.get(&row.key.tenant) else { continue };
            let holds = |period: &&Span| period.contains(row.key.hour);
            let Some(period) = facts.periods.iter().find(holds).copied() else { continue };
            let Some(aggregation) = aggregations.get(&row.key.meter) else { continue };
            if period.end <= ends_after {
                continue;
            }
            let values = || {
                let from = (row.clone(), weir_core::Hash128(0));
                let ours = self.ledger.values.range(from..).take_while(|(key, _)| key == row);
                ours.map(|(_, hash)| *hash).collect()
            };
            let part = aggregate(*aggregation, line, values);
            let key = (row.key.tenant.clone(), row.key.meter.clone(), period);
            match found.get_mut(&key) {
                Some(total) => {
                    let merged = total.merge(part);
                    debug_assert!(merged.is_ok(), "totals of a simulation are small");
                }
                None => {
                    found.insert(key, part);
                }
            }
        }
        let total = |((tenant, meter, period), aggregate)| PeriodTotal { tenant, meter, period, aggregate };
        found.into_iter().map(total).collect()
    }
}

fn aggregate(
    aggregation: Aggregation,
    line: &UsageLine,
    values: impl FnOnce() -> BTreeSet<weir_core::Hash128>,
) -> Aggregate {
    let UsageLine { quantity, count, latest } = *line;
    match aggregation {
        Aggregation::Count => Aggregate::Count { count },
        Aggregation::Sum => Aggregate::Sum { quantity, count },
        Aggregation::Max => Aggregate::Max { quantity, count },
        Aggregation::Min => Aggregate::Min { quantity, count },
        Aggregation::Latest => {
            let (time, offset) = latest.unwrap_or((Timestamp::EPOCH, 0));
            Aggregate::Latest { time, offset, quantity, count }
        }
        Aggregation::Unique => Aggregate::Unique { hashes: values(), count },
    }
}
