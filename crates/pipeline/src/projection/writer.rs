//! The task that writes to ClickHouse. An insert is tried until it is there, with the same
//! rows; only then does the ledger hear of it.

use std::sync::Arc;
use std::time::Duration;

use weir_backends::StoreError;
use weir_backends::ledger::partition::Progress;
use weir_backends::projection::{EventRow, RollupRow, version};
use weir_core::{Partition, Position};
use weir_metering::record::RecordBody;

use super::queue::Reached;
use crate::counting::reread::Reread;
use crate::counting::retry::{Every, delays};
use crate::counting::shared::Shared;
use crate::world::{JournalReader, Ledger, ProjectionStore, Runtime, World};

/// Batches that are brought up at once.
const CATCH_UP_BATCHES: i64 = 100;
/// Offsets that are brought up at once, about.
const CATCH_UP_OFFSETS: i64 = 100_000;
/// How often rollups are written.
const ROLLUPS_EVERY: Duration = Duration::from_millis(900);

/// How often rows that were set aside are tried again.
const ASIDE_AGAIN_AFTER: Duration = Duration::from_secs(10);

/// Writes, and measures what waits meanwhile, for ever.
pub(crate) async fn run<W: World>(shared: Arc<Shared<W>>, projection: W::Projection) {
    let measuring = Arc::clone(&shared);
    tokio::select! {
        biased;
        () = write(shared, projection) => {}
        () = measure(measuring) => {}
    }
}

/// What waits, also while an insert does.
async fn measure<W: World>(shared: Arc<Shared<W>>) {
    let mut every = Every::new(&shared.runtime, Duration::from_millis(500));
    loop {
        every.tick().await;
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let waiting = count(shared.projection.rows());
        shared.metrics.queue_records.with_label_values(&["projection"]).set(waiting);
        let now = shared.runtime.now().millis();
        let delay_ms = shared.projection.waiting_since().map_or(0, |since| now.saturating_sub(since));
        let delay = Duration::from_millis(u64::try_from(delay_ms).unwrap_or_default());
        shared.metrics.projection_delay_seconds.set(delay.as_secs_f64());
        let aside: Vec<String> = shared.projection.aside().into_iter().map(|(_, words)| words).collect();
        shared.metrics.projection_set_aside.set(count(aside.len()));
        shared.status.update(|status| status.set_aside = aside);
    }
}

async fn write<W: World>(shared: Arc<Shared<W>>, projection: W::Projection) {
    patiently(&shared, || projection.prepare()).await;
    let period = Duration::from_millis(shared.settings.projection_interval_ms.max(10));
    let mut every = Every::new(&shared.runtime, period);
    let mut rolled_at = shared.runtime.elapsed();
    let mut tried_aside_at = shared.runtime.elapsed();
    loop {
        every.tick().await;
        if shared.since(tried_aside_at) >= ASIDE_AGAIN_AFTER {
            tried_aside_at = shared.runtime.elapsed();
            try_aside(&shared, &projection).await;
        }
        for partition in shared.projection.partitions() {
            purge(&shared, &projection, partition).await;
        }
        write_waiting(&shared, &projection).await;
        for partition in shared.projection.partitions() {
            let reached = shared.projection.reached(partition);
            // What is still to be purged is brought up in the next round.
            let behind = reached.is_some_and(|reached| reached.behind && reached.purge_from.is_none());
            if behind && let Err(error) = catch_up(&shared, &projection, partition).await {
                trouble(&shared, &error);
            }
        }
        if shared.since(rolled_at) >= ROLLUPS_EVERY {
            rolled_at = shared.runtime.elapsed();
            for partition in shared.projection.partitions() {
                if let Err(error) = roll_up(&shared, &projection, partition).await {
                    trouble(&shared, &error);
                }
            }
        }
    }
}

fn trouble<W: World>(shared: &Shared<W>, error: &StoreError) {
    let words = error.to_string();
    shared.status.update(|status| {
        if status.projection.as_deref() != Some(&words) {
            tracing::warn!(%error, "the projection waits; counting goes on");
            status.projection = Some(words);
        }
    });
}

/// Tries until it is done. A permanent refusal is tried again, too, and said: the rows are
/// in the journal, nothing is lost.
async fn patiently<W: World, F: Future<Output = Result<(), StoreError>>>(
    shared: &Shared<W>,
    mut work: impl FnMut() -> F,
) {
    let mut waits = delays(&shared.runtime);
    while let Err(error) = work().await {
        trouble(shared, &error);
        shared.runtime.sleep(waits.next().unwrap_or_default()).await;
    }
    shared.status.update(|status| status.projection = None);
}

