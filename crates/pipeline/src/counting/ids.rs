//! The memory of a partition's event ids (invariant 9): put together from files and the journal
//! when the partition is taken, asked about each batch's suspects, written to files once a
//! bucket of ids is complete and committed. The shard decides what is where; without files,
//! or with a disk that refuses, every id stays in memory.

use std::sync::Arc;
use std::time::Duration;

use weir_backends::StoreError;
use weir_backends::id_files::IdFilesError;
use weir_backends::ledger::partition::PartitionRow;
use weir_core::time::DAY_MS;
use weir_core::{Partition, Timestamp};
use weir_metering::identity::{Answers, MemoryPlan, SealedFile, Suspects};
use weir_metering::record::BodyRef;
use weir_metering::shard::Shard;

use super::decoder::room_for;
use super::recovery::{Owned, ended};
use super::reread::Reread;
use super::shared::Shared;
use crate::error::PipelineError;
use crate::world::{IdStore, Ledger, Runtime, SealedIds, World};

/// How long a disk that refused a file is left alone.
const WRITE_AGAIN_AFTER: Duration = Duration::from_secs(60);
/// How often it is said which partitions are held here, and files of others are looked at.
const SWEEP_EVERY: Duration = Duration::from_secs(1_800);

/// The files of one partition.
pub(crate) type FilesOf<W> = <<W as World>::Ids as IdStore>::Files;

/// Opens the files of a partition that was just taken; none where none are kept.
pub(crate) async fn open<W: World>(
    shared: &Arc<Shared<W>>,
    row: &PartitionRow,
) -> Result<Option<FilesOf<W>>, PipelineError> {
    if shared.ids.is_none() {
        return Ok(None);
    }
    let place = (row.partition, row.generation);
    let recorded = shared.ledger.id_files(place).await?;
    let opening = Arc::clone(shared);
    let open = move || opening.ids.as_ref().map(|ids| ids.of_partition(place, &recorded));
    match shared.runtime.compute(open).await.map_err(|error| ended(&error))? {
        None => Ok(None),
        Some(Ok(mut files)) => {
            for words in files.trouble() {
                tracing::warn!(partition = row.partition, words, "its ids are read again from the journal");
            }
            Ok(Some(files))
        }
        Some(Err(error)) => {
            tracing::error!(partition = row.partition, %error, "event ids stay in memory");
            Ok(None)
        }
    }
}

/// Gives a new shard its ids back: from the files where there are any, the rest from the
/// journal, minus what was not accepted. `low` is the first offset from which on it can be read.
pub(crate) async fn recall<W: World>(
    shared: &Arc<Shared<W>>,
    row: &PartitionRow,
    low: i64,
    mut shard: Shard,
    files: Option<FilesOf<W>>,
) -> Result<(Shard, Option<FilesOf<W>>), PipelineError> {
    let settings = &shared.settings;
    shard.bound_buckets(settings.id_bucket_max);
    let place = (row.partition, row.generation);
    let since = row.broker_time_max.plus_millis(-(settings.window_ms + settings.future_ms + DAY_MS));
    let from = shared.ledger.first_reaching(place, since).await?.unwrap_or(row.next_offset);
    let covered = files.as_ref().map(SealedIds::covered).unwrap_or_default();
    let plan = MemoryPlan::new(from, row.next_offset, covered);
    let (mut shard, files) = add_files(shared, row.partition, shard, files, plan.files).await?;
    for gap in plan.gaps {
        shard = recall_gap(shared, row, low, gap, shard).await?;
    }
    Ok((shard, files))
}

