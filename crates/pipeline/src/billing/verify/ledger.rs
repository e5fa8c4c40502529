//! What the ledger says was counted: the chain of batches, and whether the usage rows are
//! what its blobs come to.

use std::collections::BTreeMap;

use weir_backends::StoreError;
use weir_backends::books::{Evidence, UsageRow};
use weir_backends::ledger::adjustment::AdjustedUsage;
use weir_backends::ledger_audit::BatchRow;
use weir_core::{Generation, Partition, Position, TenantId, Timestamp};
use weir_metering::aggregate::{Aggregate, UsageKey};

use super::count::{Cuts, Totals};
use crate::recount::Link;

/// What the ledger holds of one partition.
#[derive(Debug)]
pub(super) struct Ledger<'a> {
    /// The links of the chain below the highest cut, in order.
    pub(super) batches: Vec<Link>,
    /// What their blobs come to.
    pub(super) totals: Totals<'a>,
    /// Usage rows that differ from the blobs: whose, which hour, in words.
    pub(super) rows: Vec<(TenantId, Timestamp, String)>,
    /// ClickHouse was filled with everything below.
    pub(super) projected_to: Position,
    /// The same by generation.
    pub(super) projected: BTreeMap<Generation, i64>,
    /// How far the journal's time has come.
    pub(super) broker_time_max: Timestamp,
    /// What adjustments added, by rising position.
    pub(super) adjusted: Vec<AdjustedUsage>,
    /// What is wrong with the chain itself.
    pub(super) problems: Vec<String>,
}

/// What usage rows must say, of one tenant.
type Folded = BTreeMap<(Generation, UsageKey), Aggregate>;

/// Tenants whose usage rows are read at a time.
const TENANTS_AT_A_TIME: usize = 64;

/// Reads a partition's chain and the usage rows of the tenants that are proved.
pub(super) async fn read<'a>(
    evidence: &mut Evidence,
    partition: Partition,
    cuts: &'a Cuts,
) -> Result<Ledger<'a>, StoreError> {
    let mut ledger = Ledger {
        batches: Vec::new(),
        totals: Totals::new(cuts),
        rows: Vec::new(),
        projected_to: Position { generation: Generation::MIN, partition, offset: i64::MIN },
        projected: BTreeMap::new(),
        broker_time_max: Timestamp::EPOCH,
        adjusted: evidence.adjusted(partition).await?,
        problems: Vec::new(),
    };
    let Some(reach) = evidence.reach(partition).await? else {
        ledger.problems.push(format!("partition {partition} is not in the ledger"));
        return Ok(ledger);
    };
    ledger.projected_to = Position { generation: reach.generation, partition, offset: reach.projected_to };
    ledger.projected = evidence.projected(partition).await?;
    ledger.broker_time_max = reach.broker_time_max;
    let highest = cuts.highest(partition);
    let folded_to = Position { generation: reach.generation, partition, offset: reach.folded_to };
    let mut folded: BTreeMap<TenantId, Folded> = BTreeMap::new();
    let mut after = (Generation::MIN, i64::MIN);
    loop {
        let page = evidence.batches_after(partition, after).await?;
        let Some(last) = page.last() else { break };
        after = (last.generation, last.from);
        for batch in page {
            let at = Position { generation: batch.generation, partition, offset: batch.from };
            ledger.link(&batch, at, highest);
            for (key, usage) in batch.usage()? {
                if !cuts.has(key.tenant.as_str()) {
                    continue;
                }
                let counted = ledger.totals.add(key.tenant.as_str(), &key.meter, key.hour, at, &usage);
                if let Err(error) = counted {
                    ledger.problems.push(format!("the batch at {at}: {error}"));
                }
                if at < folded_to {
                    let of_tenant = folded.entry(key.tenant.clone()).or_default();
                    merge(of_tenant, (batch.generation, key), usage, &mut ledger.problems);
                }
            }
        }
    }
    let tenants: Vec<&TenantId> = cuts.tenants().collect();
    for tenants in tenants.chunks(TENANTS_AT_A_TIME) {
        let mut rows = evidence.usage_rows(tenants, partition).await?;
        for tenant in tenants {
            let folded = folded.remove(*tenant).unwrap_or_default();
            ledger.rows.extend(differing(tenant, &folded, &rows.remove(*tenant).unwrap_or_default()));
        }
    }
    Ok(ledger)
}

impl Ledger<'_> {
    fn link(&mut self, batch: &BatchRow, at: Position, highest: Option<Position>) {
        if highest.is_none_or(|highest| at >= highest) {
            return;
        }
        if let Some(before) = self.batches.last()
            && before.generation == batch.generation
            && before.to != batch.from
        {
            let text = format!("the chain breaks at {at}: the batch before ends at {}", before.to);
            self.problems.push(text);
        }
        self.batches.push(Link::of(batch));
    }
}

fn merge(folded: &mut Folded, key: (Generation, UsageKey), usage: Aggregate, problems: &mut Vec<String>) {
    match folded.get_mut(&key) {
        Some(total) => {
            if let Err(error) = total.merge(usage) {
                problems.push(format!("{} {}: {error}", key.1.tenant, key.1.meter));
            }
        }
        None => {
            folded.insert(key, usage);
        }
    }
}

fn differing(
    tenant: &TenantId,
    folded: &Folded,
    rows: &BTreeMap<(Generation, UsageKey), UsageRow>,
) -> Vec<(TenantId, Timestamp, String)> {
    let mut differences = Vec::new();
    let mut differs = |key: &UsageKey, what: String| {
        let text = format!("usage row {} {} {}: {what}", key.meter, key.hour, key.dimensions);
        differences.push((tenant.clone(), key.hour, text));
    };
    for (key, usage) in folded {
        match rows.get(key) {
            None => differs(&key.1, format!("not there, the batches say {}", said(usage))),
            Some(row) => {
                if let Some((row, batches)) = difference(row, usage) {
                    differs(&key.1, format!("the row says {row}, the batches say {batches}"));
                }
            }
        }
    }
    for (key, row) in rows.iter().filter(|(key, _)| !folded.contains_key(*key)) {
        differs(&key.1, format!("the row says {}, the batches know nothing of it", row.quantity));
    }
    differences
}

/// What differs between a usage row and the batches, in words; `None` when nothing does.
fn difference(row: &UsageRow, usage: &Aggregate) -> Option<(String, String)> {
    let events = |count: i64| format!("{count} events");
    if row.event_count != usage.count() {
        return Some((events(row.event_count), events(usage.count())));
    }
    match usage {
        Aggregate::Unique { hashes, .. } => {
            let values = |count: usize| format!("{count} different values");
            let same = row.values == *hashes;
            (!same).then(|| (values(row.values.len()), format!("{} (others)", values(hashes.len()))))
        }
        _ if row.quantity != usage.quantity() => {
            Some((row.quantity.to_string(), usage.quantity().to_string()))
        }
        Aggregate::Latest { time, offset, .. } if row.latest != Some((*time, *offset)) => {
            Some((format!("{:?}", row.latest), format!("{:?}", Some((time, offset)))))
        }
        _ => None,
    }
}

fn said(usage: &Aggregate) -> String {
    format!("{} from {} events", usage.quantity(), usage.count())
}
