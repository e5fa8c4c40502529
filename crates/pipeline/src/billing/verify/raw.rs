//! What the raw events say: each is metered again by the catalogue, and their content sums
//! are compared with the chain's. [`crate::recount`] does both, here for the documents' cuts.
//!
//! All partitions are read in one pass and in no order: sums, maxima and sets are the same in any,
//! and in ClickHouse the events of a partition stand among those of all others.

use std::collections::{BTreeMap, BTreeSet};

use weir_backends::StoreError;
use weir_backends::config::ClickHouseConfig;
use weir_backends::projection::{Projection, StoredEvent};
use weir_core::{Generation, Partition, Position};
use weir_metering::aggregate::UsageKey;

use super::count::{Cuts, Totals};
use super::ledger::Ledger;
use crate::recount::{self, Compared, Found, Link, Meters, Missing, Reach};
use crate::told::Told;

/// Differences that are listed of one partition, the first by position; the rest is counted.
const LISTED_MAX: usize = 20;
/// After how many events who waits is told.
const TOLD_AFTER: u64 = 10_000;

/// What the raw events of one partition come to.
#[derive(Debug)]
pub(super) struct Raw<'a> {
    /// Metered again.
    pub(super) totals: Totals<'a>,
    /// Batches of which raw events are missing: first position, how many, why.
    missing: Vec<(Position, u64, Missing)>,
    /// Why they could not be read at all.
    pub(super) unreadable: Option<String>,
    /// What differs from the chain, and where.
    problems: BTreeSet<(Position, String)>,
    /// Further differences.
    unlisted: u64,
}

impl<'a> Raw<'a> {
    fn new(cuts: &'a Cuts) -> Self {
        Self {
            totals: Totals::new(cuts),
            missing: Vec::new(),
            unreadable: None,
            problems: BTreeSet::new(),
            unlisted: 0,
        }
    }

    /// How many accepted events below a cut are missing, and the worst reason.
    pub(super) fn missing_below(&self, cut: Position) -> Option<(u64, Missing)> {
        let below = || self.missing.iter().filter(|(at, _, _)| *at < cut);
        let worst = below().map(|(_, _, why)| *why).max()?;
        Some((below().map(|(_, count, _)| count).sum(), worst))
    }

    /// Events that had been in ClickHouse and are not any more, though they have not expired.
    pub(super) fn lost(&self, partition: Partition) -> Option<String> {
        let lost = || self.missing.iter().filter(|(_, _, why)| *why == Missing::Lost);
        let (first, _, _) = lost().next()?;
        let (events, batches) = (lost().map(|(_, count, _)| count).sum::<u64>(), lost().count());
        Some(format!(
            "partition {partition}: {events} raw events of {batches} batches, from {first} on, are missing in ClickHouse, which had been filled with them: they were lost or dropped, not expired"
        ))
    }

    /// What differs from the chain, in words.
    pub(super) fn problems(&self) -> impl Iterator<Item = String> {
        let listed = self.problems.iter().map(|(_, text)| text.clone());
        let rest =
            (self.unlisted > 0).then(|| format!("… and {} further differences of raw events", self.unlisted));
        listed.chain(rest)
    }

    fn problem(&mut self, at: Position, text: String) {
        self.problems.insert((at, text));
        if self.problems.len() > LISTED_MAX {
            self.problems.pop_last();
            self.unlisted += 1;
        }
    }

    /// What adjustments added stands beside the raw events.
    fn adjust(&mut self, partition: Partition, ledger: &Ledger<'_>, meters: &Meters) {
        for row in &ledger.adjusted {
            let UsageKey { tenant, meter, hour, .. } = &row.key;
            let at = Position { generation: row.generation, partition, offset: row.offset };
            let usage = recount::adjusted(&meters.catalogue, row);
            if let Err(error) = self.totals.add(tenant.as_str(), meter, *hour, at, &usage) {
                self.problem(at, format!("the adjustment at {at}: {error}"));
            }
        }
    }
}

