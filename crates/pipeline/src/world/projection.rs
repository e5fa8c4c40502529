//! The projection as it is written. What is written twice becomes one row; after an error
//! any part of what was written may be there.

use weir_backends::StoreError;
use weir_backends::projection::{EventRow, RollupRow};
use weir_metering::aggregate::UsageKey;

use super::Place;

/// The projection, written.
pub trait ProjectionStore: Send + Sync + 'static {
    /// Makes what is missing of its tables.
    fn prepare(&self) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Inserts raw events.
    fn insert_events(&self, rows: &[EventRow]) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Inserts rollups.
    fn insert_rollups(&self, rows: &[RollupRow]) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// The ids of fillings that it is marked with; none where a table is missing.
    fn marks(&self) -> impl Future<Output = Result<Vec<String>, StoreError>> + Send;

    /// Marks it with the id of a filling that begins.
    fn mark(&self, id: &str) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// The highest epoch among a partition's rollups and its events at or above `from`.
    fn epoch_max(&self, place: Place, from: i64) -> impl Future<Output = Result<i64, StoreError>> + Send;

    /// Removes events within `span` that were written before `epoch`; how many there were.
    fn remove_events(
        &self,
        place: Place,
        span: (i64, i64),
        epoch: i64,
    ) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// How many positions within `span` have events.
    fn count_positions(
        &self,
        place: Place,
        span: (i64, i64),
    ) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// The epochs that a partition's rollups carry, and how far those of each were folded at most.
    fn rollup_epochs(&self, place: Place)
    -> impl Future<Output = Result<Vec<(i64, i64)>, StoreError>> + Send;

    /// The keys of the rollups of an epoch that were folded beyond an offset.
    fn rollups_beyond(
        &self,
        place: Place,
        beyond: (i64, i64),
    ) -> impl Future<Output = Result<Vec<UsageKey>, StoreError>> + Send;

    /// Removes the rollups of an epoch that were folded beyond an offset.
    fn remove_rollups_beyond(
        &self,
        place: Place,
        beyond: (i64, i64),
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}
