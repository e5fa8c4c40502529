//! Bringing the projection up from the journal minus the exceptions: nothing is decided again.

use std::sync::Arc;

use weir_backends::StoreError;
use weir_backends::journal::OwnedRecord;
use weir_backends::projection::EventRow;
use weir_core::{Partition, Position};
use weir_metering::record::{BodyRef, RecordRef};

use super::queue::Reached;
use super::writer::insert_events;
use crate::counting::decoder::room_for;
use crate::counting::reread::Reread;
use crate::counting::shared::Shared;
use crate::world::{JournalReader, Ledger, World};

/// Batches that are brought up at once.
const BATCHES: i64 = 100;
/// Offsets that are brought up at once, about.
const OFFSETS: i64 = 200_000;
/// Rows of one insert, about.
const INSERT_ROWS: usize = 100_000;

/// Brings up a part of what is missing, from the journal minus the exceptions.
pub(super) async fn catch_up<W: World>(
    shared: &Arc<Shared<W>>,
    projection: &W::Projection,
    partition: Partition,
) -> Result<(), StoreError> {
    let Some(reached) = shared.projection.reached(partition) else { return Ok(()) };
    let place = (partition, reached.generation);
    let batches = shared.ledger.exceptions(place, reached.to, BATCHES).await?;
    let since = batches.first().map(|batch| batch.broker_time_max.millis());
    shared.projection.change(partition, reached.owner, |reached| reached.behind_since = since);
    let fitting = batches.iter().take_while(|batch| batch.from - reached.to < OFFSETS);
    let Some(to) = fitting.last().map(|batch| batch.to) else {
        shared.projection.change(partition, reached.owner, |reached| reached.behind = false);
        return Ok(());
    };
    if !project(shared, projection, (partition, reached), (reached.to, to)).await? {
        tracing::error!(
            partition,
            from = reached.to,
            "events were trimmed before they were projected, and are not archived"
        );
    }
    let progress = shared.projection.progress(partition, Reached { to, ..reached });
    shared.ledger.advance_projected(&[progress]).await?;
    shared.projection.change(partition, reached.owner, |now| {
        // Moved back meanwhile: what was written is to be written again.
        if now.epoch == reached.epoch {
            now.to = now.to.max(to);
        }
    });
    Ok(())
}

/// Inserts the accepted events of a span that begins and ends with batches. False when the
/// journal does not hold all of it any more.
pub(super) async fn project<W: World>(
    shared: &Arc<Shared<W>>,
    projection: &W::Projection,
    (partition, reached): (Partition, Reached),
    (from, to): (i64, i64),
) -> Result<bool, StoreError> {
    let place = (partition, reached.generation);
    let low = shared.reader.readable_from(partition).await?;
    let mut again = Reread::begin(shared, place, from, from.max(low).min(to), to);
    let mut rows = Vec::new();
    loop {
        let records = again.next(shared).await?;
        let ended = records.is_none();
        rows.extend(event_rows(shared, reached, partition, records.unwrap_or_default()).await?);
        // Each insert makes a part that is merged later: few and large ones cost least.
        if ended || rows.len() >= INSERT_ROWS {
            insert_events(shared, projection, &rows, |_| Some(from)).await;
            shared.metrics.read_again_rows.inc_by(u64::try_from(rows.len()).unwrap_or_default());
            rows.clear();
        }
        if ended {
            break;
        }
    }
    Ok(low <= from)
}

async fn event_rows<W: World>(
    shared: &Arc<Shared<W>>,
    reached: Reached,
    partition: Partition,
    records: Vec<(OwnedRecord, bool)>,
) -> Result<Vec<EventRow>, StoreError> {
    let accepted: Vec<_> =
        records.into_iter().filter(|(_, accepted)| *accepted).map(|(record, _)| record).collect();
    let schemas = shared.decoder.schemas_for(&accepted).await?;
    let mut batch = room_for(partition, reached.to, &accepted);
    for record in &accepted {
        shared.decoder.decode_into(&schemas, record, &mut batch);
    }
    let place = |record: RecordRef<'_>| match record.body {
        BodyRef::Event(..) => Ok((record.offset, record.broker_time)),
        BodyRef::Other(_) => {
            let reason =
                format!("offset {} was counted as an event, and cannot be read as one now", record.offset);
            Err(StoreError::corrupt("bring the projection up", reason))
        }
    };
    let places: Vec<_> = batch.records().map(place).collect::<Result<_, _>>()?;
    let events = Arc::new(batch.into_events());
    let rows = places.into_iter().enumerate().map(|(index, (offset, broker_time))| {
        let position = Position { generation: reached.generation, partition, offset };
        let mut row = EventRow::of(position, broker_time, &events, index);
        row.epoch = reached.epoch;
        row
    });
    Ok(rows.collect())
}
