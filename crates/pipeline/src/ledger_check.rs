//! `weir ledger check`: proof that nothing was lost or counted twice. For each partition:
//! the batches form a chain without gap or overlap, their counts add up and agree with
//! their exceptions, the accepted events in ClickHouse have the content sums that the
//! batches say, and the usage in Postgres equals usage counted again from those events.
//! It reads only. Written apart from the shard: it judges nothing but what is stored.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use weir_backends::StoreError;
use weir_backends::config::ClickHouseConfig;
use weir_backends::ledger::partition::{self, PartitionRow};
use weir_backends::ledger_audit::{BatchRow, Snapshot};
use weir_backends::postgres::Pool;
use weir_backends::projection::Projection;
use weir_core::{ContentSum, HashKey, TenantId, Timestamp};
use weir_metering::aggregate::{Aggregate, UsageKey, merge_deltas};
use weir_metering::catalogue::Catalogue;
use weir_metering::event::{EventBuffer, UsageEvent};
use weir_metering::identity::content_hash;
use weir_metering::measure::{NO_DIMENSIONS, OTHER_DIMENSIONS};
use weir_metering::meter::MeterKey;
use weir_metering::outcome::{Counts, Exception, Verdict};
use weir_metering::shard::SERIES_MAX;
use weir_wire::batch_blob::decode_exceptions;

/// Links read at a time.
const PAGE: i64 = 500;
/// Differences kept for each partition; more are counted.
const DIFFERENCES_MAX: usize = 20;

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
    /// What is wrong; empty when all is proved.
    pub differences: Vec<String>,
    /// What could not be looked at yet, and why.
    pub notes: Vec<String>,
}

/// Checks every partition.
pub async fn check(
    pool: &Pool,
    clickhouse: &ClickHouseConfig,
    key: &HashKey,
    catalogue: &Catalogue,
) -> Result<Vec<PartitionCheck>, StoreError> {
    let mut checks = Vec::new();
    for row in partition::all(pool).await? {
        // Counting goes on: everything about a partition is read as it stood at one moment.
        let mut ledger = Snapshot::begin(pool).await?;
        let row = ledger.partition(row.partition).await?;
        checks.push(check_partition(&mut ledger, clickhouse, key, catalogue, row).await?);
    }
    Ok(checks)
}

async fn check_partition(
    ledger: &mut Snapshot,
    clickhouse: &ClickHouseConfig,
    key: &HashKey,
    catalogue: &Catalogue,
    row: PartitionRow,
) -> Result<PartitionCheck, StoreError> {
    let mut found = PartitionCheck {
        partition: row.clone(),
        batches: 0,
        counts: Counts::default(),
        rejected_by: BTreeMap::new(),
        events: 0,
        usage_rows: 0,
        differences: Vec::new(),
        notes: Vec::new(),
    };
    let events = read_events(clickhouse, &row).await?;
    found.events = u64::try_from(events.len()).unwrap_or(u64::MAX);
    let deltas = check_chain(ledger, key, &row, &events, &mut found).await?;
    if row.projected_to < row.next_offset {
        found.notes.push(format!(
            "ClickHouse has been filled up to offset {}; content above it is checked once it has caught up",
            row.projected_to
        ));
    }
    let stored = read_usage(ledger, &row).await?;
    found.usage_rows = u64::try_from(stored.len()).unwrap_or(u64::MAX);
    compare("the batches", &deltas, &stored, &mut found);
    if row.projected_to >= row.folded_to {
        let again = count_again(key, catalogue, &events, row.folded_to);
        compare("ClickHouse's events", &again, &stored, &mut found);
    }
    if found.differences.len() > DIFFERENCES_MAX {
        let more = found.differences.len() - DIFFERENCES_MAX;
        found.differences.truncate(DIFFERENCES_MAX);
        found.differences.push(format!("and {more} more"));
    }
    Ok(found)
}

