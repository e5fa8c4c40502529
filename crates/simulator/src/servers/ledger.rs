//! Postgres in memory: the tables of the ledger. A clone is a backup.

use std::collections::{BTreeMap, BTreeSet};

use weir_backends::StoreError;
use weir_backends::id_files::RecordedFile;
use weir_backends::journal::Fingerprint;
use weir_backends::ledger::chain::BatchExceptions;
use weir_backends::ledger::partition::{GivenEpoch, OwnerToken, PartitionRow, Progress};
use weir_backends::ledger::projecting::AcceptedRun;
use weir_core::{ContentSum, Generation, Hash128, Homes, Partition, TenantId, Timestamp};
use weir_metering::catalogue::{Catalogue, TenantFacts};
use weir_metering::identity::Day;
use weir_metering::meter::Meter;
use weir_metering::outcome::{Adjusted, Counts, RejectReason, Verdict};
use weir_metering::quota::Limit;
use weir_wire::batch_blob::decode_exceptions;

use super::Servers;
use super::books::BookTables;
use super::outbox::Outbox;
use super::usage::{UsageLine, UsageRowKey};
use crate::mutation::Mutation;

/// A row of `journal_partition`.
#[derive(Clone, Debug)]
pub(crate) struct PartitionLine {
    pub(crate) row: PartitionRow,
    pub(crate) owner: Option<OwnerToken>,
    /// The token that it was taken with, whatever a mistake makes of it.
    pub(crate) taken_with: Option<OwnerToken>,
    /// How often the row was taken.
    pub(crate) takings: u64,
    /// Its rows of `given_epoch`, rising.
    pub(crate) given: Vec<GivenEpoch>,
}

impl PartitionLine {
    /// A partition that nobody has taken.
    fn new(partition: Partition, generation: Generation, first_offset: i64) -> Self {
        let row = PartitionRow {
            partition,
            generation,
            first_offset,
            next_offset: first_offset,
            broker_time_max: Timestamp::EPOCH,
            last: None,
            folded_to: first_offset,
            projected_to: first_offset,
            rolled_to: first_offset,
            epoch: 0,
        };
        Self { row, owner: None, taken_with: None, takings: 0, given: Vec::new() }
    }

    /// Sets the epoch, which is noted.
    fn give(&mut self, epoch: i64) {
        self.row.epoch = epoch;
        self.given.push(GivenEpoch { epoch, folded_to: self.row.folded_to, earlier: false });
    }
}

/// A row of `batch`.
#[derive(Clone, Debug)]
pub(crate) struct BatchLine {
    pub(crate) to: i64,
    pub(crate) counts: Counts,
    pub(crate) exceptions: Vec<u8>,
    pub(crate) deltas: Vec<u8>,
    pub(crate) content_sum: ContentSum,
    pub(crate) broker_time_max: Timestamp,
    /// Where tenants were at home then.
    pub(crate) homes: Homes,
    /// When it was committed, in decisions of the simulation.
    pub(crate) step: u64,
}

/// Limits that are in force.
#[derive(Clone, Debug)]
pub(crate) struct LimitsLine {
    pub(crate) partition: Partition,
    pub(crate) revision: i64,
    pub(crate) limits: Vec<Limit>,
}

/// By what a batch is found.
pub(crate) type BatchKey = (Partition, Generation, i64);

/// Postgres.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) partitions: BTreeMap<Partition, PartitionLine>,
    pub(crate) batches: BTreeMap<BatchKey, BatchLine>,
    pub(crate) usage: BTreeMap<UsageRowKey, UsageLine>,
    pub(crate) values: BTreeSet<(UsageRowKey, Hash128)>,
    pub(crate) limits: BTreeMap<String, LimitsLine>,
    pub(crate) outbox: Outbox,
    /// Rows of `adjustment`, by tenant and id, with those of `adjustment_usage`.
    pub(crate) adjustments: BTreeMap<(TenantId, String), Adjusted>,
    pub(crate) projection_id: Option<String>,
    pub(crate) catalogue_version: i64,
    pub(crate) meters: Vec<Meter>,
    pub(crate) tenants: BTreeMap<TenantId, TenantFacts>,
    /// How many partitions are counted.
    pub(crate) width: i32,
    /// How many there were when a tenant was created, or a name kept that has limits in force.
    pub(crate) widths: BTreeMap<TenantId, i32>,
    /// Rows of `id_file`.
    pub(crate) id_files: BTreeMap<(Partition, Generation), Vec<RecordedFile>>,
    pub(crate) books: BookTables,
}

