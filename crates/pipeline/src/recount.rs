//! Counting again from raw events, for whoever proves what was counted: a document, or the
//! ledger itself. An event is metered as the catalogue says, and what a batch's raw events
//! come to is compared with what its row says.
//!
//! Written apart from the shard: it judges no event, only what was accepted. That something
//! is missing in ClickHouse has one of four reasons, which are told apart by the ledger and
//! the configuration, never by a guess.

use std::collections::{BTreeMap, HashMap};

use weir_backends::StoreError;
use weir_backends::config::ClickHouseConfig;
use weir_backends::ledger::adjustment::AdjustedUsage;
use weir_backends::ledger_audit::BatchRow;
use weir_backends::projection::{EventCursor, Projection, StoredEvent};
use weir_core::time::DAY_MS;
use weir_core::{ContentSum, Generation, HashKey, HourAlignment, Partition, Quantity, Timestamp};
use weir_metering::aggregate::Aggregate;
use weir_metering::catalogue::Catalogue;
use weir_metering::event::{EventBuffer, EventHasher};
use weir_metering::measure::Measurement;
use weir_metering::meter::Aggregation;

/// What events are metered by.
#[derive(Debug)]
pub(crate) struct Meters {
    pub(crate) catalogue: Catalogue,
    /// Where the hours of the tenants begin; events of others are not metered.
    pub(crate) alignments: HashMap<String, HourAlignment>,
    key: HashKey,
    hasher: EventHasher,
}

/// What one measurement of an event adds to usage.
#[derive(Debug)]
pub(crate) struct Part<'a> {
    pub(crate) tenant: &'a str,
    pub(crate) measurement: &'a Measurement<'a>,
    pub(crate) hour: Timestamp,
    pub(crate) usage: Aggregate,
}

/// What an adjustment added, as the batches' deltas have it. A row that says of a count another
/// quantity than number of events is no count, and differs from every delta.
pub(crate) fn adjusted(catalogue: &Catalogue, row: &AdjustedUsage) -> Aggregate {
    let AdjustedUsage { key, quantity, event_count: count, .. } = row;
    let counts =
        catalogue.meters().any(|meter| meter.key == key.meter && meter.aggregation == Aggregation::Count);
    if counts && *quantity == Quantity::from_units(*count) {
        Aggregate::Count { count: *count }
    } else {
        Aggregate::Sum { quantity: *quantity, count: *count }
    }
}

impl Meters {
    /// The meters of a catalogue, and the key of an installation's content sums.
    pub(crate) fn new(
        catalogue: Catalogue,
        alignments: HashMap<String, HourAlignment>,
        key: HashKey,
    ) -> Self {
        Self { catalogue, alignments, key, hasher: EventHasher::new(&key) }
    }

    /// Adds a raw event to what was found of its batch, and hands over what it adds to usage.
    ///
    /// # Errors
    /// In words: it cannot be metered, so it was not accepted as it stands there.
    pub(crate) fn measure(
        &self,
        row: StoredEvent,
        found: &mut Found,
        mut each: impl FnMut(Part<'_>),
    ) -> Result<(), String> {
        let offset = row.offset;
        let (event, time) = row.into_event();
        let buffer = EventBuffer::of(&event);
        let mut timed = buffer.get(0);
        timed.time = Some(time);
        found.count += 1;
        found.sum.add(self.hasher.hashes(timed, time).content);
        let Some(alignment) = self.alignments.get(&event.tenant) else { return Ok(()) };
        let measurements = self.catalogue.measure(timed, time).map_err(|error| error.to_string())?;
        for measurement in &measurements {
            let usage = Aggregate::of(measurement, &self.key, time, offset);
            each(Part { tenant: &event.tenant, measurement, hour: alignment.hour_of(time), usage });
        }
        Ok(())
    }
}

/// Raw events of one partition and generation, by rising offset, as they are needed.
#[derive(Debug)]
pub(crate) struct RawEvents {
    cursor: EventCursor,
    next: Option<StoredEvent>,
}

impl RawEvents {
    /// Asks for those below an offset.
    pub(crate) async fn open(
        clickhouse: &ClickHouseConfig,
        place: (Partition, Generation),
        (from, below): (i64, i64),
    ) -> Result<Self, StoreError> {
        let mut cursor = Projection::new(clickhouse).read_events(None, place, from, below)?;
        let next = cursor.next().await?;
        Ok(Self { cursor, next })
    }

