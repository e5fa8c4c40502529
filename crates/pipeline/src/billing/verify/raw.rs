//! What the raw events say: each is metered again by the catalogue, and their content sums
//! are compared with the chain's.
//!
//! An event that the chain accepted and ClickHouse does not have is missing for one of three
//! reasons, which are told apart by the ledger and the configuration, never by a guess.

use std::collections::{BTreeSet, HashMap};

use weir_backends::StoreError;
use weir_backends::config::ClickHouseConfig;
use weir_backends::projection::{EventRow, Projection};
use weir_core::time::DAY_MS;
use weir_core::{ContentSum, Generation, HashKey, HourAlignment, Partition, Position};
use weir_metering::aggregate::Aggregate;
use weir_metering::catalogue::Catalogue;
use weir_metering::event::EventBuffer;
use weir_metering::identity::content_hash;

use super::count::{Cuts, Totals};
use super::ledger::{Ledger, Link};

/// Differences that are listed of one kind; the rest is counted.
const LISTED_MAX: usize = 20;

/// What events are metered by.
#[derive(Debug)]
pub(super) struct Meters {
    pub(super) catalogue: Catalogue,
    /// Where the hours of the tenants begin whose documents are proved; others are not metered.
    pub(super) alignments: HashMap<String, HourAlignment>,
    pub(super) key: HashKey,
}

/// What the raw events of one partition come to.
#[derive(Debug)]
pub(super) struct Raw<'a> {
    /// Metered again.
    pub(super) totals: Totals<'a>,
    /// Batches of which raw events are missing: first position, how many, why.
    missing: Vec<(Position, u64, Missing)>,
    /// Why they could not be read at all.
    pub(super) unreadable: Option<String>,
    /// What differs from the chain.
    pub(super) problems: Vec<String>,
}

/// Why raw events are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Missing {
    /// They are older than raw events are kept.
    Expired,
    /// ClickHouse has not been filled that far yet.
    Unprojected,
    /// ClickHouse had been filled with them, and they have not expired.
    Lost,
}

impl Missing {
    fn of(link: &Link, at: Position, ledger: &Ledger<'_>, kept_ms: Option<i64>) -> Self {
        let end = Position { offset: link.to, ..at };
        if kept_ms.is_some_and(|kept| link.broker_time_max.plus_millis(kept) < ledger.broker_time_max) {
            Self::Expired
        } else if end > ledger.projected_to {
            Self::Unprojected
        } else {
            Self::Lost
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Found {
    count: u64,
    sum: ContentSum,
}

impl Raw<'_> {
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

    fn problem(&mut self, text: String) {
        if self.problems.len() < LISTED_MAX {
            self.problems.push(text);
        } else if self.problems.len() == LISTED_MAX {
            self.problems.push("… and further differences of raw events".to_owned());
        }
    }
}

/// Reads the raw events that the chain of a partition stands for; with no ClickHouse, none.
pub(super) async fn read<'a>(
    clickhouse: Option<&ClickHouseConfig>,
    partition: Partition,
    ledger: &Ledger<'_>,
    cuts: &'a Cuts,
    meters: &Meters,
) -> Raw<'a> {
    let mut raw =
        Raw { totals: Totals::new(cuts), missing: Vec::new(), unreadable: None, problems: Vec::new() };
    let Some(clickhouse) = clickhouse else { return raw };
    let kept_ms = clickhouse.events_kept_days.map(|days| i64::from(days) * DAY_MS);
    let generations: BTreeSet<Generation> = ledger.batches.iter().map(|link| link.generation).collect();
    for generation in generations {
        let links: Vec<Link> =
            ledger.batches.iter().filter(|link| link.generation == generation).copied().collect();
        let counting = Counting { partition, generation, links: &links, meters };
        match counting.count(clickhouse, &mut raw).await {
            Ok(found) => counting.compare(&found, (ledger, kept_ms), &mut raw),
            Err(error) => {
                raw.unreadable = Some(error.to_string());
                return raw;
            }
        }
    }
    raw
}

struct Counting<'a> {
    partition: Partition,
    generation: Generation,
    /// By rising offset.
    links: &'a [Link],
    meters: &'a Meters,
}

impl Counting<'_> {
    async fn count(
        &self,
        clickhouse: &ClickHouseConfig,
        raw: &mut Raw<'_>,
    ) -> Result<Vec<Found>, StoreError> {
        let mut found = vec![Found::default(); self.links.len()];
        let below = self.links.last().map_or(0, |link| link.to);
        let projection = Projection::new(clickhouse);
        let mut events = projection.read_events(None, (self.partition, self.generation), i64::MIN, below)?;
        while let Some(row) = events.next().await? {
            let position =
                Position { generation: row.generation, partition: row.partition, offset: row.offset };
            let after = self.links.partition_point(|link| link.from <= position.offset);
            let at = after.checked_sub(1).filter(|at| position.offset < self.links[*at].to);
            let Some(at) = at else {
                raw.problem(format!("raw event {position}: no batch of the ledger covers it"));
                continue;
            };
            found[at].count += 1;
            self.measure(row, position, &mut found[at].sum, raw);
        }
        Ok(found)
    }

    fn measure(&self, row: EventRow, position: Position, sum: &mut ContentSum, raw: &mut Raw<'_>) {
        let (event, time) = row.into_event();
        let Meters { catalogue, alignments, key } = self.meters;
        sum.add(content_hash(key, &event, time));
        let Some(alignment) = alignments.get(&event.tenant) else { return };
        let hour = alignment.hour_of(time);
        let buffer = EventBuffer::of(&event);
        let measurements = match catalogue.measure(buffer.get(0), time) {
            Ok(measurements) => measurements,
            Err(error) => return raw.problem(format!("raw event {position}: {error}")),
        };
        for measurement in measurements {
            let usage = Aggregate::of(&measurement, key, time, position.offset);
            let counted = raw.totals.add(&event.tenant, &measurement.meter.key, hour, position, &usage);
            if let Err(error) = counted {
                raw.problem(format!("raw event {position}: {error}"));
            }
        }
    }

    fn compare(&self, found: &[Found], (ledger, kept_ms): (&Ledger<'_>, Option<i64>), raw: &mut Raw<'_>) {
        for (link, found) in self.links.iter().zip(found) {
            let (generation, partition) = (self.generation, self.partition);
            let batch = format!("batch {generation}/{partition}/[{}, {})", link.from, link.to);
            if found.count < link.accepted_count {
                let at = Position { generation, partition, offset: link.from };
                let why = Missing::of(link, at, ledger, kept_ms);
                raw.missing.push((at, link.accepted_count - found.count, why));
            } else if found.count > link.accepted_count {
                let (more, accepted) = (found.count, link.accepted_count);
                raw.problem(format!("{batch}: {more} raw events, the ledger accepted {accepted}"));
            } else if found.sum != link.content_sum {
                let (events, ledger) = (found.sum, link.content_sum);
                raw.problem(format!(
                    "{batch}: an event was changed: the raw events sum to {events}, the ledger says {ledger}"
                ));
            }
        }
    }
}
