//! One batch: decode, apply, tell Kafka, commit, hand over. In this order; when a part of
//! it cannot be done, nothing of it has been counted.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use weir_backends::StoreError;
use weir_backends::journal::{Heartbeat, OwnedRecord};
use weir_backends::ledger::commit::{Commit, CommitAlert, CommitAnswer, CommitLimits};
use weir_backends::ledger::partition::OwnerToken;
use weir_backends::projection::EventRow;
use weir_core::{Partition, Position, Timestamp};
use weir_metering::catalogue::Catalogue;
use weir_metering::event::EventBuffer;
use weir_metering::outcome::{Outcome, RejectReason};
use weir_metering::record::{Batch, JournalRecord, RecordBody};
use weir_metering::shard::Shard;
use weir_wire::alert;
use weir_wire::batch_blob::{encode_deltas, encode_exceptions};

use super::caution::{Refusal, Suspect};
use super::decoder::room_for;
use super::ids::{self, FilesOf};
use super::letters::{Place, outgoing, rejected_by};
use super::recovery::{Owned, ended};
use super::retry::delays;
use super::shared::Shared;
use crate::error::PipelineError;
use crate::progress::Step;
use crate::projection::CommittedRows;
use crate::status::PartitionState;
use crate::world::{JournalWriter, Ledger, Runtime, World};

/// The version of the code that batches are judged by.
const ENGINE_VERSION: &str = concat!("weir ", env!("CARGO_PKG_VERSION"));

/// How long a batch waits for room in front of a projection that moves.
const ROOM_PATIENCE: Duration = Duration::from_secs(1);
/// How long a full one waits: more records wait behind it, which would be read twice where the
/// projection does not keep up.
const ROOM_PATIENCE_FULL: Duration = Duration::from_secs(3);
/// How often it looks.
const ROOM_LOOK_EVERY: Duration = Duration::from_millis(10);

/// Records that are counted as one batch.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    pub(crate) records: Vec<OwnedRecord>,
    /// Whether no more could be taken, so that more may wait behind them.
    pub(crate) full: bool,
}

/// What became of a batch.
pub(crate) enum Stepped<W: World> {
    /// Committed: counting goes on.
    Committed(Box<Owned<W>>),
    /// Not committed; the shard must be built again.
    Rebuild,
    /// Another process has the partition.
    Lost,
    /// Not committed: the ledger refuses the data for good. The shard must be built again.
    Refused(Refusal),
    /// The partition was taken from this process meanwhile.
    Cancelled,
}

/// A batch after `apply`.
struct Applied<W: World> {
    shard: Shard,
    files: Option<FilesOf<W>>,
    records: Vec<OwnedRecord>,
    batch: Batch,
    outcome: Outcome,
}

/// Counts the records, which follow each other from the shard's next offset on.
pub(crate) async fn step<W: World>(
    shared: &Arc<Shared<W>>,
    owned: Owned<W>,
    Gathered { records, full }: Gathered,
    suspect: Option<&Suspect>,
    cancelled: &CancellationToken,
) -> Result<Stepped<W>, PipelineError> {
    let begun = shared.runtime.elapsed();
    shared.status.step(owned.partition, Step::AskingSchemas);
    if !shared.decoder.learn_patiently(shared, owned.partition, &records, cancelled).await? {
        return Ok(Stepped::Cancelled);
    }
    let Owned { partition, token, shard, files, seal_after, last } = owned;
    let memory = (shard, files);
    let (applied, catalogue) = apply(shared, partition, memory, records, suspect).await?;
    let applied = match applied {
        Ok(applied) => applied,
        Err(words) => {
            tracing::warn!(partition, words, "a file of event ids cannot be used; its range is read again");
            return Ok(Stepped::Rebuild);
        }
    };
    let Applied { shard, files, records, batch, outcome } = applied;
    let position = |offset| Position { generation: shard.config().generation, partition, offset };
    let heartbeat = Heartbeat { position: position(batch.to - 1), as_of: outcome.broker_time_max };
    shared.levels.publish(&outcome.levels, Some(heartbeat));
    if !send(shared, partition, &shard, &records, &outcome, cancelled).await? {
        return Ok(Stepped::Cancelled);
    }
    let mut change = change(&shard, token, &records, &batch, &outcome, catalogue.version);
    shared.status.step(partition, Step::Committing);
    let started = shared.runtime.elapsed();
    let offset = records.first().map_or(batch.from, |first| first.offset);
    let horizon = outcome.broker_time_max.plus_millis(shared.settings.future_ms);
    let (answer, batch) = match commit_under_newest(shared, &mut change, (batch, horizon), catalogue).await {
        Err(PipelineError::Store(error)) if error.is_refusal() => {
            let refusal = Refusal { offset, records: records.len(), why: error.to_string() };
            return Ok(Stepped::Refused(refusal));
        }
        answer => answer?,
    };
    shared.metrics.commit_seconds.observe(shared.since(started).as_secs_f64());
    match answer {
        CommitAnswer::CatalogueMoved => return Ok(Stepped::Rebuild),
        CommitAnswer::Lost => return Ok(Stepped::Lost),
        CommitAnswer::Committed => {}
    }
    shared.metrics.committed(&outcome);
    shared.backlog.store(full, Ordering::Relaxed);
    hand_over(shared, &shard, batch, &outcome, (full, begun)).await;
    let last = change.last.or(last);
    let owned = Owned { partition, token, shard, files, seal_after, last };
    shared.status.step(partition, Step::SealingIds);
    Ok(Stepped::Committed(Box::new(ids::seal(shared, owned).await?)))
}

