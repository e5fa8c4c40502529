//! Reading a committed part of a partition again, with what the ledger decided about each
//! record: nothing is decided twice.

use std::collections::VecDeque;

use weir_backends::StoreError;
use weir_backends::journal::OwnedRecord;
use weir_core::{Generation, Partition};

use super::shared::Shared;
use crate::world::{JournalReader, Ledger, RecordRange, World};

/// Batches whose exceptions are read at once.
const BATCHES: i64 = 256;

/// A part of a partition, read in chunks.
pub(crate) struct Reread<W: World> {
    place: (Partition, Generation),
    range: <W::Reader as JournalReader>::Range,
    /// Offsets that were not accepted, ahead of what was read.
    exceptions: VecDeque<i64>,
    /// Exceptions are known below this; a batch begins here.
    known_to: i64,
}

impl<W: World> Reread<W> {
    /// Reads `[read_from, to)`. `from` is where a batch begins, at or below `read_from`.
    pub(crate) fn begin(
        shared: &Shared<W>,
        place: (Partition, Generation),
        from: i64,
        read_from: i64,
        to: i64,
    ) -> Self {
        let range = shared.reader.range(place.0, read_from, to);
        Self { place, range, exceptions: VecDeque::new(), known_to: from }
    }

    /// The next records, each with whether it was accepted; `None` after the last.
    pub(crate) async fn next(
        &mut self,
        shared: &Shared<W>,
    ) -> Result<Option<Vec<(OwnedRecord, bool)>>, StoreError> {
        let Some(records) = self.range.next().await? else { return Ok(None) };
        if let Some(last) = records.last() {
            self.learn(shared, last.offset).await?;
        }
        let marked = records.into_iter().map(|record| {
            while self.exceptions.front().is_some_and(|offset| *offset < record.offset) {
                self.exceptions.pop_front();
            }
            let accepted = self.exceptions.front() != Some(&record.offset);
            (record, accepted)
        });
        Ok(Some(marked.collect()))
    }

    /// Learns the exceptions up to an offset.
    async fn learn(&mut self, shared: &Shared<W>, offset: i64) -> Result<(), StoreError> {
        while self.known_to <= offset {
            let batches = shared.ledger.exceptions(self.place, self.known_to, BATCHES).await?;
            let Some(last) = batches.last() else {
                let reason = format!("partition {}: no batch begins at {}", self.place.0, self.known_to);
                return Err(StoreError::corrupt("read a partition again", reason));
            };
            self.known_to = last.to;
            self.exceptions.extend(batches.iter().flat_map(|b| b.exceptions.iter().map(|e| e.offset)));
        }
        Ok(())
    }
}
