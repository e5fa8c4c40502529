//! All topics, written. A write that returned `Ok` is in the topic; one that failed may be.

use weir_backends::StoreError;
use weir_backends::journal::OutgoingRecord;

/// All topics, written.
pub trait JournalWriter: Clone + Send + Sync + 'static {
    /// Writes one record; partition and offset once all replicas have it.
    fn send(&self, record: OutgoingRecord) -> impl Future<Output = Result<(i32, i64), StoreError>> + Send;

    /// Writes records side by side. On an error some may have been written.
    fn send_all(&self, records: Vec<OutgoingRecord>) -> impl Future<Output = Result<(), StoreError>> + Send;
}
