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

    /// Removes events at or above an offset; how many there were.
    fn purge_from(&self, place: Place, from: i64) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// The keys of rollups that have a higher version.
    fn rollups_above(
        &self,
        place: Place,
        version: u64,
    ) -> impl Future<Output = Result<Vec<UsageKey>, StoreError>> + Send;

    /// Removes rollups that have a higher version.
    fn remove_rollups_above(
        &self,
        place: Place,
        version: u64,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}