/// Removes rows that the ledger does not know, before the first insert of a taken partition.
async fn purge<W: World>(shared: &Shared<W>, projection: &W::Projection, partition: Partition) {
    let Some(reached) = shared.projection.reached(partition) else { return };
    let Some(from) = reached.purge_from else { return };
    let purged = || async {
        let found = projection.purge_from((partition, reached.generation), from).await?;
        if found > 0 {
            tracing::warn!(partition, from, found, "removed events that the ledger does not know");
        }
        restate_rollups(shared, projection, partition).await
    };
    patiently(shared, purged).await;
    shared.projection.change(partition, reached.owner, |reached| {
        if reached.purge_from == Some(from) {
            reached.purge_from = None;
        }
    });
}

/// Rollups that a lost future of the ledger wrote would win until it has passed them: they
/// go, and what the ledger says of their keys stands again.
async fn restate_rollups<W: World>(
    shared: &Shared<W>,
    projection: &W::Projection,
    partition: Partition,
) -> Result<(), StoreError> {
    let Some((generation, folded_to)) = shared.ledger.folded_standing(partition).await? else {
        return Ok(());
    };
    let place = (partition, generation);
    let keys = projection.rollups_above(place, version(generation, folded_to)).await?;
    if keys.is_empty() {
        return Ok(());
    }
    let mut restated = shared.ledger.totals_of(partition, &keys).await?;
    let totals = std::mem::take(&mut restated.totals);
    let rows: Vec<_> = totals.into_iter().map(|total| RollupRow::of(&restated, total)).collect();
    // Before, so that they are there whatever happens between; after, since a merge may have
    // taken them for the older ones.
    projection.insert_rollups(&rows).await?;
    projection.remove_rollups_above(place, version(generation, restated.folded_to)).await?;
    projection.insert_rollups(&rows).await?;
    tracing::warn!(partition, found = keys.len(), "removed rollups that the ledger does not know");
    Ok(())
}

/// Tries rows again that were set aside.
async fn try_aside<W: World>(shared: &Shared<W>, projection: &W::Projection) {
    for (row, _) in shared.projection.aside() {
        if let Err(error) = projection.insert_events(std::slice::from_ref(&row)).await {
            if error.is_refusal() {
                continue;
            }
            return trouble(shared, &error);
        }
        shared.projection.take_back(&row);
        tracing::info!(partition = row.partition, offset = row.offset, "a row set aside is projected");
        let Some(reached) = shared.projection.reached(row.partition) else { continue };
        let progress = shared.projection.progress(row.partition, reached);
        patiently(shared, || shared.ledger.advance_projected(std::slice::from_ref(&progress))).await;
    }
}

async fn write_waiting<W: World>(shared: &Shared<W>, projection: &W::Projection) {
    let (rows, moved) = shared.projection.take();
    if moved.is_empty() {
        return;
    }
    insert_events(shared, projection, &rows, |partition| moved.get(&partition).map(|moved| moved.from)).await;
    shared.projection.written();
    let progress = moved.iter().map(|(at, moved)| shared.projection.progress(*at, moved.reached));
    let progress: Vec<_> = progress.collect();
    patiently(shared, || shared.ledger.advance_projected(&progress)).await;
}

/// Inserts rows, patiently. What ClickHouse refuses for good is halved until one row is left,
/// which is set aside (invariant 11). `from` says where a batch of a partition begins, at or
/// before the first of its rows.
async fn insert_events<W: World>(
    shared: &Shared<W>,
    projection: &W::Projection,
    rows: &[EventRow],
    from: impl Fn(Partition) -> Option<i64>,
) {
    let started = shared.runtime.elapsed();
    let mut parts = vec![rows];
    let mut waits = delays(&shared.runtime);
    while let Some(part) = parts.pop().filter(|part| !part.is_empty()) {
        let Err(error) = projection.insert_events(part).await else { continue };
        match part {
            [row] if error.is_refusal() => {
                let begin = from(row.partition).unwrap_or(row.offset);
                if shared.projection.set_aside(row, begin, &error.to_string()) {
                    let EventRow { partition, offset, .. } = row;
                    tracing::error!(partition, offset, %error, "a counted event is not projected");
                    continue;
                }
            }
            _ if error.is_refusal() => {
                let (head, tail) = part.split_at(part.len() / 2);
                parts.extend([tail, head]);
                continue;
            }
            _ => {}
        }
        trouble(shared, &error);
        shared.runtime.sleep(waits.next().unwrap_or_default()).await;
        parts.push(part);
    }
    if !rows.is_empty() {
        shared.status.update(|status| status.projection = None);
        measured(shared, "events_raw", started, rows.len());
    }
}

