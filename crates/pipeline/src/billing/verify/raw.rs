//! What the raw events say: each is metered again by the catalogue, and their content sums
//! are compared with the chain's. [`crate::recount`] does both, here for the documents' cuts.

use std::collections::BTreeSet;

use weir_backends::StoreError;
use weir_backends::config::ClickHouseConfig;
use weir_core::{Generation, Partition, Position};
use weir_metering::aggregate::UsageKey;

use super::count::{Cuts, Totals};
use super::ledger::Ledger;
use crate::recount::{self, Compared, Found, Link, Meters, Missing, RawEvents, Reach};

/// Differences that are listed of one kind; the rest is counted.
const LISTED_MAX: usize = 20;

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
    let reach = Reach {
        generation: ledger.projected_to.generation,
        projected: ledger.projected.clone(),
        broker_time_max: ledger.broker_time_max,
        kept_ms: recount::kept_ms(clickhouse),
    };
    for row in &ledger.adjusted {
        let UsageKey { tenant, meter, hour, .. } = &row.key;
        let position = Position { generation: row.generation, partition, offset: row.offset };
        let usage = recount::adjusted(&meters.catalogue, row);
        if let Err(error) = raw.totals.add(tenant.as_str(), meter, *hour, position, &usage) {
            raw.problem(format!("the adjustment at {position}: {error}"));
        }
    }
    let generations: BTreeSet<Generation> = ledger.batches.iter().map(|link| link.generation).collect();
    for generation in generations {
        let links: Vec<Link> =
            ledger.batches.iter().filter(|link| link.generation == generation).copied().collect();
        let counting = Counting { partition, generation, links: &links, meters };
        match counting.count(clickhouse, &mut raw).await {
            Ok(found) => counting.compare(&found, &reach, &mut raw),
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
        let place = (self.partition, self.generation);
        let mut events = RawEvents::open(clickhouse, place, (i64::MIN, below)).await?;
        for (link, found) in self.links.iter().zip(&mut found) {
            while let Some(row) = events.next_below(link.to).await? {
                let position = self.position(row.offset);
                if row.offset < link.from {
                    raw.problem(format!("raw event {position}: no batch of the ledger covers it"));
                    continue;
                }
                let mut overflows = Vec::new();
                let measured = self.meters.measure(row, found, |part| {
                    let meter = &part.measurement.meter.key;
                    let counted = raw.totals.add(part.tenant, meter, part.hour, position, &part.usage);
                    overflows.extend(counted.err());
                });
                for error in measured.err().into_iter().chain(overflows.iter().map(ToString::to_string)) {
                    raw.problem(format!("raw event {position}: {error}"));
                }
            }
        }
        Ok(found)
    }

    fn position(&self, offset: i64) -> Position {
        Position { generation: self.generation, partition: self.partition, offset }
    }

    fn compare(&self, found: &[Found], reach: &Reach, raw: &mut Raw<'_>) {
        for (link, found) in self.links.iter().zip(found) {
            match found.compare(link, reach) {
                Compared::Same => {}
                Compared::Missing(count, why) => raw.missing.push((self.position(link.from), count, why)),
                Compared::Differs => raw.problem(format!(
                    "batch {}/{}/[{}, {}): {}",
                    self.generation,
                    self.partition,
                    link.from,
                    link.to,
                    found.difference(link)
                )),
            }
        }
    }
}