/// Decodes and applies, on a thread for work that takes the processor. Why the shard must be
/// built again instead, in words.
async fn apply<W: World>(
    shared: &Arc<Shared<W>>,
    partition: Partition,
    (shard, mut files): (Shard, Option<FilesOf<W>>),
    records: Vec<OwnedRecord>,
    suspect: Option<&Suspect>,
) -> Result<(Result<Applied<W>, String>, Arc<Catalogue>), PipelineError> {
    let schemas = shared.decoder.schemas_for(&records).await?;
    shared.status.step(partition, Step::RefreshingCatalogue);
    let mut catalogue = shared.catalogue.current().await?;
    shared.status.step(partition, Step::Decoding);
    let started = shared.runtime.elapsed();
    let (from, to) =
        (shard.next_offset(), records.last().map_or(shard.next_offset(), |last| last.offset + 1));
    let (decoding, judging) = (Arc::clone(shared), Arc::clone(&catalogue));
    let suspect = suspect.cloned();
    let decoded = shared.runtime.compute(move || {
        let decoder = &decoding.decoder;
        let mut batch = room_for(partition, from, &records);
        for record in &records {
            match &suspect {
                Some(suspect) if suspect.offset == record.offset => {
                    batch.push(without_body(decoder.decode(&schemas, record), suspect));
                }
                _ => decoder.decode_into(&schemas, record, &mut batch),
            }
        }
        batch.to = to;
        let unknown = shard.names_unknown_tenant(&batch, &judging);
        (shard, records, batch, unknown)
    });
    let (mut shard, records, batch, unknown) = decoded.await.map_err(|error| ended(&error))?;
    if unknown {
        shared.status.step(partition, Step::RefreshingCatalogue);
        catalogue = shared.catalogue.refresh().await?;
    }
    let (judging, telling) = (Arc::clone(&catalogue), Arc::clone(shared));
    let applied = shared.runtime.compute(move || {
        let settle = |suspects| {
            telling.status.step(partition, Step::SettlingIds);
            let answers = ids::settle(&mut files, suspects);
            telling.status.step(partition, Step::Applying);
            answers
        };
        let outcome = telling.runtime.apply(&mut shard, &batch, &judging, settle)?;
        Ok(Applied { shard, files, records, batch, outcome })
    });
    let applied = applied.await.map_err(|error| ended(&error))?;
    shared.metrics.apply_seconds.observe(shared.since(started).as_secs_f64());
    Ok((applied, catalogue))
}

/// A record that the ledger refuses, as the shard is to see it.
fn without_body(record: JournalRecord, suspect: &Suspect) -> JournalRecord {
    let body = RecordBody::Unreadable { reason: RejectReason::RefusedByStore, detail: suspect.why.clone() };
    JournalRecord { body, ..record }
}

