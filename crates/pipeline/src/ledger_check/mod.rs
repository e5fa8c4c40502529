//! `weir ledger check`: proof that nothing was lost or counted twice. For each partition and
//! every generation: the batches form a chain without gap or overlap, their counts agree with
//! their exceptions, the accepted events in ClickHouse have the content sums that the batches
//! say and come to the usage that the batches say, and the usage rows in Postgres are what
//! the batches add up to.
//!
//! It reads only, in one snapshot a partition, since counting goes on meanwhile. Chain and
//! raw events are walked side by side, so it holds a page of them at a time; what grows with
//! the ledger is the usage of one partition, by hour.

mod chain;
mod usage;

use std::collections::BTreeMap;

use weir_backends::config::ClickHouseConfig;
use weir_backends::ledger::partition::{self, PartitionRow};
use weir_backends::ledger_audit::Snapshot;
use weir_backends::postgres::Pool;
use weir_backends::{StoreError, catalog};
use weir_core::HashKey;
use weir_metering::outcome::Counts;

use crate::differences::Differences;
use crate::recount::Meters;
use crate::told::{Told, many};

/// What was found in one partition.
#[derive(Clone, Debug)]
pub struct PartitionCheck {
    /// Where counting stands.
    pub partition: PartitionRow,
    /// Links of the chain.
    pub batches: u64,
    /// Counts over all links.
    pub counts: Counts,
    /// Rejects and conflicts by reason.
    pub rejected_by: BTreeMap<String, u64>,
    /// Accepted events found in ClickHouse.
    pub events: u64,
    /// Usage rows compared.
    pub usage_rows: u64,
    /// What is wrong; empty when all is proved. The first ones, and how many more.
    pub differences: Vec<String>,
    /// What could not be looked at, and why.
    pub notes: Vec<String>,
    found: Differences,
}

/// Checks every partition. `series_max` is the bound on a tenant's series of a meter that
/// counting is configured with.
pub async fn check(
    pool: &Pool,
    clickhouse: &ClickHouseConfig,
    key: &HashKey,
    series_max: u32,
    told: &dyn Told,
) -> Result<Vec<PartitionCheck>, StoreError> {
    let mut checks = Vec::new();
    let all = partition::all(pool).await?;
    let partitions = many(all.len());
    for row in all {
        told.told("partitions checked", many(checks.len()), Some(partitions));
        let mut ledger = Snapshot::begin(pool).await?;
        let row = ledger.partition(row.partition).await?;
        // What is published after the snapshot applies to nothing that is in it.
        let catalogue = catalog::load(pool).await?;
        let meters = Meters::new(catalogue, ledger.alignments().await?, *key);
        let mut found = PartitionCheck::begin(row.clone());
        let counted = chain::walk(&mut ledger, clickhouse, &meters, series_max, &mut found).await?;
        usage::compare(&mut ledger, counted, &mut found).await?;
        checks.push(found.end());
    }
    Ok(checks)
}

impl PartitionCheck {
    fn begin(partition: PartitionRow) -> Self {
        Self {
            partition,
            batches: 0,
            counts: Counts::default(),
            rejected_by: BTreeMap::new(),
            events: 0,
            usage_rows: 0,
            differences: Vec::new(),
            notes: Vec::new(),
            found: Differences::default(),
        }
    }

    fn differs(&mut self, what: String) {
        self.found.add(what);
    }

    fn end(mut self) -> Self {
        self.differences = std::mem::take(&mut self.found).told();
        self
    }
}
