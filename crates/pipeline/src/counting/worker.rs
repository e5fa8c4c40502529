//! The task of one partition: takes it, counts it batch by batch, takes it again after
//! what went wrong, until the group gives it to another process. Errors that pass are
//! waited for; everything else is said in the status, and looked at again later.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use weir_backends::StoreError;
use weir_backends::journal::OwnedRecord;
use weir_core::{Partition, Timestamp};

use super::caution::{Caution, Refusal};
use super::letters::tick;
use super::recovery::{Owned, compare, take_partition};
use super::retry::delays;
use super::shared::Shared;
use super::step::{Gathered, Stepped, step};
use super::topic_watch;
use crate::error::PipelineError;
use crate::progress::Step;
use crate::status::PartitionState;
use crate::world::{JournalReader, JournalWriter, RecordQueue, Runtime, World};

/// How often the ends of the partition are looked at.
const WATCH_EVERY: Duration = Duration::from_secs(2);
/// How long to wait before a partition that another process took is taken again, while the
/// group says that it is ours.
const AFTER_LOSS: Duration = Duration::from_secs(1);
/// How long to wait before what was refused is looked at again.
const AFTER_REFUSAL: Duration = Duration::from_secs(10);

/// Why counting a partition ended for now.
enum End {
    Cancelled,
    Rebuild,
    Lost,
}

/// How often the fingerprint is asked for while Kafka does not answer.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Counts a partition until cancelled.
pub(crate) async fn run_partition<W: World>(
    shared: Arc<Shared<W>>,
    partition: Partition,
    cancelled: CancellationToken,
) {
    let mut waits = delays(&shared.runtime);
    let mut caution = Caution::default();
    while !cancelled.is_cancelled() {
        let started = shared.runtime.elapsed();
        shared.status.step(partition, Step::Taking);
        let ended = take_and_count(&shared, partition, &mut caution, &cancelled).await;
        shared.reader.stop(partition);
        shared.metrics.owned(partition, false);
        if shared.since(started) > Duration::from_secs(60) {
            waits = delays(&shared.runtime);
        }
        let wait = match ended {
            Ok(End::Cancelled) => break,
            Ok(End::Rebuild) => Duration::ZERO,
            Ok(End::Lost) => {
                tracing::info!(partition, "another process has the partition");
                AFTER_LOSS
            }
            Err(error) => {
                say(&shared, partition, &error);
                if error.is_transient() { waits.next().unwrap_or_default() } else { AFTER_REFUSAL }
            }
        };
        shared.status.step(partition, Step::Pausing);
        tokio::select! {
            biased;
            () = cancelled.cancelled() => break,
            () = shared.runtime.sleep(wait) => {}
        }
    }
    shared.projection.release(partition);
    shared.status.update(|status| {
        status.partitions.remove(&partition);
    });
}

fn say<W: World>(shared: &Shared<W>, partition: Partition, error: &PipelineError) {
    let words = error.to_string();
    let state = match error {
        _ if error.is_transient() => PartitionState::Waiting(words),
        PipelineError::Refused { reason, .. } => PartitionState::Refused(reason.clone()),
        _ => PartitionState::Held(words),
    };
    if shared.status.state(partition, state) {
        if error.is_transient() {
            tracing::warn!(partition, %error, "counting waits");
        } else {
            tracing::error!(partition, %error, "the partition is not counted");
        }
    }
}