async fn add_files<W: World>(
    shared: &Shared<W>,
    partition: Partition,
    mut shard: Shard,
    files: Option<FilesOf<W>>,
    used: Vec<SealedFile>,
) -> Result<(Shard, Option<FilesOf<W>>), PipelineError> {
    let Some(mut files) = files else { return Ok((shard, None)) };
    let add = move || {
        if let Err(error) = files.keys(&used).and_then(|keys| shard.add_files(keys)) {
            return Err(unusable(&mut files, &error));
        }
        Ok((files.retain(&used), shard, files))
    };
    let added = shared.runtime.compute(add).await.map_err(|error| ended(&error))?;
    let (retained, shard, files) = added.map_err(|reason| {
        let attempt = "read a file of event ids";
        StoreError::Transient { attempt, reason }
    })?;
    if let Err(error) = retained {
        tracing::warn!(partition, %error, "a file of event ids is left over");
    }
    Ok((shard, Some(files)))
}

/// A file cannot be used: it goes, and its range will be read again. In words.
fn unusable(files: &mut impl SealedIds, error: &IdFilesError) -> String {
    match files.discard(error) {
        Ok(_) => error.to_string(),
        Err(kept) => format!("{error}; {kept}"),
    }
}

/// Reads the ids of `[from, to)` again from the journal.
async fn recall_gap<W: World>(
    shared: &Arc<Shared<W>>,
    row: &PartitionRow,
    low: i64,
    (from, to): (i64, i64),
    mut shard: Shard,
) -> Result<Shard, PipelineError> {
    let place = (row.partition, row.generation);
    if from < low.min(to) {
        let partition = row.partition;
        tracing::warn!(
            partition,
            from,
            low,
            "ids of the window were trimmed from the journal, and are not archived"
        );
    }
    let from = from.max(low).min(to);
    shard.begin_recall(from, to);
    if from == to {
        return Ok(shard);
    }
    let Some(begins) = shared.ledger.batch_holding(place, from).await? else {
        let reason = format!("partition {}: no batch holds offset {from}", row.partition);
        return Err(StoreError::corrupt("read event ids again", reason).into());
    };
    let mut running = shared.ledger.broker_time_before(place, begins).await?.unwrap_or_default();
    let mut again = Reread::begin(shared, place, begins, begins.max(low), to);
    while let Some(records) = again.next(shared).await? {
        let (mut accepted, mut times) =
            (Vec::with_capacity(records.len()), Vec::with_capacity(records.len()));
        for (record, is_accepted) in records {
            running = running.max(Timestamp::clamped(record.broker_time_ms));
            if is_accepted && record.offset >= from {
                accepted.push(record);
                times.push(running);
            }
        }
        let schemas = shared.decoder.schemas_for(&accepted).await?;
        let (decoding, partition) = (Arc::clone(shared), row.partition);
        let recalled = shared.runtime.compute(move || {
            let mut batch = room_for(partition, from, &accepted);
            for record in &accepted {
                decoding.decoder.decode_into(&schemas, record, &mut batch);
            }
            for (record, then) in batch.records().zip(times) {
                match record.body {
                    BodyRef::Event(event, _) => shard.recall(event, record.offset, then),
                    BodyRef::Other(_) => return Err(record.offset),
                }
            }
            Ok(shard)
        });
        let done = recalled.await.map_err(|error| ended(&error))?;
        shard = done.map_err(|offset| {
            let reason = format!("offset {offset} was counted as an event, and cannot be read as one now");
            StoreError::corrupt("read event ids again", reason)
        })?;
        shared.status.prepared(row.partition);
    }
    Ok(shard)
}

/// Asks the files about the suspects of a batch. Where a file cannot be read it goes, and the
/// shard must be built again: the answer says why.
pub(crate) fn settle(files: &mut Option<impl SealedIds>, suspects: Suspects) -> Result<Answers, String> {
    match files {
        Some(files) => files.settle(suspects).map_err(|error| unusable(files, &error)),
        None if suspects.list().is_empty() => Ok(suspects.settled(&[])),
        None => Err("there are sealed ids, and no files to ask".to_owned()),
    }
}