fn measured<W: World>(shared: &Shared<W>, table: &str, started: Duration, rows: usize) {
    shared.metrics.insert_seconds.with_label_values(&[table]).observe(shared.since(started).as_secs_f64());
    shared.metrics.insert_rows.with_label_values(&[table]).inc_by(u64::try_from(rows).unwrap_or_default());
}

/// Brings up a part of what is missing, from the journal minus the exceptions.
async fn catch_up<W: World>(
    shared: &Arc<Shared<W>>,
    projection: &W::Projection,
    partition: Partition,
) -> Result<(), StoreError> {
    let Some(reached) = shared.projection.reached(partition) else { return Ok(()) };
    let place = (partition, reached.generation);
    let batches = shared.ledger.exceptions(place, reached.to, CATCH_UP_BATCHES).await?;
    let since = batches.first().map(|batch| batch.broker_time_max.millis());
    shared.projection.change(partition, reached.owner, |reached| reached.behind_since = since);
    let fitting = batches.iter().take_while(|batch| batch.from - reached.to < CATCH_UP_OFFSETS);
    let Some(to) = fitting.last().map(|batch| batch.to) else {
        shared.projection.change(partition, reached.owner, |reached| reached.behind = false);
        return Ok(());
    };
    let (low, _) = shared.reader.watermarks(partition).await?;
    if low > reached.to {
        tracing::error!(partition, from = reached.to, low, "events were trimmed before they were projected");
    }
    let mut again = Reread::begin(shared, place, reached.to, reached.to.max(low).min(to), to);
    while let Some(records) = again.next(shared).await? {
        let rows = event_rows(shared, reached, partition, records).await?;
        insert_events(shared, projection, &rows, |_| Some(reached.to)).await;
    }
    let progress = shared.projection.progress(partition, Reached { to, ..reached });
    shared.ledger.advance_projected(&[progress]).await?;
    shared.projection.change(partition, reached.owner, |now| now.to = now.to.max(to));
    Ok(())
}

async fn event_rows<W: World>(
    shared: &Arc<Shared<W>>,
    reached: Reached,
    partition: Partition,
    records: Vec<(weir_backends::journal::OwnedRecord, bool)>,
) -> Result<Vec<EventRow>, StoreError> {
    let accepted: Vec<_> =
        records.into_iter().filter(|(_, accepted)| *accepted).map(|(record, _)| record).collect();
    let schemas = shared.decoder.schemas_for(&accepted).await?;
    let mut rows = Vec::with_capacity(accepted.len());
    for record in &accepted {
        let decoded = shared.decoder.decode(&schemas, record);
        let RecordBody::Event { event, .. } = decoded.body else {
            let reason =
                format!("offset {} was counted as an event, and cannot be read as one now", record.offset);
            return Err(StoreError::corrupt("bring the projection up", reason));
        };
        let position = Position { generation: reached.generation, partition, offset: record.offset };
        rows.push(EventRow::of(position, decoded.broker_time, event));
    }
    Ok(rows)
}

/// Writes the totals that the rollups lack.
async fn roll_up<W: World>(
    shared: &Shared<W>,
    projection: &W::Projection,
    partition: Partition,
) -> Result<(), StoreError> {
    let Some(reached) = shared.projection.reached(partition) else { return Ok(()) };
    while let Some(mut pending) = shared.ledger.pending_rollup(partition).await? {
        let totals = std::mem::take(&mut pending.totals);
        let rows: Vec<_> = totals.into_iter().map(|total| RollupRow::of(&pending, total)).collect();
        if !rows.is_empty() {
            let started = shared.runtime.elapsed();
            projection.insert_rollups(&rows).await?;
            measured(shared, "usage_hourly_raw", started, rows.len());
        }
        let Reached { generation, owner, .. } = reached;
        let progress = Progress { partition, generation, owner, to: pending.to };
        if !shared.ledger.advance_rolled(&progress).await? {
            break;
        }
    }
    Ok(())
}
