//! The shard: everything that is counted in one partition, as a state machine.
//!
//! `apply(batch) -> Outcome` takes the records in offset order and returns what must
//! happen; it does nothing itself. Where batches are cut never matters (invariant 5):
//! exceptions, accepted events, dead letters, forwards, alerts, limits and adjustments of two batches
//! are those of the joined batch one after the other, counts and content sums add up,
//! deltas merge. Levels alone are the state at the end of a batch: of each tenant and
//! meter the last one is the same, whatever the cuts.
//!
//! `apply` changes the shard. When its outcome can not be committed, the shard is dropped
//! and built again from the ledger with [`Recovered`] and [`Shard::remember`]. Alerts that
//! a rebuilt shard raises again have the ids that they had before.

mod adjust;
mod agenda;
mod ahead;
mod alarm;
mod count;
mod judge;
mod limits;
mod memory;
mod names;
mod series;
mod tenant;
mod work;

use std::collections::HashSet;

use weir_core::time::DAY_MS;
use weir_core::{Generation, Hash128, HashKey, Partition, Position, Span, TenantId, Timestamp};

use crate::adjustment::Adjustment;
use crate::aggregate::Aggregate;
use crate::catalogue::Catalogue;
use crate::event::{EventHasher, EventRef};
use crate::identity::Identities;
use crate::meter::MeterKey;
use crate::outcome::Outcome;
use crate::quota::{LimitSet, QuotaLevel};
use crate::record::{Batch, BodyRef, RecordBody, RecordRef};

pub use judge::HOPS_MAX;

use agenda::Agenda;
use ahead::{Prepared, RECORDS_AHEAD};
use alarm::HeldLimit;
use series::{Owner, SeriesTable};
use tenant::Tenants;
use work::{At, Work};

/// How long after its first arrival an id is unique, and how far back events are taken: 35 days.
pub const WINDOW_MS: i64 = 35 * DAY_MS;
/// How far ahead of the journal's time events are taken: one hour.
pub const FUTURE_MS: i64 = weir_core::time::HOUR_MS;
/// How many series one tenant may have on one meter.
pub const SERIES_MAX: u32 = 10_000;

/// Which partition a shard counts, and its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardConfig {
    /// Which life of the topic.
    pub generation: Generation,
    /// Which partition.
    pub partition: Partition,
    /// How far back events are taken, in milliseconds; [`WINDOW_MS`] unless configured.
    pub window_ms: i64,
    /// How far ahead events are taken, in milliseconds; [`FUTURE_MS`] unless configured.
    pub future_ms: i64,
    /// How many series a tenant may have on a meter; [`SERIES_MAX`] unless configured.
    pub series_max: u32,
}

/// What the ledger knows of a partition when it is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// The first offset that is not committed.
    pub next_offset: i64,
    /// The running maximum of broker time below it.
    pub broker_time_max: Timestamp,
    /// The limits in force, one set a tenant.
    pub limits: Vec<LimitSet>,
    /// Usage by billing period: all periods that end later than window and future bound ago.
    pub totals: Vec<PeriodTotal>,
    /// Every series ever counted: tenant, meter, and dimensions as in a usage key.
    pub series: Vec<(TenantId, MeterKey, String)>,
    /// Every adjustment ever counted: tenant and id.
    pub adjustments: Vec<(TenantId, String)>,
}

/// A tenant's usage of a meter in one billing period, all dimensions together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeriodTotal {
    /// Whose.
    pub tenant: TenantId,
    /// Which meter.
    pub meter: MeterKey,
    /// Which billing period.
    pub period: Span,
    /// The usage.
    pub aggregate: Aggregate,
}

/// All that is remembered of one partition.
#[derive(Debug)]
pub struct Shard {
    config: ShardConfig,
    key: HashKey,
    hasher: EventHasher,
    next_offset: i64,
    broker_time_max: Timestamp,
    identities: Identities,
    tenants: Tenants,
    series: SeriesTable,
    /// The adjustments that were counted. They are few, and never forgotten.
    adjusted: HashSet<Hash128>,
    agenda: Agenda,
    catalogue_version: Option<i64>,
    /// The numbers of meters here by their numbers in the catalogue.
    meters_by_slot: Vec<u32>,
}