impl Ledger {
    pub(crate) fn catalogue(&self) -> Catalogue {
        let tenants = self.tenants.iter().map(|(id, facts)| (id.clone(), facts.clone())).collect();
        Catalogue::new(self.catalogue_version, self.meters.clone(), tenants, self.homes())
    }

    /// `width::widen`, under a version of the catalogue that was never given before.
    pub(crate) fn widen(&mut self, to: i32, version: i64, keeps_names: bool) {
        if to <= self.width {
            return;
        }
        for partition in self.width..to {
            self.partitions.entry(partition).or_insert_with(|| PartitionLine::new(partition, 1, 0));
        }
        let names = self.limits.keys().filter(|_| keeps_names);
        for tenant in names.filter_map(|name| TenantId::new(name).ok()) {
            self.widths.entry(tenant).or_insert(self.width);
        }
        self.width = to;
        self.catalogue_version = version;
    }

    /// Where the tenants are at home.
    pub(crate) fn homes(&self) -> Homes {
        let with = |homes: Homes, (tenant, width): (&TenantId, &i32)| homes.with(tenant.clone(), *width);
        self.widths.iter().fold(Homes::new(self.width), with)
    }

    /// The batches of a partition from one that begins at or after `from`.
    pub(crate) fn chain(
        &self,
        (partition, generation): (Partition, Generation),
        from: i64,
    ) -> impl Iterator<Item = (i64, &BatchLine)> {
        let range = (partition, generation, from)..(partition, generation, i64::MAX);
        self.batches.range(range).map(|((_, _, from), batch)| (*from, batch))
    }

    /// `advance_projected`: nothing where others own a partition, or it would not rise.
    pub(crate) fn advance_projected(&mut self, progress: &[Progress]) {
        for one in progress {
            let Some(line) = self.owned(one) else { continue };
            if line.row.projected_to < one.to && one.to <= line.row.next_offset {
                line.row.projected_to = one.to;
            }
        }
    }

    /// `advance_rolled`.
    pub(crate) fn advance_rolled(&mut self, progress: &Progress) -> bool {
        let Some(line) = self.owned(progress) else { return false };
        let moves = line.row.rolled_to < progress.to && progress.to <= line.row.folded_to;
        if moves {
            line.row.rolled_to = progress.to;
        }
        moves
    }

    /// `given_epochs`.
    pub(crate) fn given_epochs(&self, (partition, generation): (Partition, Generation)) -> Vec<GivenEpoch> {
        let line = self.partitions.get(&partition).filter(|line| line.row.generation == generation);
        line.map_or_else(Vec::new, |line| line.given.clone())
    }

    /// `owned`.
    pub(crate) fn owned_rows(&self, owners: &[Progress]) -> Vec<PartitionRow> {
        let owned = owners.iter().filter_map(|one| {
            let line = self.partitions.get(&one.partition)?;
            let same = line.row.generation == one.generation && line.owner == Some(one.owner);
            same.then(|| line.row.clone())
        });
        owned.collect()
    }

    /// `accepted`.
    pub(crate) fn accepted(
        &self,
        place: (Partition, Generation),
        (from, to): (i64, i64),
        batches: i64,
    ) -> Option<AcceptedRun> {
        let within = self.chain(place, from).filter(|(_, batch)| batch.to <= to);
        let run: Vec<_> = within.take(usize::try_from(batches).unwrap_or(usize::MAX)).collect();
        let (first, last) = (run.first()?, run.last()?);
        let accepted = run.iter().map(|(_, batch)| batch.counts.accepted).sum();
        Some(AcceptedRun { from: first.0, to: last.1.to, accepted })
    }

    /// `id_files::record::recorded`.
    pub(crate) fn id_files(&self, place: (Partition, Generation)) -> Vec<RecordedFile> {
        self.id_files.get(&place).cloned().unwrap_or_default()
    }

    /// `id_files::record::forget`.
    pub(crate) fn forget_id_files(&mut self, place: (Partition, Generation), day: Day) {
        self.id_files.entry(place).or_default().retain(|file| file.covers.day >= day);
    }

    fn owned(&mut self, progress: &Progress) -> Option<&mut PartitionLine> {
        let line = self.partitions.get_mut(&progress.partition)?;
        let same = line.row.generation == progress.generation
            && line.owner == Some(progress.owner)
            && line.row.epoch == progress.epoch;
        same.then_some(line)
    }
}

