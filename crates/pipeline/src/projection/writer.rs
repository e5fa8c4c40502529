//! The task that writes to ClickHouse. An insert is tried until it is there, with the same
//! rows; only then does the ledger hear of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;
use weir_backends::StoreError;
use weir_backends::ledger::{chain, partition, rollup};
use weir_backends::projection::{EventRow, Projection, RollupRow};
use weir_core::{Partition, Position};
use weir_metering::record::RecordBody;

use super::queue::Reached;
use crate::counting::reread::Reread;
use crate::counting::retry::delays;
use crate::counting::shared::Shared;

/// Batches that are brought up at once.
const CATCH_UP_BATCHES: i64 = 100;
/// Offsets that are brought up at once, about.
const CATCH_UP_OFFSETS: i64 = 100_000;
/// How often rollups are written.
const ROLLUPS_EVERY: Duration = Duration::from_millis(900);

/// Writes, for ever.
pub(crate) async fn run(shared: Arc<Shared>, projection: Projection) {
    patiently(&shared, || projection.prepare()).await;
    let mut every =
        tokio::time::interval(Duration::from_millis(shared.settings.projection_interval_ms.max(10)));
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut rolled_at = Instant::now();
    loop {
        every.tick().await;
        let waiting = i64::try_from(shared.projection.rows()).unwrap_or(i64::MAX);
        shared.metrics.queue_records.with_label_values(&["projection"]).set(waiting);
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
        if rolled_at.elapsed() >= ROLLUPS_EVERY {
            rolled_at = Instant::now();
            for partition in shared.projection.partitions() {
                if let Err(error) = roll_up(&shared, &projection, partition).await {
                    trouble(&shared, &error);
                }
            }
        }
    }
}

fn trouble(shared: &Shared, error: &StoreError) {
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
async fn patiently<F: Future<Output = Result<(), StoreError>>>(shared: &Shared, mut work: impl FnMut() -> F) {
    let mut waits = delays();
    while let Err(error) = work().await {
        trouble(shared, &error);
        tokio::time::sleep(waits.next().unwrap_or_default()).await;
    }
    shared.status.update(|status| status.projection = None);
}

/// Removes rows that the ledger does not know, before the first insert of a taken partition.
async fn purge(shared: &Shared, projection: &Projection, partition: Partition) {
    let Some(reached) = shared.projection.reached(partition) else { return };
    let Some(from) = reached.purge_from else { return };
    let purged = || async {
        let found = projection.purge_from(partition, reached.generation, from).await?;
        if found > 0 {
            tracing::warn!(partition, from, found, "removed events that the ledger does not know");
        }
        Ok(())
    };
    patiently(shared, purged).await;
    shared.projection.change(partition, reached.owner, |reached| {
        if reached.purge_from == Some(from) {
            reached.purge_from = None;
        }
    });
}

async fn write_waiting(shared: &Shared, projection: &Projection) {
    let (rows, moved) = shared.projection.take();
    if moved.is_empty() {
        return;
    }
    insert_events(shared, projection, &rows).await;
    let progress: Vec<_> = moved.iter().map(|(partition, reached)| reached.progress(*partition)).collect();
    patiently(shared, || partition::advance_projected(&shared.pool, &progress)).await;
}

async fn insert_events(shared: &Shared, projection: &Projection, rows: &[EventRow]) {
    if rows.is_empty() {
        return;
    }
    let started = Instant::now();
    patiently(shared, || projection.insert_events(rows)).await;
    measured(shared, "events_raw", started, rows.len());
    if let Some(oldest) = rows.iter().map(|row| row.broker_time).min() {
        let delay =
            Duration::from_millis(u64::try_from(Utc::now().timestamp_millis() - oldest).unwrap_or_default());
        shared.metrics.projection_delay_seconds.set(delay.as_secs_f64());
    }
}

fn measured(shared: &Shared, table: &str, started: Instant, rows: usize) {
    shared.metrics.insert_seconds.with_label_values(&[table]).observe(started.elapsed().as_secs_f64());
    shared.metrics.insert_rows.with_label_values(&[table]).inc_by(u64::try_from(rows).unwrap_or_default());
}

/// Brings up a part of what is missing, from the journal minus the exceptions.
async fn catch_up(
    shared: &Arc<Shared>,
    projection: &Projection,
    partition: Partition,
) -> Result<(), StoreError> {
    let Some(reached) = shared.projection.reached(partition) else { return Ok(()) };
    let place = (partition, reached.generation);
    let batches = chain::exceptions(&shared.pool, place, reached.to, CATCH_UP_BATCHES).await?;
    let fitting = batches.iter().take_while(|batch| batch.from - reached.to < CATCH_UP_OFFSETS);
    let Some(to) = fitting.last().map(|batch| batch.to) else {
        shared.projection.change(partition, reached.owner, |reached| reached.behind = false);
        return Ok(());
    };
    let (low, _) = shared.consumer.watermarks(partition).await?;
    if low > reached.to {
        tracing::error!(partition, from = reached.to, low, "events were trimmed before they were projected");
    }
    let mut again = Reread::begin(shared, place, reached.to, reached.to.max(low).min(to), to);
    while let Some(records) = again.next(shared).await? {
        let rows = event_rows(shared, reached, partition, records).await?;
        insert_events(shared, projection, &rows).await;
    }
    let progress = Reached { to, ..reached }.progress(partition);
    partition::advance_projected(&shared.pool, &[progress]).await?;
    shared.projection.change(partition, reached.owner, |now| now.to = now.to.max(to));
    Ok(())
}

async fn event_rows(
    shared: &Arc<Shared>,
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
async fn roll_up(shared: &Shared, projection: &Projection, partition: Partition) -> Result<(), StoreError> {
    let Some(reached) = shared.projection.reached(partition) else { return Ok(()) };
    while let Some(mut pending) = rollup::pending(&shared.pool, partition).await? {
        let totals = std::mem::take(&mut pending.totals);
        let rows: Vec<_> = totals.into_iter().map(|total| RollupRow::of(&pending, total)).collect();
        if !rows.is_empty() {
            let started = Instant::now();
            projection.insert_rollups(&rows).await?;
            measured(shared, "usage_hourly_raw", started, rows.len());
        }
        let progress = Reached { to: pending.to, ..reached }.progress(partition);
        if !partition::advance_rolled(&shared.pool, &progress).await? {
            break;
        }
    }
    Ok(())
}
