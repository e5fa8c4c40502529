//! The chain of batches, walked beside the raw events that it stands for.

use std::collections::{BTreeMap, VecDeque};

use weir_backends::StoreError;
use weir_backends::config::ClickHouseConfig;
use weir_backends::ledger::adjustment::AdjustedUsage;
use weir_backends::ledger_audit::{BatchRow, Snapshot};
use weir_core::Generation;
use weir_metering::aggregate::{Aggregate, UsageKey};
use weir_metering::outcome::{Counts, Exception, Verdict};
use weir_wire::batch_blob::decode_exceptions;

use super::PartitionCheck;
use super::usage::{Counted, Recounted, Series};
use crate::recount::{self, Compared, Found, Link, Meters, Missing, RawEvents, Reach};

/// Links read at a time.
const PAGE: i64 = 500;

/// Walks the chain through all generations; returns what usage grew by up to `folded_to`.
pub(super) async fn walk(
    ledger: &mut Snapshot,
    clickhouse: &ClickHouseConfig,
    meters: &Meters,
    series_max: u32,
    found: &mut PartitionCheck,
) -> Result<Counted, StoreError> {
    let row = &found.partition;
    let (partition, generation, next_offset) = (row.partition, row.generation, row.next_offset);
    let broker_time_max = row.broker_time_max;
    let projected = ledger.projected(partition).await?;
    let reach = Reach { generation, projected, broker_time_max, kept_ms: recount::kept_ms(clickhouse) };
    let adjusted = ledger.adjusted(partition).await?.into();
    let mut walk = Walk {
        meters,
        adjusted,
        reach,
        series: Series::new(series_max),
        usage: Counted::new(),
        missing: BTreeMap::new(),
        end: None,
        found,
    };
    let mut after = (Generation::MIN, i64::MIN);
    let mut events: Option<(Generation, RawEvents)> = None;
    loop {
        let page = ledger.batches_after(partition, after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = (last.generation, last.from);
        for batch in page {
            let events = match &mut events {
                Some((of, events)) if *of == batch.generation => events,
                _ => {
                    let below = if batch.generation == generation { next_offset } else { i64::MAX };
                    let place = (partition, batch.generation);
                    let opened = RawEvents::open(clickhouse, place, (batch.from, below)).await?;
                    &mut events.insert((batch.generation, opened)).1
                }
            };
            walk.batch(&batch, events).await?;
        }
    }
    Ok(walk.ended())
}

struct Walk<'a> {
    meters: &'a Meters,
    /// What adjustments added that stand beyond the batches that were walked.
    adjusted: VecDeque<AdjustedUsage>,
    reach: Reach,
    series: Series,
    usage: Counted,
    /// Events that are missing for a reason that proves nothing against the ledger.
    missing: BTreeMap<(Generation, Missing), u64>,
    /// Where the chain has come to.
    end: Option<(Generation, i64)>,
    found: &'a mut PartitionCheck,
}