impl Servers {
    /// `projecting::renew`.
    pub(crate) fn renew_projection(&mut self, seen: Option<String>, id: String) -> bool {
        if self.ledger.projection_id != seen {
            return false;
        }
        self.ledger.projection_id = Some(id);
        let mut partitions = std::mem::take(&mut self.ledger.partitions);
        for line in partitions.values_mut() {
            let row = &mut line.row;
            (row.projected_to, row.rolled_to) = (row.first_offset, row.first_offset);
            line.give(self.epoch_after(line.row.epoch));
        }
        self.ledger.partitions = partitions;
        true
    }

    /// `raise_epoch`.
    pub(crate) fn raise_epoch(&mut self, from: &Progress, least: i64) -> Option<i64> {
        let epoch = self.epoch_after(from.epoch).max(least);
        self.ledger.owned(from)?.give(epoch);
        Some(epoch)
    }

    /// `take`.
    pub(crate) fn take(
        &mut self,
        partition: Partition,
        (generation, first_offset): (Generation, i64),
        owner: OwnerToken,
    ) -> PartitionRow {
        let counted = self.mistaken(Mutation::CounterToken);
        let forgets = self.mistaken(Mutation::NoFingerprint);
        let epoch = self.epoch_after(self.ledger.partitions.get(&partition).map_or(0, |line| line.row.epoch));
        let fresh = || PartitionLine::new(partition, generation, first_offset);
        let line = self.ledger.partitions.entry(partition).or_insert_with(fresh);
        line.takings += 1;
        line.give(epoch);
        (line.owner, line.taken_with) = (Some(owner), Some(owner));
        if counted {
            line.owner = Some(u128::from(line.takings).to_be_bytes());
            self.counters.insert(owner, line.takings);
        }
        let last: Option<Fingerprint> = line.row.last.clone().filter(|_| !forgets);
        PartitionRow { last, ..line.row.clone() }
    }

    /// `chain::exceptions`.
    pub(crate) fn exceptions(
        &self,
        place: (Partition, Generation),
        from: i64,
        count: i64,
    ) -> Result<Vec<BatchExceptions>, StoreError> {
        const ATTEMPT: &str = "read the chain of batches";
        let decides_again = self.mistaken(Mutation::DecideAgain);
        let mut expected = from;
        let mut found = Vec::new();
        let count = usize::try_from(count).unwrap_or(0);
        for (begins, batch) in self.ledger.chain(place, from).take(count) {
            if begins != expected {
                let reason = format!("a batch should begin at {expected}, the next begins at {begins}");
                return Err(StoreError::corrupt(ATTEMPT, reason));
            }
            expected = batch.to;
            let mut exceptions = decode_exceptions(begins, &batch.exceptions)
                .map_err(|error| StoreError::corrupt(ATTEMPT, error))?;
            if decides_again {
                let tenant = Verdict::Rejected(RejectReason::UnknownTenant);
                exceptions.retain(|exception| exception.verdict != tenant);
            }
            let broker_time_max = batch.broker_time_max;
            found.push(BatchExceptions { from: begins, to: batch.to, exceptions, broker_time_max });
        }
        Ok(found)
    }

    /// `chain::first_reaching`.
    pub(crate) fn first_reaching(&self, place: (Partition, Generation), time: Timestamp) -> Option<i64> {
        self.ledger
            .chain(place, i64::MIN)
            .find(|(_, batch)| batch.broker_time_max >= time)
            .map(|(from, _)| from)
    }

    /// `chain::holding`.
    pub(crate) fn batch_holding(&self, place: (Partition, Generation), offset: i64) -> Option<i64> {
        let holds = |(from, batch): &(i64, &BatchLine)| *from <= offset && offset < batch.to;
        self.ledger.chain(place, i64::MIN).find(holds).map(|(from, _)| from)
    }

    /// `id_files::record::record`.
    pub(crate) fn record_id_file(
        &mut self,
        place: (Partition, Generation),
        owner: OwnerToken,
        file: RecordedFile,
    ) -> bool {
        let owner = self.token(owner);
        let held = self.ledger.partitions.get(&place.0).is_some_and(|line| {
            line.row.generation == place.1
                && line.owner == Some(owner)
                && line.row.next_offset >= file.covers.to
        });
        let known = self.ledger.id_files.entry(place).or_default();
        if held && !known.contains(&file) {
            known.push(file);
        }
        held
    }

    /// `chain::broker_time_before`.
    pub(crate) fn broker_time_before(
        &self,
        place: (Partition, Generation),
        offset: i64,
    ) -> Option<Timestamp> {
        let ends_there = |(_, batch): &(i64, &BatchLine)| batch.to == offset;
        self.ledger.chain(place, i64::MIN).find(ends_there).map(|(_, batch)| batch.broker_time_max)
    }
}
