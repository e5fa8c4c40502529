//! `weir archive check`: proof that the archive holds what was counted. Every file is read: it
//! has the sum that the ledger recorded, files follow each other without a gap, and each batch's
//! records are as many as were read, of which the accepted ones have the batch's content sum.
//! It reads only, and neither Kafka nor ClickHouse.

use std::collections::BTreeSet;

use weir_backends::StoreError;
use weir_backends::archive::range::{next_records, open};
use weir_backends::archive::{Archive, ArchivedFile, record};
use weir_backends::config::KafkaConfig;
use weir_backends::journal::OwnedRecord;
use weir_backends::ledger_audit::{BatchRow, Snapshot};
use weir_backends::postgres::Pool;
use weir_backends::projection::{EventRow, StoredEvent};
use weir_core::{ContentSum, Generation, HashKey, Partition, Position};
use weir_metering::identity::content_hash;
use weir_metering::record::RecordBody;
use weir_wire::batch_blob::decode_exceptions;

use crate::counting::decoder::Decoder;
use crate::differences::Differences;
use crate::told::{Told, many};

/// Files and batches that are read of the ledger at a time.
const PAGE: i64 = 200;

/// What was found of one partition in one generation.
#[derive(Clone, Debug)]
pub struct ArchiveCheck {
    /// Which partition.
    pub partition: Partition,
    /// Which life of the topic.
    pub generation: Generation,
    /// Files that were read.
    pub files: u64,
    /// Their bytes.
    pub file_bytes: u64,
    /// Records in them.
    pub records: u64,
    /// Batches that were compared.
    pub batches: u64,
    /// Accepted events in them.
    pub events: u64,
    /// What is wrong; empty when all is proved. The first ones, and how many more.
    pub differences: Vec<String>,
    found: Differences,
}

/// What was found of the whole archive.
#[derive(Clone, Debug)]
pub struct ArchiveReport {
    /// By partition and generation.
    pub checks: Vec<ArchiveCheck>,
    /// Files that the ledger does not know, and their bytes: a crash, or a ledger that was
    /// restored, leaves such. Nothing reads them.
    pub unknown: (u64, u64),
}

/// Where what is compared is found.
#[derive(Debug)]
pub struct CheckedArchive<'a> {
    /// The files.
    pub archive: &'a Archive,
    /// The ledger.
    pub pool: &'a Pool,
    /// The topic's name, and where schemas are registered.
    pub kafka: &'a KafkaConfig,
    /// The installation's key of content sums.
    pub key: &'a HashKey,
    /// The largest value that is read, in bytes.
    pub record_bytes_max: usize,
}

/// Reads and compares everything.
///
/// # Errors
/// When a server is away; what is wrong with the archive is in the report.
pub async fn check(of: &CheckedArchive<'_>, told: &dyn Told) -> Result<ArchiveReport, StoreError> {
    let decoder = Decoder::new(of.kafka.schema_registry_url.as_deref(), of.record_bytes_max);
    let mut known = BTreeSet::new();
    let mut checks = Vec::new();
    let places = record::places(of.pool).await?;
    let all = many(places.len());
    for place in places {
        told.told("partitions of the archive read", many(checks.len()), Some(all));
        checks.push(check_place(of, &decoder, place, &mut known).await?);
    }
    let found = of.archive.list(&of.kafka.usage_topic).await?;
    let unknown = found.iter().filter(|(name, _)| !known.contains(name));
    let unknown = unknown.fold((0, 0), |(files, bytes), (_, size)| (files + 1, bytes + size));
    Ok(ArchiveReport { checks, unknown })
}

async fn check_place(
    of: &CheckedArchive<'_>,
    decoder: &Decoder,
    place: (Partition, Generation),
    known: &mut BTreeSet<String>,
) -> Result<ArchiveCheck, StoreError> {
    let (partition, generation) = place;
    let mut found = ArchiveCheck {
        partition,
        generation,
        files: 0,
        file_bytes: 0,
        records: 0,
        batches: 0,
        events: 0,
        differences: Vec::new(),
        found: Differences::default(),
    };
    let mut expected = None;
    loop {
        let files = record::next(of.pool, place, expected.unwrap_or(i64::MIN), PAGE).await?;
        if files.is_empty() {
            break;
        }
        for file in files {
            known.insert(file.name(&of.kafka.usage_topic));
            if expected.is_some_and(|expected| expected != file.from) {
                let gap = expected.unwrap_or_default();
                found.found.add(format!("offsets [{gap}, {}) are not archived", file.from));
            }
            expected = Some(file.to);
            check_file(of, decoder, &file, &mut found).await?;
        }
    }
    found.differences = std::mem::take(&mut found.found).told();
    Ok(found)
}

