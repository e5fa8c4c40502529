//! Taking a partition: the owner's token, the comparison of journal and ledger, the shard
//! built again as it stood (invariants 2 and 8); its ids are `ids`'s.

use std::sync::Arc;
use std::time::Duration;

use weir_backends::StoreError;
use weir_backends::journal::{Fingerprint, Heartbeat};
use weir_backends::ledger::partition::{OwnerToken, PartitionRow, Progress};
use weir_backends::ledger::standing::FoldedTo;
use weir_core::{Partition, Position, Timestamp};
use weir_metering::catalogue::Catalogue;
use weir_metering::shard::{Recovered, Shard, ShardConfig};

use super::ids::{self, FilesOf};
use super::shared::Shared;
use super::topic_watch;
use crate::error::PipelineError;
use crate::fold;
use crate::progress::Step;
use crate::world::{JournalReader, Ledger, Runtime, Stopped, World};

/// A partition that is this worker's.
pub(crate) struct Owned<W: World> {
    pub(crate) partition: Partition,
    pub(crate) token: OwnerToken,
    pub(crate) shard: Shard,
    /// The files of ids that the shard has sealed, where any are kept.
    pub(crate) files: Option<FilesOf<W>>,
    /// No file is written before this time of the runtime.
    pub(crate) seal_after: Duration,
    /// The last record that was counted.
    pub(crate) last: Option<Fingerprint>,
}

/// Takes a partition and builds its shard.
pub(crate) async fn take_partition<W: World>(
    shared: &Arc<Shared<W>>,
    partition: Partition,
) -> Result<Owned<W>, PipelineError> {
    if let Some(reason) = shared.status.refusal() {
        return Err(PipelineError::Refused { partition, reason });
    }
    if let Some(reason) = topic_watch::is_another(shared).await? {
        return Err(PipelineError::Refused { partition, reason });
    }
    if let Some(reason) = topic_watch::is_uncounted(shared, partition).await? {
        return Err(PipelineError::Refused { partition, reason });
    }
    let (low, high) = shared.reader.watermarks(partition).await?;
    let token = shared.runtime.random().map_err(|error| ended(&error))?;
    let generation = shared.installation.generation;
    let name = shared.owner_name.as_str();
    let row = shared.ledger.take(partition, (generation, low), (&token, name)).await?;
    if row.generation != generation {
        let reason = format!(
            "the ledger is at generation {}, this process counts {generation}: start it again",
            row.generation
        );
        return Err(PipelineError::Refused { partition, reason });
    }
    compare(shared, partition, row.next_offset, row.last.as_ref(), (low, high)).await?;
    let missing = shared.ledger.exceptions((partition, generation), row.projected_to, 1).await?;
    shared.projection.own(&row, token, missing.first().map(|batch| batch.broker_time_max));
    shared.status.step(partition, Step::Folding);
    while !fold::fold_step(&shared.ledger, partition).await? {
        shared.status.prepared(partition);
    }
    shared.status.step(partition, Step::Taking);
    let files = ids::open(shared, &row).await?;
    let (shard, catalogue) = rebuild(shared, &row).await?;
    let readable_from = shared.reader.readable_from(partition).await?;
    shared.status.step(partition, Step::RecallingIds);
    let (shard, files) = ids::recall(shared, &row, readable_from, shard, files).await?;
    shared.status.step(partition, Step::Taking);
    unmoved(shared, &row, token).await?;
    tell_levels(shared, &row, &shard, &catalogue);
    shared.status.partition(partition, |status| {
        status.next_offset = row.next_offset;
        status.high_watermark = high;
    });
    tracing::info!(
        partition,
        next_offset = row.next_offset,
        behind = high - row.next_offset,
        ids = shard.remembered_ids(),
        "partition taken"
    );
    Ok(Owned { partition, token, shard, files, seal_after: Duration::ZERO, last: row.last })
}