/// After a commit: complete buckets of ids go to files, and leave memory once the ledger has
/// recorded them. What cannot be written stays in memory.
pub(crate) async fn seal<W: World>(
    shared: &Shared<W>,
    mut owned: Owned<W>,
) -> Result<Owned<W>, PipelineError> {
    if owned.files.is_none() || shared.runtime.elapsed() < owned.seal_after {
        return Ok(owned);
    }
    let committed_to = owned.shard.next_offset();
    let mut sealed = false;
    for bucket in owned.shard.complete_buckets(committed_to) {
        let done;
        (owned, done) = seal_one(shared, owned, bucket).await?;
        if let Err(words) = done {
            tracing::warn!(partition = owned.partition, words, "ids of a complete bucket stay in memory");
            owned.seal_after = shared.runtime.elapsed() + WRITE_AGAIN_AFTER;
            break;
        }
        sealed = true;
    }
    if sealed { forget(shared, owned).await } else { Ok(owned) }
}

/// Writes a bucket, has it recorded, and lets its ids go. Why not, in words.
async fn seal_one<W: World>(
    shared: &Shared<W>,
    mut owned: Owned<W>,
    bucket: SealedFile,
) -> Result<(Owned<W>, Result<(), String>), PipelineError> {
    let write = move || {
        let written = owned.files.as_mut().map(|files| files.write(&bucket, owned.shard.ids_of(&bucket)));
        (owned, written)
    };
    let (owned, written) = shared.runtime.compute(write).await.map_err(|error| ended(&error))?;
    let recorded = match written {
        Some(Ok(recorded)) => recorded,
        Some(Err(error)) => return Ok((owned, Err(error.to_string()))),
        None => return Ok((owned, Ok(()))),
    };
    let place = (owned.partition, owned.shard.config().generation);
    match shared.ledger.record_id_file(place, &owned.token, &recorded).await {
        Ok(true) => {}
        Ok(false) => return Ok((owned, Err("another process has the partition".to_owned()))),
        Err(error) => return Ok((owned, Err(error.to_string()))),
    }
    let mut owned = owned;
    let seal = move || {
        owned.shard.seal(&bucket);
        owned
    };
    let owned = shared.runtime.compute(seal).await.map_err(|error| ended(&error))?;
    tracing::debug!(partition = owned.partition, from = bucket.from, ids = bucket.ids, "event ids sealed");
    Ok((owned, Ok(())))
}

/// Files of days that are over go, and their records.
async fn forget<W: World>(shared: &Shared<W>, mut owned: Owned<W>) -> Result<Owned<W>, PipelineError> {
    let kept = owned.shard.sealed_files();
    let oldest = kept.iter().map(|file| file.day).min();
    let retain = move || {
        let retained = owned.files.as_mut().map_or(Ok(()), |files| files.retain(&kept));
        (owned, retained)
    };
    let (owned, retained) = shared.runtime.compute(retain).await.map_err(|error| ended(&error))?;
    if let Err(error) = retained {
        tracing::warn!(partition = owned.partition, %error, "a file of event ids is left over");
    }
    let place = (owned.partition, owned.shard.config().generation);
    if let Some(day) = oldest
        && let Err(error) = shared.ledger.forget_id_files(place, day).await
    {
        tracing::warn!(partition = owned.partition, %error, "records of files of event ids are left over");
    }
    Ok(owned)
}

/// Keeps the files of partitions that are elsewhere now within bounds, for ever.
pub(crate) async fn sweep<W: World>(shared: Arc<Shared<W>>) {
    loop {
        shared.runtime.sleep(SWEEP_EVERY).await;
        let owned = shared.projection.partitions().into_iter().collect();
        let sweeping = Arc::clone(&shared);
        let sweep = move || sweeping.ids.as_ref().map(|ids| ids.sweep(&owned));
        if let Ok(Some(Err(error))) = shared.runtime.compute(sweep).await {
            tracing::warn!(%error, "files of event ids of other partitions are left over");
        }
    }
}
