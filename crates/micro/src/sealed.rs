//! The shard with ids behind it that arrived over the whole window: those of days that are over
//! stand in files, and each event asks whether it was seen.

use anyhow::{Result, ensure};
use tempfile::TempDir;
use weir_backends::id_files::{IdFiles, PartitionFiles};
use weir_core::Timestamp;
use weir_core::time::DAY_MS;
use weir_load::Stream;
use weir_metering::record::{Batch, BodyRef};
use weir_metering::shard::Shard;
use weir_wire::avro::SchemaSet;

use crate::clock::Stopwatch;
use crate::journal::batch;
use crate::parts::{Line, Size, speed};
use crate::stage::{self, BASE_MS, NOW_MS, PARTITION, batches, float, offset};

const DAYS: u64 = 36;
/// One event in so many is one of those remembered.
const REPEATED_EACH: u64 = 100;
const EVENTS: [&str; 3] = ["processor time", "ns/event", "events/s"];

/// Suspects, files and shard together; the files' blocks are read as the system caches them.
pub(crate) fn apply(size: Size) -> Result<Vec<Line>> {
    let ids = size.ids.max(DAYS);
    let stream = stage::stream(ids + size.units, 0.0, 0)?;
    let (schemas, catalogue) = (SchemaSet::shipped(), stage::catalogue()?);
    let folder = TempDir::new()?;
    let files = IdFiles::new(folder.path(), stage::key())?;
    let mut held = files.of_partition((PARTITION, 1), &[])?;
    let mut shard = stage::shard(offset(ids)?);
    remember(&stream, &schemas, &mut shard, &mut held, ids)?;
    let mut watch = Stopwatch::default();
    for (from, until) in batches(ids, ids + size.units) {
        let (batch, repeated) = with_repetitions(&stream, &schemas, ids, (from, until))?;
        let outcome = watch.time(|| {
            let suspected = shard.suspects(&batch);
            held.settle(suspected).map(|answers| shard.apply_settled(&batch, &catalogue, answers))
        })?;
        let found = outcome.counts.duplicate;
        ensure!(found == repeated, "{found} repetitions were found, not {repeated}");
    }
    let memory = shard.id_memory();
    let mut lines = speed(&watch, float(size.units)?, EVENTS);
    lines.push(("ids remembered", "ids", float(memory.hot_ids + memory.sealed_ids)?));
    if memory.sealed_ids > 0 {
        lines.push((
            "memory of a sealed id",
            "bytes",
            float(memory.sealed_bytes)? / float(memory.sealed_ids)?,
        ));
    }
    if memory.hot_ids > 0 {
        lines.push(("memory of a hot id", "bytes", float(memory.hot_bytes)? / float(memory.hot_ids)?));
    }
    Ok(lines)
}

/// Remembers the first `ids` events, spread over the window, and seals each day that is over.
fn remember(
    stream: &Stream,
    schemas: &SchemaSet,
    shard: &mut Shard,
    held: &mut PartitionFiles,
    ids: u64,
) -> Result<()> {
    shard.begin_recall(0, offset(ids)?);
    for (from, until) in batches(0, ids) {
        let events = (from..until).map(|position| stream.event(position));
        let batch = batch(schemas, events, offset(from)?, NOW_MS);
        for (position, record) in (from..until).zip(batch.records()) {
            let BodyRef::Event(event, _) = record.body else { continue };
            // A day's share of the ids arrives on each day; the last one is not over.
            let day = offset(u64::try_from(u128::from(position) * u128::from(DAYS) / u128::from(ids))?)?;
            shard.recall(event, record.offset, Timestamp::clamped(BASE_MS + day * DAY_MS));
        }
        for bucket in shard.complete_buckets(offset(until)?) {
            held.write(&bucket, shard.ids_of(&bucket))?;
            shard.seal(&bucket);
        }
    }
    Ok(())
}

/// New events, and in some places one from anywhere in the window again; how many of these.
fn with_repetitions(
    stream: &Stream,
    schemas: &SchemaSet,
    ids: u64,
    (from, until): (u64, u64),
) -> Result<(Batch, u64)> {
    let repeats = |position: &u64| position % REPEATED_EACH == REPEATED_EACH - 1;
    let events = (from..until).map(|position| {
        let older = position.wrapping_mul(0x9e37_79b9_7f4a_7c15) % ids;
        stream.event(if repeats(&position) { older } else { position })
    });
    let batch = batch(schemas, events, offset(from)?, NOW_MS);
    Ok((batch, u64::try_from((from..until).filter(repeats).count())?))
}