    /// The next event, if it stands below `to`.
    pub(crate) async fn next_below(&mut self, to: i64) -> Result<Option<StoredEvent>, StoreError> {
        if self.next.as_ref().is_none_or(|event| event.offset >= to) {
            return Ok(None);
        }
        let following = self.cursor.next().await?;
        Ok(std::mem::replace(&mut self.next, following))
    }
}

/// A batch, as far as raw events are compared with it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    pub(crate) generation: Generation,
    pub(crate) from: i64,
    pub(crate) to: i64,
    pub(crate) accepted_count: u64,
    pub(crate) content_sum: ContentSum,
    pub(crate) broker_time_max: Timestamp,
}

impl Link {
    pub(crate) fn of(batch: &BatchRow) -> Self {
        Self {
            generation: batch.generation,
            from: batch.from,
            to: batch.to,
            accepted_count: batch.counts.accepted,
            content_sum: batch.content_sum,
            broker_time_max: batch.broker_time_max,
        }
    }
}

/// How far a partition has come, and how long its raw events are kept.
#[derive(Clone, Debug)]
pub(crate) struct Reach {
    /// The present generation.
    pub(crate) generation: Generation,
    /// ClickHouse was filled with everything below, by generation.
    pub(crate) projected: BTreeMap<Generation, i64>,
    /// How far the journal's time has come.
    pub(crate) broker_time_max: Timestamp,
    /// Older raw events may be gone.
    pub(crate) kept_ms: Option<i64>,
}

/// How long raw events are kept.
pub(crate) fn kept_ms(clickhouse: &ClickHouseConfig) -> Option<i64> {
    clickhouse.events_kept_days.map(|days| i64::from(days) * DAY_MS)
}

/// Why raw events are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Missing {
    /// They are older than raw events are kept.
    Expired,
    /// ClickHouse had not been filled that far when another topic took the place of theirs.
    Abandoned,
    /// ClickHouse has not been filled that far yet.
    Unprojected,
    /// ClickHouse had been filled with them, and they have not expired.
    Lost,
}

/// What the raw events of a batch come to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Found {
    pub(crate) count: u64,
    pub(crate) sum: ContentSum,
}

/// How the raw events of a batch compare with its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compared {
    /// They are the accepted ones.
    Same,
    /// So many are not there.
    Missing(u64, Missing),
    /// There are others than the accepted ones.
    Differs,
}

impl Found {
    pub(crate) fn compare(&self, link: &Link, reach: &Reach) -> Compared {
        if self.count < link.accepted_count {
            return Compared::Missing(link.accepted_count - self.count, reach.missing(link));
        }
        let same = self.count == link.accepted_count && self.sum == link.content_sum;
        if same { Compared::Same } else { Compared::Differs }
    }

    /// What differs, in words.
    pub(crate) fn difference(&self, link: &Link) -> String {
        if self.count == link.accepted_count {
            let (events, ledger) = (self.sum, link.content_sum);
            return format!("an event was changed: the raw events sum to {events}, the ledger says {ledger}");
        }
        format!("{} raw events, the ledger accepted {}", self.count, link.accepted_count)
    }
}

impl Reach {
    fn missing(&self, link: &Link) -> Missing {
        let was_filled = self.projected.get(&link.generation).is_none_or(|filled| link.to <= *filled);
        if self.kept_ms.is_some_and(|kept| link.broker_time_max.plus_millis(kept) < self.broker_time_max) {
            Missing::Expired
        } else if was_filled {
            Missing::Lost
        } else if link.generation < self.generation {
            Missing::Abandoned
        } else {
            Missing::Unprojected
        }
    }
}