async fn check_file(
    of: &CheckedArchive<'_>,
    decoder: &Decoder,
    file: &ArchivedFile,
    found: &mut ArchiveCheck,
) -> Result<(), StoreError> {
    found.files += 1;
    found.file_bytes += file.file_bytes;
    let mut reader = match open(of.archive, &of.kafka.usage_topic, file).await {
        Ok(reader) => reader,
        Err(error) if error.is_transient() => return Err(error),
        Err(error) => {
            found.found.add(error.to_string());
            return Ok(());
        }
    };
    let mut batches = Batches::begin(of, file).await?;
    loop {
        let records = match next_records(&mut reader, (file.from, file.to)) {
            Ok(records) if records.is_empty() => break,
            Ok(records) => records,
            Err(error) => {
                let name = file.name(&of.kafka.usage_topic);
                found.found.add(format!("{name} cannot be used: {error}"));
                return Ok(());
            }
        };
        found.records += u64::try_from(records.len()).unwrap_or_default();
        batches.take(decoder, records, found).await?;
    }
    batches.finish(found).await
}

/// The batches of a file's range, each compared with its records.
struct Batches<'a> {
    of: &'a CheckedArchive<'a>,
    ledger: Snapshot,
    file: &'a ArchivedFile,
    page: std::vec::IntoIter<BatchRow>,
    /// Where the next page begins.
    next: i64,
    under_way: Option<UnderWay>,
}

/// A batch whose records are coming.
struct UnderWay {
    batch: BatchRow,
    exceptions: BTreeSet<i64>,
    records: u64,
    events: u64,
    sum: ContentSum,
}

impl<'a> Batches<'a> {
    async fn begin(of: &'a CheckedArchive<'a>, file: &'a ArchivedFile) -> Result<Self, StoreError> {
        let ledger = Snapshot::begin(of.pool).await?;
        let page = Vec::new().into_iter();
        let mut batches = Self { of, ledger, file, page, next: file.from, under_way: None };
        batches.advance().await?;
        Ok(batches)
    }

    /// The next batch that the file holds whole.
    async fn advance(&mut self) -> Result<(), StoreError> {
        let place = (self.file.partition, self.file.generation);
        if self.page.as_slice().is_empty() && self.next < self.file.to {
            let page = self.ledger.batches_after(place.0, (place.1, self.next - 1), PAGE).await?;
            self.page = page.into_iter();
        }
        self.under_way = None;
        if let Some(batch) =
            self.page.next().filter(|batch| batch.generation == place.1 && batch.to <= self.file.to)
        {
            self.next = batch.to;
            let exceptions = decode_exceptions(batch.from, &batch.exceptions)
                .map_err(|error| StoreError::corrupt("read a batch's exceptions", error))?;
            let exceptions = exceptions.iter().map(|exception| exception.offset).collect();
            let (records, events, sum) = (0, 0, ContentSum::default());
            self.under_way = Some(UnderWay { batch, exceptions, records, events, sum });
        }
        Ok(())
    }

    /// Compares records with the batches that they belong to.
    async fn take(
        &mut self,
        decoder: &Decoder,
        records: Vec<OwnedRecord>,
        found: &mut ArchiveCheck,
    ) -> Result<(), StoreError> {
        let schemas = decoder.schemas_for(&records).await?;
        for record in &records {
            while self.under_way.as_ref().is_some_and(|one| one.batch.to <= record.offset) {
                self.end(found).await?;
            }
            let Some(one) = self.under_way.as_mut().filter(|one| one.batch.from <= record.offset) else {
                continue;
            };
            one.records += 1;
            if one.exceptions.contains(&record.offset) {
                continue;
            }
            let decoded = decoder.decode(&schemas, record);
            let RecordBody::Event { event, .. } = decoded.body else {
                found.found.add(format!(
                    "offset {} was counted as an event, and is none in the archive",
                    record.offset
                ));
                continue;
            };
            let (partition, generation) = (self.file.partition, self.file.generation);
            let position = Position { generation, partition, offset: record.offset };
            let row = EventRow::alone(position, decoded.broker_time, &event);
            let (event, time) = StoredEvent::from(&row).into_event();
            one.events += 1;
            one.sum.add(content_hash(self.of.key, &event, time));
        }
        Ok(())
    }

    /// Ends the batch under way.
    async fn end(&mut self, found: &mut ArchiveCheck) -> Result<(), StoreError> {
        if let Some(UnderWay { batch, records, events, sum, .. }) = &self.under_way {
            found.batches += 1;
            found.events += events;
            let place = format!("batch [{}, {})", batch.from, batch.to);
            let counted = &batch.counts;
            if (*records, *events) != (counted.read, counted.accepted) {
                found.found.add(format!(
                    "{place}: {} records were read and {} accepted, the archive has {records} and {events}",
                    counted.read, counted.accepted
                ));
            } else if *sum != batch.content_sum {
                found.found.add(format!(
                    "{place}: content sum {}, the archive's events have {sum}",
                    batch.content_sum
                ));
            }
        }
        self.advance().await
    }

    /// Ends all that are left.
    async fn finish(mut self, found: &mut ArchiveCheck) -> Result<(), StoreError> {
        while self.under_way.is_some() {
            self.end(found).await?;
        }
        Ok(())
    }
}