/// Whether the journal still holds what the ledger counted.
pub(crate) async fn compare<W: World>(
    shared: &Shared<W>,
    partition: Partition,
    next_offset: i64,
    last: Option<&Fingerprint>,
    (low, high): (i64, i64),
) -> Result<(), PipelineError> {
    let refused = |reason: String| Err(PipelineError::Refused { partition, reason });
    if next_offset < low {
        return refused(format!(
            "the journal was trimmed to offset {low}, but only {next_offset} is counted: records are lost; `weir \
             ledger accept-topic` goes on from what is left"
        ));
    }
    if next_offset > high {
        return refused(format!(
            "the ledger has counted up to offset {next_offset}, but the journal ends at {high}: the topic was \
             recreated or cut; `weir ledger accept-topic` counts it from its beginning"
        ));
    }
    let Some(last) = last.filter(|last| last.offset >= low) else { return Ok(()) };
    match shared.reader.read_one(partition, last.offset).await? {
        Some(found) if found.fingerprint() == *last => Ok(()),
        Some(found) => refused(format!(
            "offset {} holds another record (of {}) than the one that was counted (of {}): the topic was cut \
             and refilled; `weir ledger accept-topic` counts it from its beginning",
            last.offset,
            Timestamp::clamped(found.broker_time_ms),
            last.broker_time
        )),
        None => refused(format!(
            "offset {}, which was counted, is gone while earlier ones are there: was the topic compacted? \
             set cleanup.policy=delete and run `weir ledger accept-topic`",
            last.offset
        )),
    }
}

async fn rebuild<W: World>(
    shared: &Arc<Shared<W>>,
    row: &PartitionRow,
) -> Result<(Shard, Arc<Catalogue>), PipelineError> {
    let settings = &shared.settings;
    let catalogue = shared.catalogue.refresh().await?;
    let kept_ms = settings.window_ms + settings.future_ms;
    let ends_after = row.broker_time_max.plus_millis(-kept_ms);
    let stand = FoldedTo { partition: row.partition, offset: row.next_offset };
    let recovered = Recovered {
        next_offset: row.next_offset,
        broker_time_max: row.broker_time_max,
        limits: shared.ledger.limits(row.partition).await?,
        totals: shared.ledger.totals(stand, ends_after, &catalogue).await?,
        series: shared.ledger.series(stand).await?,
        adjustments: shared.ledger.adjustments(row.partition).await?,
    };
    let config = ShardConfig {
        generation: row.generation,
        partition: row.partition,
        window_ms: settings.window_ms,
        future_ms: settings.future_ms,
        series_max: settings.series_max,
    };
    Ok((Shard::new(config, shared.installation.identity_key, recovered), catalogue))
}

/// Whether all that was read of the ledger is of one time: a token that is still there has
/// kept everyone else from writing, and a ledger that was restored meanwhile does not have it.
async fn unmoved<W: World>(
    shared: &Shared<W>,
    row: &PartitionRow,
    owner: OwnerToken,
) -> Result<(), PipelineError> {
    let PartitionRow { partition, generation, next_offset, epoch, .. } = *row;
    let mine = Progress { partition, generation, owner, epoch, to: next_offset };
    let now = shared.ledger.owned(&[mine]).await?;
    // A backup of the moment between the taking and its fold has the token, and usage less.
    if now.first().is_some_and(|now| now.next_offset == next_offset && now.folded_to == next_offset) {
        return Ok(());
    }
    let reason = format!("partition {partition} was taken by another process, or the ledger restored");
    Err(StoreError::Transient { attempt: "take a partition", reason }.into())
}

/// Publishes anew where every limited meter stands.
fn tell_levels<W: World>(shared: &Shared<W>, row: &PartitionRow, shard: &Shard, catalogue: &Catalogue) {
    let position =
        Position { generation: row.generation, partition: row.partition, offset: row.next_offset - 1 };
    let heartbeat = row.last.is_some().then_some(Heartbeat { position, as_of: row.broker_time_max });
    shared.levels.publish(&shard.levels(catalogue), heartbeat);
}

pub(crate) fn ended(error: &Stopped) -> PipelineError {
    PipelineError::Ended { part: "the shard", reason: error.to_string() }
}