/// Reads the raw events that the chains of partitions stand for; with no ClickHouse, none.
pub(super) async fn read<'a>(
    clickhouse: Option<&ClickHouseConfig>,
    (ledgers, cuts): (&BTreeMap<Partition, Ledger<'_>>, &'a BTreeMap<Partition, Cuts>),
    meters: &Meters,
    told: &dyn Told,
) -> BTreeMap<Partition, Raw<'a>> {
    let mut raws: BTreeMap<_, _> =
        cuts.iter().map(|(partition, cuts)| (*partition, Raw::new(cuts))).collect();
    let Some(clickhouse) = clickhouse else { return raws };
    let mut chains = Chains::new();
    for ((partition, ledger), raw) in ledgers.iter().zip(raws.values_mut()) {
        raw.adjust(*partition, ledger, meters);
        for links in ledger.batches.chunk_by(|one, next| one.generation == next.generation) {
            chains.insert((links[0].generation, *partition), Chain::new(links));
        }
    }
    if let Err(error) = count(clickhouse, (&mut chains, &mut raws), meters, told).await {
        raws.values_mut().for_each(|raw| raw.unreadable = Some(error.to_string()));
        return raws;
    }
    for ((generation, partition), chain) in &chains {
        let (Some(ledger), Some(raw)) = (ledgers.get(partition), raws.get_mut(partition)) else { continue };
        let reach = Reach {
            generation: ledger.projected_to.generation,
            projected: ledger.projected.clone(),
            broker_time_max: ledger.broker_time_max,
            kept_ms: recount::kept_ms(clickhouse),
        };
        let at = |offset| Position { generation: *generation, partition: *partition, offset };
        chain.compare(at, &reach, raw);
    }
    raws
}

/// Counts every raw event with the batch that it belongs to.
async fn count(
    clickhouse: &ClickHouseConfig,
    (chains, raws): (&mut Chains<'_>, &mut BTreeMap<Partition, Raw<'_>>),
    meters: &Meters,
    told: &dyn Told,
) -> Result<(), StoreError> {
    let ends = chains.iter().map(|((generation, partition), chain)| Position {
        generation: *generation,
        partition: *partition,
        offset: chain.end(),
    });
    let mut events = Projection::new(clickhouse).scan_events(&ends.collect::<Vec<_>>())?;
    let accepted = chains.values().flat_map(|chain| chain.links).map(|link| link.accepted_count).sum();
    let mut read = 0;
    while let Some(row) = events.next().await? {
        if read % TOLD_AFTER == 0 {
            told.told("raw events read", read, Some(accepted));
        }
        read += 1;
        let place = (row.generation, row.partition);
        if let (Some(chain), Some(raw)) = (chains.get_mut(&place), raws.get_mut(&row.partition)) {
            chain.count(row, raw, meters);
        }
    }
    Ok(())
}

type Chains<'a> = BTreeMap<(Generation, Partition), Chain<'a>>;

/// The batches of a partition in one generation, and what the raw events of each come to.
struct Chain<'a> {
    /// By rising offset, at least one.
    links: &'a [Link],
    found: Vec<Found>,
}

impl<'a> Chain<'a> {
    fn new(links: &'a [Link]) -> Self {
        Self { links, found: vec![Found::default(); links.len()] }
    }

    /// The offset behind the last batch.
    fn end(&self) -> i64 {
        self.links.last().map_or(i64::MIN, |link| link.to)
    }

    fn count(&mut self, row: StoredEvent, raw: &mut Raw<'_>, meters: &Meters) {
        let at = Position { generation: row.generation, partition: row.partition, offset: row.offset };
        let place = self.links.partition_point(|link| link.to <= row.offset);
        let Some((link, found)) = self.links.get(place).zip(self.found.get_mut(place)) else { return };
        if row.offset < link.from {
            raw.problem(at, format!("raw event {at}: no batch of the ledger covers it"));
            return;
        }
        let mut overflows = Vec::new();
        let measured = meters.measure(row, found, |part| {
            let meter = &part.measurement.meter.key;
            overflows.extend(raw.totals.add(part.tenant, meter, part.hour, at, &part.usage).err());
        });
        for error in measured.err().into_iter().chain(overflows.iter().map(ToString::to_string)) {
            raw.problem(at, format!("raw event {at}: {error}"));
        }
    }

    fn compare(&self, at: impl Fn(i64) -> Position, reach: &Reach, raw: &mut Raw<'_>) {
        for (link, found) in self.links.iter().zip(&self.found) {
            let from = at(link.from);
            match found.compare(link, reach) {
                Compared::Same => {}
                Compared::Missing(count, why) => raw.missing.push((from, count, why)),
                Compared::Differs => {
                    let Position { generation, partition, offset } = from;
                    let batch = format!("batch {generation}/{partition}/[{offset}, {})", link.to);
                    raw.problem(from, format!("{batch}: {}", found.difference(link)));
                }
            }
        }
    }
}
