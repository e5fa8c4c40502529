//! What the ledger has decided about single records of the journal.

use weir_backends::StoreError;
use weir_backends::ledger::chain::{self, BatchExceptions};
use weir_backends::postgres::Pool;
use weir_core::{Generation, Partition, Position};
use weir_metering::outcome::Verdict;

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// Nothing yet.
    NotYet,
    /// It was counted.
    Accepted,
    /// It was not.
    Not(Verdict),
}

/// What became of one record of the journal.
///
/// # Errors
/// When the ledger does not answer.
pub async fn counted(pool: &Pool, position: Position) -> Result<Counted, StoreError> {
    Verdicts::new(pool).of(position).await
}

/// Answers about many records cheaply when they are asked by rising offset: of each partition
/// the batch of the last answer is kept.
pub(super) struct Verdicts<'a> {
    pool: &'a Pool,
    last: Option<((Partition, Generation), BatchExceptions)>,
}

impl<'a> Verdicts<'a> {
    pub(super) fn new(pool: &'a Pool) -> Self {
        Self { pool, last: None }
    }

    /// What became of the record at a position.
    pub(super) async fn of(&mut self, position: Position) -> Result<Counted, StoreError> {
        let place = (position.partition, position.generation);
        let held = self.last.as_ref().filter(|(of, batch)| *of == place && holds(batch, position.offset));
        if held.is_none() {
            let from = chain::holding(self.pool, place, position.offset).await?;
            let batches = match from {
                Some(from) => chain::exceptions(self.pool, place, from, 1).await?,
                None => Vec::new(),
            };
            self.last = batches.into_iter().next().map(|batch| (place, batch));
        }
        let Some((_, batch)) = &self.last else { return Ok(Counted::NotYet) };
        let found = batch.exceptions.binary_search_by_key(&position.offset, |one| one.offset);
        Ok(found.map_or(Counted::Accepted, |at| Counted::Not(batch.exceptions[at].verdict)))
    }
}

fn holds(batch: &BatchExceptions, offset: i64) -> bool {
    (batch.from..batch.to).contains(&offset)
}