/// Sends dead letters and forwards until all are acknowledged; false when the partition was
/// taken away meanwhile.
async fn send<W: World>(
    shared: &Shared<W>,
    partition: Partition,
    shard: &Shard,
    records: &[OwnedRecord],
    outcome: &Outcome,
    cancelled: &CancellationToken,
) -> Result<bool, PipelineError> {
    let place = Place {
        usage_topic: &shared.kafka.usage_topic,
        dead_letter_topic: &shared.kafka.dead_letter_topic,
        generation: shard.config().generation,
        partition,
    };
    if outcome.dead_letters.is_empty() && outcome.forwards.is_empty() {
        return Ok(true);
    }
    shared.status.step(partition, Step::SendingLetters);
    let mut waits = delays(&shared.runtime);
    while let Err(error) = shared.writer.send_all(outgoing(place, records, outcome)).await {
        wait_or_give_up(shared, partition, error)?;
        tokio::select! {
            biased;
            () = cancelled.cancelled() => return Ok(false),
            () = shared.runtime.sleep(waits.next().unwrap_or_default()) => {}
        }
    }
    Ok(true)
}

/// Notes a transient error and lets the caller wait; returns any other.
fn wait_or_give_up<W: World>(
    shared: &Shared<W>,
    partition: Partition,
    error: StoreError,
) -> Result<(), PipelineError> {
    if !error.is_transient() {
        return Err(error.into());
    }
    if shared.status.state(partition, PartitionState::Waiting(error.to_string())) {
        tracing::warn!(partition, %error, "counting waits");
    }
    Ok(())
}

fn change(
    shard: &Shard,
    owner: OwnerToken,
    records: &[OwnedRecord],
    batch: &Batch,
    outcome: &Outcome,
    catalog_version: i64,
) -> Commit {
    let mut limits: Vec<CommitLimits> = Vec::new();
    for set in &outcome.limits {
        limits.retain(|earlier| earlier.tenant != set.tenant.as_str());
        limits.push(CommitLimits {
            tenant: set.tenant.to_string(),
            revision: set.revision,
            limits: serde_json::json!(set.limits),
        });
    }
    let alerts = outcome.alerts.iter().map(|one| {
        let event = alert::webhook_event(one);
        CommitAlert {
            id: alert::message_id(one),
            tenant: one.tenant.to_string(),
            event_type: event.event_type.clone(),
            body: serde_json::json!(event),
        }
    });
    Commit {
        partition: batch.partition,
        generation: shard.config().generation,
        owner,
        from: batch.from,
        to: batch.to,
        last: records.last().map(OwnedRecord::fingerprint),
        counts: outcome.counts,
        rejected_by: serde_json::json!(rejected_by(outcome)),
        exceptions: encode_exceptions(batch.from, &outcome.exceptions),
        deltas: encode_deltas(&outcome.deltas),
        content_sum: outcome.content_sum,
        broker_time_max: outcome.broker_time_max,
        catalog_version,
        engine_version: ENGINE_VERSION,
        alerts: alerts.collect(),
        limits,
        adjustments: outcome.adjustments.clone(),
    }
}

/// Commits. Where the catalogue has moved meanwhile, but judges the batch alike, the outcome is
/// committed under the newer version; a tenant that is created or suspended costs nobody his
/// shard. `horizon` is up to which time events were taken.
async fn commit_under_newest<W: World>(
    shared: &Shared<W>,
    change: &mut Commit,
    (mut batch, horizon): (Batch, Timestamp),
    mut judged_by: Arc<Catalogue>,
) -> Result<(CommitAnswer, Batch), PipelineError> {
    loop {
        let answer = commit_patiently(shared, change.partition, change).await?;
        if answer != CommitAnswer::CatalogueMoved {
            return Ok((answer, batch));
        }
        let newest = shared.catalogue.refresh().await?;
        let (earlier, later) = (judged_by, Arc::clone(&newest));
        let compared = shared.runtime.compute(move || {
            let alike = earlier.judges_alike(&later, &batch, horizon);
            (batch, alike)
        });
        let alike;
        (batch, alike) = compared.await.map_err(|error| ended(&error))?;
        if !alike {
            return Ok((CommitAnswer::CatalogueMoved, batch));
        }
        change.catalog_version = newest.version;
        judged_by = newest;
    }
}

/// Commits, through every interruption: after a lost answer the ledger is asked.
async fn commit_patiently<W: World>(
    shared: &Shared<W>,
    partition: Partition,
    change: &Commit,
) -> Result<CommitAnswer, PipelineError> {
    let mut waits = delays(&shared.runtime);
    loop {
        match shared.ledger.commit(change).await {
            Ok(CommitAnswer::Lost) => {}
            Ok(answer) => return Ok(answer),
            Err(error) => {
                wait_or_give_up(shared, partition, error)?;
                shared.runtime.sleep(waits.next().unwrap_or_default()).await;
            }
        }
        match shared.ledger.find_out(change).await {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) => {}
            Err(error) => {
                wait_or_give_up(shared, partition, error)?;
                shared.runtime.sleep(waits.next().unwrap_or_default()).await;
            }
        }
    }
}