impl Walk<'_> {
    async fn batch(&mut self, batch: &BatchRow, events: &mut RawEvents) -> Result<(), StoreError> {
        self.link(batch);
        let place = format!("batch [{}, {})", batch.from, batch.to);
        check_counts(&place, batch, self.found);
        let usage = batch.usage()?;
        let mut recounted = Recounted::new(&usage);
        let mut found = Found::default();
        while let Some(event) = events.next_below(batch.to).await? {
            let offset = event.offset;
            if offset < batch.from {
                self.found.differs(format!("raw event {offset}: no batch covers it"));
                continue;
            }
            let series = &mut self.series;
            if let Err(error) = self.meters.measure(event, &mut found, |part| recounted.add(part, series)) {
                self.found.differs(format!("raw event {offset}: {error}"));
            }
        }
        self.found.events += found.count;
        self.adjust(batch, &mut recounted);
        // Above it are rows of whoever counted before a ledger was restored, perhaps.
        if !self.is_unprojected(batch) {
            self.compare(&place, &Link::of(batch), &found, &recounted);
        }
        self.add(batch, usage)
    }

    /// Adds what the adjustments within a batch changed.
    fn adjust(&mut self, batch: &BatchRow, recounted: &mut Recounted<'_>) {
        let end = (batch.generation, batch.to);
        while let Some(row) = self.adjusted.pop_front_if(|row| (row.generation, row.offset) < end) {
            if (row.generation, row.offset) < (batch.generation, batch.from) {
                self.found.differs(format!("the adjustment at {}: no batch covers it", row.offset));
                continue;
            }
            let usage = recount::adjusted(&self.meters.catalogue, &row);
            recounted.add_adjusted(row.key, usage, &mut self.series);
        }
    }

    fn is_unprojected(&self, batch: &BatchRow) -> bool {
        batch.generation == self.reach.generation && batch.to > self.found.partition.projected_to
    }

    fn link(&mut self, batch: &BatchRow) {
        let first = (self.found.partition.generation, self.found.partition.first_offset);
        let expected = match self.end {
            Some((generation, end)) if generation == batch.generation => Some(end),
            _ => (batch.generation == first.0).then_some(first.1),
        };
        if let Some(expected) = expected
            && expected != batch.from
        {
            let from = batch.from;
            self.found.differs(format!("the chain has a gap: offset {expected} is followed by {from}"));
        }
        self.end = Some((batch.generation, batch.to));
    }

    fn compare(&mut self, place: &str, link: &Link, found: &Found, recounted: &Recounted<'_>) {
        match found.compare(link, &self.reach) {
            Compared::Same => recounted.compare(place, self.found),
            Compared::Missing(_, Missing::Lost) => {
                let (accepted, there) = (link.accepted_count, found.count);
                self.found.differs(format!("{place}: {accepted} events accepted, ClickHouse has {there}"));
            }
            Compared::Missing(count, why) => {
                *self.missing.entry((link.generation, why)).or_default() += count
            }
            Compared::Differs => self.found.differs(format!("{place}: {}", found.difference(link))),
        }
    }

    fn add(&mut self, batch: &BatchRow, usage: BTreeMap<UsageKey, Aggregate>) -> Result<(), StoreError> {
        let row = &self.found.partition;
        if batch.generation == row.generation && batch.to > row.folded_to {
            return Ok(());
        }
        for (key, part) in usage {
            match self.usage.entry((batch.generation, key)) {
                std::collections::btree_map::Entry::Vacant(entry) => drop(entry.insert(part)),
                std::collections::btree_map::Entry::Occupied(mut entry) => entry
                    .get_mut()
                    .merge(part)
                    .map_err(|error| StoreError::corrupt("add up the batches' usage", error))?,
            }
        }
        Ok(())
    }

    /// What is to be said at the end of the chain.
    fn ended(self) -> Counted {
        let row = self.found.partition.clone();
        let end = self.end.filter(|(generation, _)| *generation == row.generation);
        let end = end.map_or(row.first_offset, |(_, end)| end);
        if end != row.next_offset {
            self.found.differs(format!("the chain ends at offset {end}, but {} is next", row.next_offset));
        }
        if let Some(beyond) = self.adjusted.front() {
            self.found.differs(format!("the adjustment at {}: no batch covers it", beyond.offset));
        }
        let notes = &mut self.found.notes;
        if row.projected_to < row.next_offset {
            notes.push(format!(
                "ClickHouse has been filled up to offset {}; content above it is checked once it has caught up",
                row.projected_to
            ));
        }
        for ((generation, why), count) in &self.missing {
            let of = if *generation == row.generation {
                String::new()
            } else {
                format!(" of generation {generation}")
            };
            let why = match why {
                Missing::Expired => "have expired",
                Missing::Abandoned | Missing::Unprojected | Missing::Lost => {
                    "were not in ClickHouse yet when their topic was given up"
                }
            };
            notes.push(format!("{count} raw events{of} {why}: their usage rests on the batches alone"));
        }
        if self.series.is_below_bound() {
            notes.push(
                "usage stands under `other` though there is room now: counting.series_max was lower once"
                    .to_owned(),
            );
        }
        self.usage
    }
}

fn check_counts(place: &str, batch: &BatchRow, found: &mut PartitionCheck) {
    found.batches += 1;
    add(&mut found.counts, &batch.counts);
    match decode_exceptions(batch.from, &batch.exceptions) {
        Err(error) => found.differs(format!("{place}: its exceptions cannot be read: {error}")),
        Ok(exceptions) => {
            let listed = tally(&exceptions, batch.counts.accepted);
            if listed != batch.counts {
                let counts = &batch.counts;
                found.differs(format!("{place}: counts {counts:?}, but its exceptions say {listed:?}"));
            }
        }
    }
    for (reason, count) in batch.rejected_by.as_object().into_iter().flatten() {
        *found.rejected_by.entry(reason.clone()).or_default() += count.as_u64().unwrap_or(0);
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