impl Shard {
    /// A shard as it stood at `recovered.next_offset`, except for the identities, which
    /// follow with [`Shard::remember`]. A new partition has the default [`Recovered`].
    pub fn new(config: ShardConfig, key: HashKey, recovered: Recovered) -> Self {
        let mut identities = Identities::new(config.window_ms, config.future_ms, recovered.next_offset);
        identities.advance(recovered.broker_time_max);
        let adjusted = recovered.adjustments.iter();
        let adjusted = adjusted.map(|(tenant, id)| Adjustment::identity(&key, tenant, id)).collect();
        let mut shard = Self {
            config,
            key,
            hasher: EventHasher::new(&key),
            next_offset: recovered.next_offset,
            broker_time_max: recovered.broker_time_max,
            identities,
            tenants: Tenants::default(),
            series: SeriesTable::default(),
            adjusted,
            agenda: Agenda::default(),
            catalogue_version: None,
            meters_by_slot: Vec::new(),
        };
        for PeriodTotal { tenant, meter, period, aggregate } in recovered.totals {
            let tenant = shard.tenants.enter(&tenant);
            shard.tenants.meter_mut(tenant, &meter).set_total(period, aggregate);
        }
        for (tenant, meter, dimensions) in recovered.series {
            let tenant = shard.tenants.enter(&tenant);
            let state = shard.tenants.meter_mut(tenant, &meter);
            let owner = Owner { tenant, meter: state.number };
            state.series.restore(&mut shard.series, owner, &dimensions);
        }
        for set in recovered.limits {
            let tenant = shard.tenants.enter(&set.tenant);
            shard.tenants.state_mut(tenant).seldom.revision = Some(set.revision);
            for limit in set.limits {
                let meter = shard.tenants.meter_mut(tenant, &limit.meter);
                meter.held = Some(Box::new(HeldLimit::new(limit.clone())));
            }
        }
        shard
    }

    /// Recovery: remembers an event that the ledger says was accepted, when the running
    /// maximum of broker time was `broker_time_max_then` (its own record included). Events
    /// come in the order of their offsets. For a shard that seals its ids there is
    /// [`Shard::recall`].
    pub fn remember(&mut self, event: EventRef<'_>, broker_time_max_then: Timestamp) {
        let hashes = self.hasher.hashes(event, broker_time_max_then);
        self.identities.remember(&hashes, broker_time_max_then);
    }

    /// Whether the tenant of some event, limit or adjustment is not in the catalogue. The shell then
    /// refreshes the catalogue before it applies the batch. Most tenants were met under this version
    /// of the catalogue already, and of those it is not asked again.
    pub fn names_unknown_tenant(&self, batch: &Batch, catalogue: &Catalogue) -> bool {
        let was_met = |tenant: &str| {
            let number = self.tenants.number(tenant);
            number.is_some_and(|number| self.tenants.state(number).is_at_home(catalogue.version))
        };
        let is_unknown = |tenant: &str| catalogue.tenant(tenant).is_none() && TenantId::is_valid(tenant);
        let mut tenants = batch.records().filter_map(|record| record.body.tenant());
        tenants.any(|tenant| !was_met(tenant) && is_unknown(tenant))
    }

    /// Applies a batch in offset order and says what must happen.
    ///
    /// # Panics
    /// When the batch is not the next one of this partition, or its offsets do not rise
    /// within `[from, to)`: to count on would count a position twice or never. And when ids
    /// have been sealed: then there is [`Shard::apply_settled`].
    pub fn apply(&mut self, batch: &Batch, catalogue: &Catalogue) -> Outcome {
        assert!(
            !self.identities.needs_answers(),
            "a shard with sealed ids was given a batch without answers"
        );
        self.apply_records(batch, catalogue)
    }

    fn apply_records(&mut self, batch: &Batch, catalogue: &Catalogue) -> Outcome {
        assert_eq!(batch.partition, self.config.partition, "a shard was given another partition's batch");
        assert_eq!(batch.from, self.next_offset, "a shard was given a batch that is not its next one");
        let mut work = Work::default();
        self.meet(catalogue, &mut work);
        let mut ahead = Vec::with_capacity(RECORDS_AHEAD);
        for (index, record) in batch.records().enumerate() {
            let in_order = self.next_offset <= record.offset && record.offset < batch.to;
            assert!(in_order, "a batch has offset {} out of order", record.offset);
            if index % RECORDS_AHEAD == 0 {
                self.look_ahead(batch, index, &mut ahead);
            }
            self.apply_record(index, record, ahead[index % RECORDS_AHEAD], catalogue, &mut work);
            self.next_offset = record.offset + 1;
        }
        self.next_offset = batch.to;
        let last = batch.len().checked_sub(1).map(|last| batch.record(last));
        self.finish(last, catalogue, work)
    }