/// Gives the accepted events to the projection, where they stand. Where it has no room they are
/// read again later, which costs more than to wait a moment; but counting never waits longer. Counting
/// the batch has begun at `begun`.
async fn hand_over<W: World>(
    shared: &Shared<W>,
    shard: &Shard,
    batch: Batch,
    outcome: &Outcome,
    (full, begun): (bool, Duration),
) {
    let generation = shard.config().generation;
    let Batch { partition, from, to, .. } = batch;
    let accepted = outcome.accepted.iter().filter_map(|one| {
        let record = batch.record(one.index);
        Some((record.offset, record.broker_time, batch.event_index(one.index)?))
    });
    let mut accepted: Vec<_> = accepted.collect();
    let events = Arc::new(those_accepted(batch.into_events(), &mut accepted));
    let bytes = events.held_bytes();
    let row = |(offset, broker_time, index)| {
        EventRow::of(Position { generation, partition, offset }, broker_time, &events, index)
    };
    let rows: Vec<_> = accepted.into_iter().map(row).collect();
    let rows = CommittedRows { partition, generation, from, to, rows, bytes, full };
    let began = shared.runtime.elapsed();
    let behind = shared.projection.reached(partition).is_some_and(|reached| reached.behind);
    let patience = patience(full, behind, shared.since(begun));
    while shared.projection.is_worth_waiting(&rows, shared.runtime.elapsed())
        && shared.since(began) < patience
    {
        shared.runtime.sleep(ROOM_LOOK_EVERY).await;
    }
    shared.projection.push(rows);
}

/// How long a batch waits for room. While its partition is being brought up, at most as long as it
/// took to count the batch: counting goes on at half of its pace or more, and quota answers do not
/// fall behind.
fn patience(full: bool, behind: bool, counted_in: Duration) -> Duration {
    let most = if full { ROOM_PATIENCE_FULL } else { ROOM_PATIENCE };
    if behind { most.min(counted_in) } else { most }
}

/// The events of a batch, or only those that were accepted where the others would hold most of the
/// memory. `accepted` says which by their index, here and afterwards.
fn those_accepted(events: EventBuffer, accepted: &mut [(i64, Timestamp, usize)]) -> EventBuffer {
    let needed: usize = accepted.iter().map(|(_, _, index)| events.get(*index).bytes()).sum();
    if 2 * needed >= events.held_bytes() {
        return events;
    }
    let texts = accepted.iter().map(|(_, _, index)| events.get(*index).texts_len()).sum();
    let mut kept = EventBuffer::default();
    kept.reserve(accepted.len(), texts);
    for (number, (_, _, index)) in accepted.iter_mut().enumerate() {
        kept.push_ref(events.get(*index));
        *index = number;
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counting_keeps_half_of_its_pace_while_its_partition_is_brought_up() {
        let quick = Duration::from_millis(200);
        assert_eq!(patience(true, false, quick), ROOM_PATIENCE_FULL);
        assert_eq!(patience(true, true, quick), quick);
        assert_eq!(patience(false, true, 2 * ROOM_PATIENCE), ROOM_PATIENCE);
    }

    /// Rejected events and duplicates do not wait in memory with the few that were accepted.
    #[test]
    fn what_was_not_accepted_is_not_kept_for_the_projection() {
        let event = |id: usize| weir_metering::event::UsageEvent {
            tenant: "acme".to_owned(),
            source: "gateway".to_owned(),
            id: format!("id-{id}"),
            event_type: "request".to_owned(),
            time: None,
            data: vec![("route".to_owned(), "x".repeat(200))],
        };
        let mut events = EventBuffer::default();
        (0..1_000).for_each(|id| events.push(&event(id)));
        let at = |index| (0, Timestamp::EPOCH, index);
        let mut few = [at(7), at(503), at(999)];
        let kept = those_accepted(events.clone(), &mut few);
        assert!(kept.held_bytes() < 3 * 600, "{} bytes", kept.held_bytes());
        let ids: Vec<_> = few.iter().map(|(_, _, index)| kept.get(*index).id().to_owned()).collect();
        assert_eq!(ids, ["id-7", "id-503", "id-999"]);
        assert_eq!(kept.get(1).to_event(), event(503));
        let mut most: Vec<_> = (0..900).map(at).collect();
        assert_eq!(those_accepted(events, &mut most).len(), 1_000);
    }
}