async fn take_and_count<W: World>(
    shared: &Arc<Shared<W>>,
    partition: Partition,
    caution: &mut Caution,
    cancelled: &CancellationToken,
) -> Result<End, PipelineError> {
    let mut owned = tokio::select! {
        biased;
        () = cancelled.cancelled() => return Ok(End::Cancelled),
        taken = take_partition(shared, partition) => taken?,
    };
    let queue = shared.reader.start(partition, owned.shard.next_offset());
    shared.metrics.owned(partition, true);
    let label = partition.to_string();
    let mut watched_at = shared.runtime.elapsed();
    loop {
        shared.status.partition(partition, |status| {
            status.state = PartitionState::Counting;
            status.next_offset = owned.shard.next_offset();
        });
        let ids = i64::try_from(owned.shard.remembered_ids()).unwrap_or(i64::MAX);
        shared.metrics.remembered_ids.with_label_values(&[&label]).set(ids);
        if shared.since(watched_at) > WATCH_EVERY {
            watch(shared, partition, owned.shard.next_offset()).await?;
            watched_at = shared.runtime.elapsed();
        }
        shared.status.step(partition, Step::Fetching);
        let Some(gathered) = gather(shared, partition, &queue, caution, cancelled).await? else {
            return Ok(End::Cancelled);
        };
        if gathered.records.is_empty() {
            continue;
        }
        shared.status.step(partition, Step::Comparing);
        if !still_the_same(shared, &owned, queue.take_silence(), cancelled).await? {
            return Ok(End::Cancelled);
        }
        shared.status.step(partition, Step::AwaitingClock);
        if !hold(shared, partition, &gathered.records, cancelled).await {
            return Ok(End::Cancelled);
        }
        owned = match step(shared, owned, gathered, caution.suspect(), cancelled).await? {
            Stepped::Committed(owned) => *owned,
            Stepped::Refused(refusal) => return learn(partition, caution, refusal),
            Stepped::Rebuild => return Ok(End::Rebuild),
            Stepped::Lost => return Ok(End::Lost),
            Stepped::Cancelled => return Ok(End::Cancelled),
        };
        caution.committed(shared.settings.batch_records_max);
    }
}

/// What follows from a refusal: the shard is built again, and counts more carefully.
fn learn(partition: Partition, caution: &mut Caution, refusal: Refusal) -> Result<End, PipelineError> {
    let Refusal { offset, records, why } = &refusal;
    tracing::warn!(partition, offset, records, why, "the ledger refuses a batch");
    if caution.refused(&refusal) {
        return Ok(End::Rebuild);
    }
    let reason = format!("the ledger refuses the batch at offset {offset} without its record, too: {why}");
    Err(StoreError::corrupt("commit a batch", reason).into())
}

/// Asks which topic bears the name before records are counted that were read from it. After a
/// silence, in which it may have been cut and filled again, journal and ledger are compared
/// as well (invariant 2). Waits for Kafka; false when cancelled.
async fn still_the_same<W: World>(
    shared: &Shared<W>,
    owned: &Owned<W>,
    after_silence: bool,
    cancelled: &CancellationToken,
) -> Result<bool, PipelineError> {
    let partition = owned.partition;
    loop {
        let compared = async {
            if let Some(reason) = topic_watch::is_another(shared).await? {
                return Err(PipelineError::Refused { partition, reason });
            }
            if !after_silence {
                return Ok(());
            }
            let ends = shared.reader.watermarks(partition).await?;
            compare(shared, partition, owned.shard.next_offset(), owned.last.as_ref(), ends).await
        };
        match compared.await {
            Err(error) if error.is_transient() => say(shared, partition, &error),
            ended => return ended.map(|()| true),
        }
        tokio::select! {
            biased;
            () = cancelled.cancelled() => return Ok(false),
            () = shared.runtime.sleep(ASK_AGAIN) => {}
        }
    }
}

