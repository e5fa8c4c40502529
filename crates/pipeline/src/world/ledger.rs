//! The ledger as counting, folding and the projection use it. Each call is one statement or
//! one transaction: it happens whole or not at all, and after a transient error either may
//! be true.

use weir_backends::StoreError;
use weir_backends::id_files::RecordedFile;
use weir_backends::ledger::chain::BatchExceptions;
use weir_backends::ledger::commit::{Commit, CommitAnswer};
use weir_backends::ledger::partition::{GivenEpoch, OwnerToken, PartitionRow, Progress};
use weir_backends::ledger::projecting::AcceptedRun;
use weir_backends::ledger::rollup::Rollup;
use weir_backends::ledger::standing::{FoldedTo, SeriesKey};
use weir_backends::ledger::usage::{Folding, Unfolded};
use weir_core::{Generation, Partition, TenantId, Timestamp};
use weir_metering::aggregate::UsageKey;
use weir_metering::catalogue::Catalogue;
use weir_metering::identity::Day;
use weir_metering::quota::LimitSet;
use weir_metering::shard::PeriodTotal;

/// A partition in one life of the topic.
pub type Place = (Partition, Generation);

/// The ledger.
pub trait Ledger: Clone + Send + Sync + 'static {
    /// Makes `owner` the owner of a partition; one that was never seen begins at the offset.
    fn take(
        &self,
        partition: Partition,
        first: (Generation, i64),
        owner: (&OwnerToken, &str),
    ) -> impl Future<Output = Result<PartitionRow, StoreError>> + Send;

    /// Commits a batch.
    fn commit(&self, commit: &Commit) -> impl Future<Output = Result<CommitAnswer, StoreError>> + Send;

    /// What became of a commit whose answer was lost; `None` when it did not happen.
    fn find_out(
        &self,
        commit: &Commit,
    ) -> impl Future<Output = Result<Option<CommitAnswer>, StoreError>> + Send;

    /// Up to `count` batches from the one that begins at `from` on.
    fn exceptions(
        &self,
        place: Place,
        from: i64,
        count: i64,
    ) -> impl Future<Output = Result<Vec<BatchExceptions>, StoreError>> + Send;

    /// Where the first batch begins whose running maximum of broker time reaches `time`.
    fn first_reaching(
        &self,
        place: Place,
        time: Timestamp,
    ) -> impl Future<Output = Result<Option<i64>, StoreError>> + Send;

    /// The running maximum of broker time below `offset`, where a batch ends there.
    fn broker_time_before(
        &self,
        place: Place,
        offset: i64,
    ) -> impl Future<Output = Result<Option<Timestamp>, StoreError>> + Send;

    /// Where the batch begins that holds `offset`; `None` when no batch does.
    fn batch_holding(
        &self,
        place: Place,
        offset: i64,
    ) -> impl Future<Output = Result<Option<i64>, StoreError>> + Send;

    /// The files of event ids that belong to a partition's history, whichever machine has them.
    fn id_files(&self, place: Place) -> impl Future<Output = Result<Vec<RecordedFile>, StoreError>> + Send;

    /// Records a file of event ids; false when this owner has lost the partition, or the ledger
    /// has not counted what the file covers.
    fn record_id_file(
        &self,
        place: Place,
        owner: &OwnerToken,
        file: &RecordedFile,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Forgets the records of files whose ids arrived before `day`.
    fn forget_id_files(&self, place: Place, day: Day) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// The limits that are in force in a partition.
    fn limits(&self, partition: Partition) -> impl Future<Output = Result<Vec<LimitSet>, StoreError>> + Send;

    /// Usage by billing period, all periods that end after an instant; a transient error where
    /// usage is not folded just so far.
    fn totals(
        &self,
        stand: FoldedTo,
        ends_after: Timestamp,
        catalogue: &Catalogue,
    ) -> impl Future<Output = Result<Vec<PeriodTotal>, StoreError>> + Send;

    /// Every series that was ever counted in a partition; a transient error as above.
    fn series(&self, stand: FoldedTo) -> impl Future<Output = Result<Vec<SeriesKey>, StoreError>> + Send;

    /// Every adjustment that was ever counted in a partition: tenant and id.
    fn adjustments(
        &self,
        partition: Partition,
    ) -> impl Future<Output = Result<Vec<(TenantId, String)>, StoreError>> + Send;

    /// The version of meters and tenants that is in force.
    fn catalogue_version(&self) -> impl Future<Output = Result<i64, StoreError>> + Send;

    /// Meters and tenants.
    fn catalogue(&self) -> impl Future<Output = Result<Catalogue, StoreError>> + Send;

    /// The next batches of a partition that are not folded; `None` when all are.
    fn unfolded(
        &self,
        partition: Partition,
    ) -> impl Future<Output = Result<Option<Unfolded>, StoreError>> + Send;

    /// Adds usage to the usage rows and moves `folded_to`, unless someone else moved it or took
    /// the partition; then nothing happens and the answer is false.
    fn fold(&self, folding: &Folding) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Notes how far the projection's events reach; nothing where others own a partition by now,
    /// or its epoch has risen.
    fn advance_projected(&self, progress: &[Progress])
    -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Those partitions that still have the owner that is named.
    fn owned(
        &self,
        owners: &[Progress],
    ) -> impl Future<Output = Result<Vec<PartitionRow>, StoreError>> + Send;

    /// Gives a partition another epoch than the one of `from`: one that was never given, and is at
    /// least `least`. `None` where it, or the owner, is another one by now.
    fn raise_epoch(
        &self,
        from: &Progress,
        least: i64,
    ) -> impl Future<Output = Result<Option<i64>, StoreError>> + Send;

    /// The epochs that were given to a partition, rising.
    fn given_epochs(&self, place: Place) -> impl Future<Output = Result<Vec<GivenEpoch>, StoreError>> + Send;

    /// The id of the filling of the projection that the ledger believes in.
    fn projection_id(&self) -> impl Future<Output = Result<Option<String>, StoreError>> + Send;

    /// Begins another filling: everything is projected again. False, and nothing happens,
    /// where the id is not `seen` any more.
    fn renew_projection(
        &self,
        seen: Option<&str>,
        id: &str,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// What up to `batches` batches accepted that lie within `span`; `None` when none does.
    fn accepted(
        &self,
        place: Place,
        span: (i64, i64),
        batches: i64,
    ) -> impl Future<Output = Result<Option<AcceptedRun>, StoreError>> + Send;

    /// What the usage rows say of some keys of a partition; keys without usage are left out.
    fn totals_of(
        &self,
        partition: Partition,
        keys: &[UsageKey],
    ) -> impl Future<Output = Result<Rollup, StoreError>> + Send;

    /// The next totals that the rollups of a partition lack.
    fn pending_rollup(
        &self,
        partition: Partition,
    ) -> impl Future<Output = Result<Option<Rollup>, StoreError>> + Send;

    /// Notes how far the projection's rollups reach; false when nothing was moved.
    fn advance_rolled(&self, progress: &Progress) -> impl Future<Output = Result<bool, StoreError>> + Send;
}