    /// Where every limited tenant and meter stands, by tenant and meter: for publishing anew
    /// when a partition was taken. Nothing before the first record.
    pub fn levels(&self, catalogue: &Catalogue) -> Vec<QuotaLevel> {
        let position = self.position(self.next_offset - 1);
        let level = |place| self.level(place, catalogue, position, self.broker_time_max);
        self.tenants.limited_meters().into_iter().filter_map(level).collect()
    }

    /// The first offset that is not applied.
    pub fn next_offset(&self) -> i64 {
        self.next_offset
    }

    /// The running maximum of broker time of what was applied.
    pub fn broker_time_max(&self) -> Timestamp {
        self.broker_time_max
    }

    /// How many event ids are remembered.
    pub fn remembered_ids(&self) -> usize {
        self.identities.remembered()
    }

    /// How many series are known, over all tenants and meters.
    pub fn series(&self) -> usize {
        self.series.len()
    }

    /// The configuration that it was made with.
    pub fn config(&self) -> &ShardConfig {
        &self.config
    }

    fn apply_record<'a>(
        &mut self,
        index: usize,
        record: RecordRef<'a>,
        prepared: Option<Prepared>,
        catalogue: &'a Catalogue,
        work: &mut Work<'a>,
    ) {
        let at = At { index, position: self.position(record.offset), broker_time: record.broker_time };
        self.identities.reach(record.offset);
        self.advance(&at, catalogue, work);
        let judged = match (record.body, prepared) {
            (BodyRef::Event(event, hops), Some(prepared)) => {
                self.apply_event(&at, event, hops, prepared, catalogue, work)
            }
            (BodyRef::Other(RecordBody::Limits { set, hops }), _) => {
                Err(self.apply_limits(&at, (set, *hops), catalogue, work))
            }
            (BodyRef::Other(RecordBody::Adjustment { adjustment, seal, hops }), _) => {
                Err(self.apply_adjustment(&at, (adjustment, *seal, *hops), catalogue, work))
            }
            (BodyRef::Other(RecordBody::Unreadable { reason, detail }), _) => {
                Err(judge::NotCounted::rejected(*reason, detail.clone()))
            }
            _ => Err(judge::NotCounted::control()),
        };
        match judged {
            Ok(time) => work.accept(&at, time),
            Err(not_counted) => work.except(&at, not_counted),
        }
    }

    /// Time passes: before a record of any kind is judged, the running maximum follows it.
    fn advance<'a>(&mut self, at: &At, catalogue: &'a Catalogue, work: &mut Work<'a>) {
        let before = self.broker_time_max;
        if at.broker_time <= before {
            return;
        }
        self.broker_time_max = at.broker_time;
        self.identities.advance(at.broker_time);
        self.pass_bounds(at, before, catalogue, work);
        if before.millis() / DAY_MS != at.broker_time.millis() / DAY_MS {
            let kept_ms = self.config.window_ms.saturating_add(self.config.future_ms);
            self.tenants.forget_totals(at.broker_time.plus_millis(-kept_ms));
        }
    }

    fn finish(&mut self, last: Option<RecordRef<'_>>, catalogue: &Catalogue, mut work: Work<'_>) -> Outcome {
        self.tenants.rank_all();
        for (tenant, meter) in &work.touched {
            self.tenants.state_mut(*tenant).meter_mut(*meter).touched = false;
        }
        if let Some(last) = last {
            let Tenants { names, meters, .. } = &self.tenants;
            work.touched.sort_unstable_by_key(|(tenant, meter)| (names.rank(*tenant), meters.rank(*meter)));
            let position = self.position(last.offset);
            let level = |place: &(u32, u32)| self.level(*place, catalogue, position, last.broker_time);
            work.outcome.levels = work.touched.iter().filter_map(level).collect();
        }
        work.outcome.deltas = self.series.take_deltas(&self.tenants.names, &self.tenants.meters);
        work.outcome.broker_time_max = self.broker_time_max;
        work.outcome
    }

    fn position(&self, offset: i64) -> Position {
        Position { generation: self.config.generation, partition: self.config.partition, offset }
    }
}