/// Waits for a batch of records; none when it is time to watch, `None` when cancelled.
/// A partition that stays idle gets a tick.
async fn gather<W: World>(
    shared: &Shared<W>,
    partition: Partition,
    queue: &impl RecordQueue,
    caution: &Caution,
    cancelled: &CancellationToken,
) -> Result<Option<Gathered>, PipelineError> {
    let settings = &shared.settings;
    let records_max = caution.records_max(settings.batch_records_max);
    let interval = Duration::from_millis(settings.batch_interval_ms);
    let tick_after = Duration::from_millis(settings.tick_after_ms);
    let idle_since = shared.runtime.elapsed();
    let mut ticked_at = shared.runtime.elapsed();
    let mut first_at: Option<Duration> = None;
    loop {
        if let Some(reason) = queue.refusal().or_else(|| shared.status.refusal()) {
            return Err(PipelineError::Refused { partition, reason });
        }
        let (records, bytes) = queue.held();
        let wait = if records > 0 {
            let waited = shared.since(*first_at.get_or_insert_with(|| shared.runtime.elapsed()));
            let full = records >= records_max || bytes >= settings.batch_bytes_max;
            if full || waited >= interval {
                let records = queue.take(records_max, settings.batch_bytes_max);
                return Ok(Some(Gathered { records, full }));
            }
            interval - waited
        } else {
            if shared.since(ticked_at) >= tick_after {
                ticked_at = shared.runtime.elapsed();
                if let Err(error) = shared.writer.send(tick(&shared.kafka.usage_topic, partition)).await {
                    tracing::warn!(partition, %error, "a tick could not be written");
                }
            }
            if shared.since(idle_since) >= WATCH_EVERY && shared.since(ticked_at) >= WATCH_EVERY {
                watch(shared, partition, -1).await?;
            }
            WATCH_EVERY.min(tick_after)
        };
        tokio::select! {
            biased;
            () = cancelled.cancelled() => return Ok(None),
            () = queue.changed() => {}
            () = shared.runtime.sleep(wait) => {}
        }
    }
}

/// Looks at the ends of the partition: for the lag, and for a topic that was trimmed or
/// recreated while it is counted. A `next_offset` below zero asks the status.
async fn watch<W: World>(
    shared: &Shared<W>,
    partition: Partition,
    next_offset: i64,
) -> Result<(), PipelineError> {
    let (low, high) = match shared.reader.watermarks(partition).await {
        Ok(watermarks) => watermarks,
        Err(error) => {
            if shared.status.state(partition, PartitionState::Waiting(error.to_string())) {
                tracing::warn!(partition, %error, "counting waits");
            }
            return Ok(());
        }
    };
    let mut next = next_offset;
    shared.status.partition(partition, |status| {
        status.state = PartitionState::Counting;
        status.high_watermark = high;
        next = if next_offset < 0 { status.next_offset } else { next_offset };
    });
    shared.metrics.lag_records.with_label_values(&[&partition.to_string()]).set((high - next).max(0));
    let reason = if next < low {
        format!(
            "the journal was trimmed to offset {low} while only {next} is counted; see `weir ledger accept-topic`"
        )
    } else if next > high {
        format!(
            "the journal ends at {high} but {next} is counted: the topic was recreated; see `weir ledger accept-topic`"
        )
    } else {
        return Ok(());
    };
    Err(PipelineError::Refused { partition, reason })
}

/// Waits while a record's broker time is far ahead of this machine's clock (invariant 4);
/// false when cancelled.
async fn hold<W: World>(
    shared: &Shared<W>,
    partition: Partition,
    records: &[OwnedRecord],
    cancelled: &CancellationToken,
) -> bool {
    let latest = records.iter().map(|record| record.broker_time_ms).max().unwrap_or_default();
    loop {
        let now = shared.runtime.now();
        if Timestamp::clamped(latest) <= now.plus_millis(shared.settings.clock_ahead_max_ms) {
            return true;
        }
        let reason = format!(
            "a record has the broker time {}, far ahead of this machine's clock, which says {}; one of them is wrong",
            Timestamp::clamped(latest),
            now
        );
        if shared.status.state(partition, PartitionState::Held(reason.clone())) {
            tracing::error!(partition, reason, "the partition is held");
        }
        tokio::select! {
            biased;
            () = cancelled.cancelled() => return false,
            () = shared.runtime.sleep(Duration::from_secs(1)) => {}
        }
    }
}
