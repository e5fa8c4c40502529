//! Usage, compared: of one batch with what its raw events come to, and of all batches with
//! the rows that were folded from them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use weir_backends::StoreError;
use weir_backends::ledger_audit::Snapshot;
use weir_core::{Generation, TenantId};
use weir_metering::aggregate::{Aggregate, UsageKey};
use weir_metering::measure::{NO_DIMENSIONS, OTHER_DIMENSIONS};
use weir_metering::meter::MeterKey;

use super::PartitionCheck;
use crate::recount::Part;

/// Usage by generation and key.
pub(super) type Counted = BTreeMap<(Generation, UsageKey), Aggregate>;

/// The dimension values that each tenant's usage of a meter was ever counted under, beside
/// `other`. Which ones were counted apart is the ledger's to say: the bound is a setting and
/// may have been another one.
#[derive(Debug)]
pub(super) struct Series {
    known: HashMap<(TenantId, MeterKey), HashSet<String>>,
    series_max: usize,
    is_below_bound: bool,
}

impl Series {
    pub(super) fn new(series_max: u32) -> Self {
        let series_max = usize::try_from(series_max).unwrap_or(usize::MAX);
        Self { known: HashMap::new(), series_max, is_below_bound: false }
    }

    /// Whether something was counted under `other` though there was room.
    pub(super) fn is_below_bound(&self) -> bool {
        self.is_below_bound
    }

    /// The key that usage belongs to, beside what its batch says.
    fn place(&mut self, mut key: UsageKey, batch: &BTreeMap<UsageKey, Aggregate>) -> UsageKey {
        if key.dimensions == NO_DIMENSIONS {
            return key;
        }
        let known = self.known.entry((key.tenant.clone(), key.meter.clone())).or_default();
        if known.contains(&key.dimensions) {
            return key;
        }
        if batch.contains_key(&key) {
            known.insert(key.dimensions.clone());
            return key;
        }
        self.is_below_bound |= known.len() < self.series_max;
        OTHER_DIMENSIONS.clone_into(&mut key.dimensions);
        key
    }
}

/// What the raw events of one batch come to.
#[derive(Debug)]
pub(super) struct Recounted<'a> {
    batch: &'a BTreeMap<UsageKey, Aggregate>,
    usage: BTreeMap<UsageKey, Aggregate>,
}

impl<'a> Recounted<'a> {
    pub(super) fn new(batch: &'a BTreeMap<UsageKey, Aggregate>) -> Self {
        Self { batch, usage: BTreeMap::new() }
    }

    pub(super) fn add(&mut self, part: Part<'_>, series: &mut Series) {
        // A name that is none was not accepted, so it shows as a difference.
        let Ok(tenant) = TenantId::new(part.tenant) else { return };
        let key = UsageKey {
            tenant,
            meter: part.measurement.meter.key.clone(),
            hour: part.hour,
            dimensions: part.measurement.dimensions(),
        };
        let key = series.place(key, self.batch);
        self.add_usage(key, part.usage);
    }

    /// Adds what an adjustment changed, under the key that it was counted by.
    pub(super) fn add_adjusted(&mut self, key: UsageKey, usage: Aggregate, series: &mut Series) {
        // Noted as a series, so that later events find it.
        let key = if key.dimensions == OTHER_DIMENSIONS { key } else { series.place(key, self.batch) };
        self.add_usage(key, usage);
    }

    fn add_usage(&mut self, key: UsageKey, usage: Aggregate) {
        let Some(total) = self.usage.get_mut(&key) else {
            self.usage.insert(key, usage);
            return;
        };
        // What overflows was not counted, so it shows as a difference.
        let _overflown = total.merge(usage);
    }

    pub(super) fn compare(&self, place: &str, found: &mut PartitionCheck) {
        let keys: BTreeSet<&UsageKey> = self.batch.keys().chain(self.usage.keys()).collect();
        for key in keys {
            let (counted, again) = (self.batch.get(key), self.usage.get(key));
            if counted != again {
                found.differs(format!(
                    "{place}: usage of {}: it counted {}, ClickHouse's events and the adjustments make {}",
                    named(key),
                    said(counted),
                    said(again)
                ));
            }
        }
    }
}

/// Compares the usage rows with what the batches add up to.
pub(super) async fn compare(
    ledger: &mut Snapshot,
    mut counted: Counted,
    found: &mut PartitionCheck,
) -> Result<(), StoreError> {
    ledger
        .each_usage(found.partition.partition, |row| {
            found.usage_rows += 1;
            let (held, of_batches) = ((row.quantity, row.event_count), (row.generation, row.key));
            let again = counted.remove(&of_batches);
            if again.as_ref().map(|usage| (usage.quantity(), usage.count())) != Some(held) {
                let (held, again) = (shown(held), said(again.as_ref()));
                let key = named(&of_batches.1);
                found.differs(format!("usage of {key}: Postgres has {held}, the batches make {again}"));
            }
        })
        .await?;
    for ((_, key), usage) in &counted {
        let again = said(Some(usage));
        found.differs(format!("usage of {}: Postgres has nothing, the batches make {again}", named(key)));
    }
    Ok(())
}

fn named(key: &UsageKey) -> String {
    format!("{} {} at {} {}", key.tenant, key.meter, key.hour, key.dimensions)
}

fn said(usage: Option<&Aggregate>) -> String {
    usage.map_or_else(|| "nothing".to_owned(), |usage| shown((usage.quantity(), usage.count())))
}

fn shown((quantity, count): (weir_core::Quantity, i64)) -> String {
    format!("{quantity} from {count} events")
}