/// An accepted event, where it stands, and when it is taken to have happened.
struct RawEvent {
    offset: i64,
    event: UsageEvent,
    time: Timestamp,
}

/// Accepted events of a partition by offset.
async fn read_events(clickhouse: &ClickHouseConfig, row: &PartitionRow) -> Result<Vec<RawEvent>, StoreError> {
    let place = (row.partition, row.generation);
    let mut stream =
        Projection::new(clickhouse).read_events(None, place, row.first_offset, row.next_offset)?;
    let mut events = Vec::new();
    while let Some(stored) = stream.next().await? {
        let offset = stored.offset;
        let (event, time) = stored.into_event();
        events.push(RawEvent { offset, event, time });
    }
    Ok(events)
}

/// Walks the chain; returns what usage grew by up to `folded_to`.
async fn check_chain(
    ledger: &mut Snapshot,
    key: &HashKey,
    row: &PartitionRow,
    events: &[RawEvent],
    found: &mut PartitionCheck,
) -> Result<BTreeMap<UsageKey, Aggregate>, StoreError> {
    let mut usage = BTreeMap::new();
    let mut expected = row.first_offset;
    let mut events = events;
    loop {
        let page = ledger.batches(row.partition, row.generation, expected, PAGE).await?;
        if page.is_empty() {
            break;
        }
        for batch in &page {
            if batch.from != expected {
                found
                    .differences
                    .push(format!("the chain has a gap: offset {expected} is followed by {}", batch.from));
            }
            let end = events.partition_point(|event| event.offset < batch.to);
            let (inside, rest) = events.split_at(end);
            check_batch(key, row, batch, inside, found);
            events = rest;
            if batch.to <= row.folded_to {
                merge_deltas(&mut usage, batch.usage()?)
                    .map_err(|error| StoreError::corrupt("add up deltas", error))?;
            }
            expected = batch.to;
        }
    }
    if expected != row.next_offset {
        found
            .differences
            .push(format!("the chain ends at offset {expected}, but {} is next", row.next_offset));
    }
    Ok(usage)
}

fn check_batch(
    key: &HashKey,
    row: &PartitionRow,
    batch: &BatchRow,
    events: &[RawEvent],
    found: &mut PartitionCheck,
) {
    let place = format!("batch [{}, {})", batch.from, batch.to);
    found.batches += 1;
    add(&mut found.counts, &batch.counts);
    match decode_exceptions(batch.from, &batch.exceptions) {
        Err(error) => found.differences.push(format!("{place}: its exceptions cannot be read: {error}")),
        Ok(exceptions) => {
            let listed = tally(&exceptions, batch.counts.accepted);
            if listed != batch.counts {
                found
                    .differences
                    .push(format!("{place}: counts {:?}, but its exceptions say {listed:?}", batch.counts));
            }
        }
    }
    for (reason, count) in batch.rejected_by.as_object().into_iter().flatten() {
        *found.rejected_by.entry(reason.clone()).or_default() += count.as_u64().unwrap_or(0);
    }
    if batch.to > row.projected_to {
        return;
    }
    let mut sum = ContentSum::default();
    for event in events {
        sum.add(content_hash(key, &event.event, event.time));
    }
    let count = u64::try_from(events.len()).unwrap_or(u64::MAX);
    if count != batch.counts.accepted {
        found
            .differences
            .push(format!("{place}: {} events accepted, ClickHouse has {count}", batch.counts.accepted));
    } else if sum != batch.content_sum {
        found
            .differences
            .push(format!("{place}: content sum {}, ClickHouse's events have {sum}", batch.content_sum));
    }
}

fn add(total: &mut Counts, part: &Counts) {
    total.read += part.read;
    total.accepted += part.accepted;
    total.duplicate += part.duplicate;
    total.rejected += part.rejected;
    total.forwarded += part.forwarded;
    total.control += part.control;
}

