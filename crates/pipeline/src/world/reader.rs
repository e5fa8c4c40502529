//! The usage topic as it is read: partitions that are followed, their ends, and closed
//! ranges that are read again.

use weir_backends::StoreError;
use weir_backends::journal::{OwnedRecord, TopicIdentity};
use weir_core::Partition;

/// The usage topic, read.
pub trait JournalReader: Send + Sync + 'static {
    /// Where the records of a followed partition arrive.
    type Queue: RecordQueue;
    /// A closed range that is read again.
    type Range: RecordRange;

    /// Follows a partition from `offset` on, into a new queue.
    fn start(&self, partition: Partition, offset: i64) -> Self::Queue;

    /// Follows a partition no longer.
    fn stop(&self, partition: Partition);

    /// The first offset that a partition holds, and the one after the last that may be read.
    fn watermarks(&self, partition: Partition)
    -> impl Future<Output = Result<(i64, i64), StoreError>> + Send;

    /// The first offset from which on everything can be read again, in [`Self::range`]: the first
    /// that the partition holds, or one before it where there is an archive.
    fn readable_from(&self, partition: Partition) -> impl Future<Output = Result<i64, StoreError>> + Send {
        async move { self.watermarks(partition).await.map(|(low, _)| low) }
    }

    /// The record at exactly `offset`, if the partition holds one there.
    fn read_one(
        &self,
        partition: Partition,
        offset: i64,
    ) -> impl Future<Output = Result<Option<OwnedRecord>, StoreError>> + Send;

    /// Reads the records of `[from, to)` again.
    fn range(&self, partition: Partition, from: i64, to: i64) -> Self::Range;

    /// How many partitions the topic has.
    fn partitions(&self) -> impl Future<Output = Result<i32, StoreError>> + Send;

    /// Which topic bears the name now.
    fn identity(&self) -> impl Future<Output = Result<TopicIdentity, StoreError>> + Send;
}

/// Records of a followed partition that have arrived, by rising offset.
pub trait RecordQueue: Send + Sync + 'static {
    /// Why the partition cannot be counted, if so.
    fn refusal(&self) -> Option<String>;

    /// Whether records came after a silence of a second or more since this was last asked.
    fn take_silence(&self) -> bool;

    /// How many records and bytes it holds.
    fn held(&self) -> (usize, usize);

    /// Waits until something has changed since this was last waited for.
    fn changed(&self) -> impl Future<Output = ()> + Send;

    /// Takes records from the front, up to a number and about so many bytes, but at least one.
    fn take(&self, records_max: usize, bytes_max: usize) -> Vec<OwnedRecord>;
}

/// Records of a closed range, by rising offset, in chunks.
pub trait RecordRange: Send {
    /// The next chunk; `None` after the last. Records that are gone are a permanent error.
    fn next(&mut self) -> impl Future<Output = Result<Option<Vec<OwnedRecord>>, StoreError>> + Send;
}