fn tally(exceptions: &[Exception], accepted: u64) -> Counts {
    let mut counts = Counts { accepted, read: accepted, ..Counts::default() };
    for exception in exceptions {
        counts.read += 1;
        match exception.verdict {
            Verdict::Duplicate | Verdict::Conflict => counts.duplicate += 1,
            Verdict::Rejected(_) => counts.rejected += 1,
            Verdict::Forwarded => counts.forwarded += 1,
            Verdict::Control => counts.control += 1,
        }
    }
    counts
}

/// What usage rows say: quantity as text and count, so that all aggregations compare alike.
type Usage = BTreeMap<UsageKey, (String, u64)>;

async fn read_usage(ledger: &mut Snapshot, row: &PartitionRow) -> Result<Usage, StoreError> {
    let rows = ledger.usage(row.partition, row.generation).await?;
    Ok(rows.into_iter().map(|usage| (usage.key, (usage.quantity.to_string(), usage.event_count))).collect())
}

fn compare(
    source: &str,
    counted: &BTreeMap<UsageKey, Aggregate>,
    stored: &Usage,
    found: &mut PartitionCheck,
) {
    let keys: BTreeSet<&UsageKey> = counted.keys().chain(stored.keys()).collect();
    for key in keys {
        let again = counted.get(key).map(|usage| (usage.quantity().to_string(), usage.count()));
        let held = stored.get(key);
        if again.as_ref() != held {
            found.differences.push(format!(
                "usage of {} {} at {} {}: Postgres has {}, {source} make {}",
                key.tenant,
                key.meter,
                key.hour,
                key.dimensions,
                shown(held),
                shown(again.as_ref()),
            ));
        }
    }
}

fn shown(usage: Option<&(String, u64)>) -> String {
    usage.map_or_else(|| "nothing".to_owned(), |(quantity, count)| format!("{quantity} from {count} events"))
}

/// Counts events again, by offset, with the same bound on series.
fn count_again(
    key: &HashKey,
    catalogue: &Catalogue,
    events: &[RawEvent],
    below: i64,
) -> BTreeMap<UsageKey, Aggregate> {
    let mut usage: BTreeMap<UsageKey, Aggregate> = BTreeMap::new();
    let mut series: HashMap<(TenantId, MeterKey), BTreeSet<String>> = HashMap::new();
    let bound = usize::try_from(SERIES_MAX).unwrap_or(usize::MAX);
    for raw in events.iter().take_while(|raw| raw.offset < below) {
        let Ok(tenant) = TenantId::new(&raw.event.tenant) else { continue };
        let Some(facts) = catalogue.tenant(tenant.as_str()) else { continue };
        let buffer = EventBuffer::of(&raw.event);
        let Ok(measurements) = catalogue.measure(buffer.get(0), raw.time) else { continue };
        for measurement in measurements {
            let mut dimensions = measurement.dimensions();
            let known = series.entry((tenant.clone(), measurement.meter.key.clone())).or_default();
            let has_dimensions = dimensions != NO_DIMENSIONS;
            if has_dimensions && known.len() >= bound && !known.contains(&dimensions) {
                dimensions = OTHER_DIMENSIONS.to_owned();
            } else if has_dimensions {
                known.insert(dimensions.clone());
            }
            let at = UsageKey {
                tenant: tenant.clone(),
                meter: measurement.meter.key.clone(),
                hour: facts.alignment.hour_of(raw.time),
                dimensions,
            };
            let part = Aggregate::of(&measurement, key, raw.time, raw.offset);
            match usage.entry(at) {
                std::collections::btree_map::Entry::Vacant(entry) => {
                    entry.insert(part);
                }
                std::collections::btree_map::Entry::Occupied(mut entry) => {
                    // An overflow was refused when counting; here it shows as a difference.
                    let _ = entry.get_mut().merge(part);
                }
            }
        }
    }
    usage
}
