//! The world of the product: Kafka, Postgres, ClickHouse and tokio. Thin: each call is one
//! of `weir-backends`'.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::mpsc::Receiver;
use tokio::task::JoinSet;
use weir_backends::archive::ArchiveReader;
use weir_backends::config::KafkaConfig;
use weir_backends::id_files::{IdFiles, IdFilesError, IdKeys, PartitionFiles, RecordedFile, record};
use weir_backends::journal::record_range::stream_range;
use weir_backends::journal::{
    JournalConsumer, OutgoingRecord, OwnedRecord, PartitionQueue, Producer, TopicIdentity, TopicIds, topics,
};
use weir_backends::ledger::chain::{self, BatchExceptions};
use weir_backends::ledger::commit::{self, Commit, CommitAnswer};
use weir_backends::ledger::partition::{self, GivenEpoch, OwnerToken, PartitionRow, Progress};
use weir_backends::ledger::projecting::{self, AcceptedRun};
use weir_backends::ledger::rollup::{self, Rollup};
use weir_backends::ledger::standing::{self, FoldedTo, SeriesKey};
use weir_backends::ledger::take;
use weir_backends::ledger::usage::{self, Folding, Unfolded};
use weir_backends::postgres::Pool;
use weir_backends::projection::{EventRow, Projection, RollupRow};
use weir_backends::{StoreError, catalog};
use weir_core::{Generation, Partition, TenantId, Timestamp};
use weir_metering::aggregate::UsageKey;
use weir_metering::catalogue::Catalogue;
use weir_metering::identity::{Answers, Day, RememberedId, SealedFile, Suspects};
use weir_metering::quota::LimitSet;
use weir_metering::shard::PeriodTotal;

use super::{
    HttpReceivers, IdStore, JournalReader, JournalWriter, Ledger, Place, ProjectionStore, RecordQueue,
    RecordRange, Runtime, SealedIds, Stopped, Tasks, World,
};
use crate::clock::Clock;

/// How long files of event ids are kept whose partition is another machine's: it may come back.
const KEPT_FOR_OTHERS: Duration = Duration::from_hours(48);
/// How much of the disk they may have.
const BYTES_FOR_OTHERS_MAX: u64 = 10 * 1_073_741_824;

/// The world of the product.
#[derive(Debug)]
pub struct Servers;

impl World for Servers {
    type Reader = KafkaReader;
    type Writer = Producer;
    type Ledger = PostgresLedger;
    type Projection = Projection;
    type Ids = IdFiles;
    type Outbox = PostgresLedger;
    type Receivers = HttpReceivers;
    type Runtime = TokioRuntime;
}

/// Kafka, read by a member of the group.
#[derive(Debug)]
pub struct KafkaReader {
    consumer: JournalConsumer,
    kafka: KafkaConfig,
    ids: TopicIds,
    archive: Option<ArchiveReader>,
}

impl KafkaReader {
    /// A reader that belongs to the group. What Kafka no longer holds it reads from the archive.
    pub fn new(
        consumer: JournalConsumer,
        kafka: KafkaConfig,
        ids: TopicIds,
        archive: Option<ArchiveReader>,
    ) -> Self {
        Self { consumer, kafka, ids, archive }
    }
}

impl JournalReader for KafkaReader {
    type Queue = Arc<PartitionQueue>;
    type Range = Receiver<Result<Vec<OwnedRecord>, StoreError>>;

    fn start(&self, partition: Partition, offset: i64) -> Arc<PartitionQueue> {
        self.consumer.start(partition, offset)
    }

    fn stop(&self, partition: Partition) {
        self.consumer.stop(partition);
    }

    async fn watermarks(&self, partition: Partition) -> Result<(i64, i64), StoreError> {
        self.consumer.watermarks(partition).await
    }

    async fn readable_from(&self, partition: Partition) -> Result<i64, StoreError> {
        let (low, _) = self.watermarks(partition).await?;
        match &self.archive {
            Some(archive) => archive.readable_from(partition, low).await,
            None => Ok(low),
        }
    }

    async fn read_one(&self, partition: Partition, offset: i64) -> Result<Option<OwnedRecord>, StoreError> {
        self.consumer.read_one(partition, offset).await
    }

    fn range(&self, partition: Partition, from: i64, to: i64) -> Self::Range {
        match &self.archive {
            Some(archive) => archive.stream(partition, from, to),
            None => stream_range(&self.kafka, partition, from, to),
        }
    }

    async fn partitions(&self) -> Result<i32, StoreError> {
        topics::partitions(&self.kafka).await
    }

    async fn identity(&self) -> Result<TopicIdentity, StoreError> {
        self.ids.ask().await
    }
}

impl RecordQueue for Arc<PartitionQueue> {
    fn refusal(&self) -> Option<String> {
        PartitionQueue::refusal(self)
    }

    fn take_silence(&self) -> bool {
        PartitionQueue::take_silence(self)
    }

    fn held(&self) -> (usize, usize) {
        PartitionQueue::held(self)
    }

    async fn changed(&self) {
        PartitionQueue::changed(self).await;
    }

    fn take(&self, records_max: usize, bytes_max: usize) -> Vec<OwnedRecord> {
        PartitionQueue::take(self, records_max, bytes_max)
    }
}

impl RecordRange for Receiver<Result<Vec<OwnedRecord>, StoreError>> {
    async fn next(&mut self) -> Result<Option<Vec<OwnedRecord>>, StoreError> {
        self.recv().await.transpose()
    }
}

impl IdStore for IdFiles {
    type Files = PartitionFiles;

    fn of_partition(&self, place: Place, recorded: &[RecordedFile]) -> Result<PartitionFiles, IdFilesError> {
        IdFiles::of_partition(self, place, recorded)
    }

    fn sweep(&self, owned: &BTreeSet<Partition>) -> Result<(), IdFilesError> {
        let kept = SystemTime::now().checked_sub(KEPT_FOR_OTHERS).unwrap_or(SystemTime::UNIX_EPOCH);
        self.hold(owned)?;
        let swept = IdFiles::sweep(self, kept, BYTES_FOR_OTHERS_MAX)?;
        if swept.deleted > 0 {
            tracing::info!(
                partitions = swept.deleted,
                "files of event ids that nobody here uses were deleted"
            );
        }
        Ok(())
    }
}

impl SealedIds for PartitionFiles {
    type Keys = IdKeys;

    fn trouble(&mut self) -> Vec<String> {
        PartitionFiles::trouble(self)
    }

    fn covered(&self) -> Vec<SealedFile> {
        PartitionFiles::covered(self)
    }

    fn keys(&self, files: &[SealedFile]) -> Result<Vec<(SealedFile, IdKeys)>, IdFilesError> {
        PartitionFiles::keys(self, files)
    }

    fn discard(&mut self, error: &IdFilesError) -> Result<bool, IdFilesError> {
        PartitionFiles::discard(self, error)
    }

    fn settle(&self, suspects: Suspects) -> Result<Answers, IdFilesError> {
        PartitionFiles::settle(self, suspects)
    }

    fn write(
        &mut self,
        bucket: &SealedFile,
        ids: impl Iterator<Item = RememberedId>,
    ) -> Result<RecordedFile, IdFilesError> {
        PartitionFiles::write(self, bucket, ids)
    }

    fn retain(&mut self, files: &[SealedFile]) -> Result<(), IdFilesError> {
        PartitionFiles::retain(self, files)
    }
}

impl JournalWriter for Producer {
    async fn send(&self, record: OutgoingRecord) -> Result<(i32, i64), StoreError> {
        Producer::send(self, record).await
    }

    async fn send_all(&self, records: Vec<OutgoingRecord>) -> Result<(), StoreError> {
        Producer::send_all(self, records).await
    }
}

impl ProjectionStore for Projection {
    async fn prepare(&self) -> Result<(), StoreError> {
        Projection::prepare(self).await
    }

    async fn insert_events(&self, rows: &[EventRow]) -> Result<(), StoreError> {
        Projection::insert_events(self, rows).await
    }

    async fn insert_rollups(&self, rows: &[RollupRow]) -> Result<(), StoreError> {
        Projection::insert_rollups(self, rows).await
    }

    async fn marks(&self) -> Result<Vec<String>, StoreError> {
        Projection::marks(self).await
    }

    async fn mark(&self, id: &str) -> Result<(), StoreError> {
        Projection::mark(self, id).await
    }

    async fn epoch_max(&self, place: Place, from: i64) -> Result<i64, StoreError> {
        Projection::epoch_max(self, place, from).await
    }

    async fn remove_events(&self, place: Place, span: (i64, i64), epoch: i64) -> Result<u64, StoreError> {
        Projection::remove_events(self, place, span, epoch).await
    }

    async fn count_positions(&self, place: Place, span: (i64, i64)) -> Result<u64, StoreError> {
        Projection::count_positions(self, place, span).await
    }

    async fn rollup_epochs(&self, place: Place) -> Result<Vec<(i64, i64)>, StoreError> {
        Projection::rollup_epochs(self, place).await
    }

    async fn rollups_beyond(&self, place: Place, beyond: (i64, i64)) -> Result<Vec<UsageKey>, StoreError> {
        Projection::rollups_beyond(self, place, beyond).await
    }

    async fn remove_rollups_beyond(&self, place: Place, beyond: (i64, i64)) -> Result<(), StoreError> {
        Projection::remove_rollups_beyond(self, place, beyond).await
    }
}

/// How long the ledger may take for an answer. A server that vanished without a word is never
/// told by the connection; after this the caller asks again over another one.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// The same for answers that grow with what a partition holds.
const READ_WITHIN: Duration = Duration::from_secs(600);

async fn within<T>(
    patience: Duration,
    answer: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    tokio::time::timeout(patience, answer).await.unwrap_or_else(|_| {
        let reason = format!("no answer within {} s", patience.as_secs());
        Err(StoreError::Transient { attempt: "ask the ledger", reason })
    })
}

/// Postgres.
#[derive(Clone, Debug)]
pub struct PostgresLedger {
    pool: Pool,
}

impl PostgresLedger {
    /// A ledger, migrated.
    pub fn new(pool: Pool) -> Self {
        Self { pool }
    }

    /// Its connections.
    pub(super) fn pool(&self) -> &Pool {
        &self.pool
    }
}

impl Ledger for PostgresLedger {
    async fn take(
        &self,
        partition: Partition,
        first: (Generation, i64),
        owner: (&OwnerToken, &str),
    ) -> Result<PartitionRow, StoreError> {
        within(ANSWER_WITHIN, take::take(&self.pool, partition, first, owner)).await
    }

    async fn commit(&self, commit: &Commit) -> Result<CommitAnswer, StoreError> {
        within(ANSWER_WITHIN, commit::commit(&self.pool, commit)).await
    }

    async fn find_out(&self, commit: &Commit) -> Result<Option<CommitAnswer>, StoreError> {
        within(ANSWER_WITHIN, commit::find_out(&self.pool, commit)).await
    }

    async fn exceptions(
        &self,
        place: Place,
        from: i64,
        count: i64,
    ) -> Result<Vec<BatchExceptions>, StoreError> {
        within(READ_WITHIN, chain::exceptions(&self.pool, place, from, count)).await
    }

    async fn first_reaching(&self, place: Place, time: Timestamp) -> Result<Option<i64>, StoreError> {
        within(ANSWER_WITHIN, chain::first_reaching(&self.pool, place, time)).await
    }

    async fn broker_time_before(&self, place: Place, offset: i64) -> Result<Option<Timestamp>, StoreError> {
        within(ANSWER_WITHIN, chain::broker_time_before(&self.pool, place, offset)).await
    }

    async fn batch_holding(&self, place: Place, offset: i64) -> Result<Option<i64>, StoreError> {
        within(ANSWER_WITHIN, chain::holding(&self.pool, place, offset)).await
    }

    async fn id_files(&self, place: Place) -> Result<Vec<RecordedFile>, StoreError> {
        within(ANSWER_WITHIN, record::recorded(&self.pool, place)).await
    }

    async fn record_id_file(
        &self,
        place: Place,
        owner: &OwnerToken,
        file: &RecordedFile,
    ) -> Result<bool, StoreError> {
        within(ANSWER_WITHIN, record::record(&self.pool, place, owner, file)).await
    }

    async fn forget_id_files(&self, place: Place, day: Day) -> Result<(), StoreError> {
        within(ANSWER_WITHIN, record::forget(&self.pool, place, day)).await
    }

    async fn limits(&self, partition: Partition) -> Result<Vec<LimitSet>, StoreError> {
        within(READ_WITHIN, standing::limits(&self.pool, partition)).await
    }

    async fn totals(
        &self,
        stand: FoldedTo,
        ends_after: Timestamp,
        catalogue: &Catalogue,
    ) -> Result<Vec<PeriodTotal>, StoreError> {
        within(READ_WITHIN, standing::totals(&self.pool, stand, ends_after, catalogue)).await
    }

    async fn adjustments(&self, partition: Partition) -> Result<Vec<(TenantId, String)>, StoreError> {
        within(READ_WITHIN, standing::adjustments(&self.pool, partition)).await
    }

    async fn series(&self, stand: FoldedTo) -> Result<Vec<SeriesKey>, StoreError> {
        within(READ_WITHIN, standing::series(&self.pool, stand)).await
    }

    async fn catalogue_version(&self) -> Result<i64, StoreError> {
        within(ANSWER_WITHIN, catalog::version(&self.pool)).await
    }

    async fn catalogue(&self) -> Result<Catalogue, StoreError> {
        within(READ_WITHIN, catalog::load(&self.pool)).await
    }

    async fn unfolded(&self, partition: Partition) -> Result<Option<Unfolded>, StoreError> {
        within(READ_WITHIN, usage::unfolded(&self.pool, partition)).await
    }

    async fn fold(&self, folding: &Folding) -> Result<bool, StoreError> {
        within(READ_WITHIN, usage::fold(&self.pool, folding)).await
    }

    async fn advance_projected(&self, progress: &[Progress]) -> Result<(), StoreError> {
        within(ANSWER_WITHIN, partition::advance_projected(&self.pool, progress)).await
    }

    async fn owned(&self, owners: &[Progress]) -> Result<Vec<PartitionRow>, StoreError> {
        within(ANSWER_WITHIN, partition::owned(&self.pool, owners)).await
    }

    async fn raise_epoch(&self, from: &Progress, least: i64) -> Result<Option<i64>, StoreError> {
        within(ANSWER_WITHIN, partition::raise_epoch(&self.pool, from, least)).await
    }

    async fn given_epochs(&self, place: Place) -> Result<Vec<GivenEpoch>, StoreError> {
        within(ANSWER_WITHIN, partition::given_epochs(&self.pool, place)).await
    }

    async fn projection_id(&self) -> Result<Option<String>, StoreError> {
        within(ANSWER_WITHIN, projecting::id(&self.pool)).await
    }

    async fn renew_projection(&self, seen: Option<&str>, id: &str) -> Result<bool, StoreError> {
        within(ANSWER_WITHIN, projecting::renew(&self.pool, seen, id)).await
    }

    async fn accepted(
        &self,
        place: Place,
        span: (i64, i64),
        batches: i64,
    ) -> Result<Option<AcceptedRun>, StoreError> {
        within(ANSWER_WITHIN, projecting::accepted(&self.pool, place, span, batches)).await
    }

    async fn totals_of(&self, partition: Partition, keys: &[UsageKey]) -> Result<Rollup, StoreError> {
        within(READ_WITHIN, rollup::totals_of(&self.pool, partition, keys)).await
    }

    async fn pending_rollup(&self, partition: Partition) -> Result<Option<Rollup>, StoreError> {
        within(READ_WITHIN, rollup::pending(&self.pool, partition)).await
    }

    async fn advance_rolled(&self, progress: &Progress) -> Result<bool, StoreError> {
        within(ANSWER_WITHIN, partition::advance_rolled(&self.pool, progress)).await
    }
}

/// The machine's clock and chance, and tokio's tasks.
#[derive(Clone, Copy, Debug)]
pub struct TokioRuntime {
    clock: Clock,
    begun: Instant,
}

impl TokioRuntime {
    /// A runtime that takes the time from a clock.
    pub fn new(clock: Clock) -> Self {
        Self { clock, begun: Instant::now() }
    }
}

impl Runtime for TokioRuntime {
    type Tasks = JoinSet<()>;

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    fn random(&self) -> Result<[u8; 16], Stopped> {
        take::fresh_token().map_err(|error| Stopped(error.to_string()))
    }

    async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        tokio::task::spawn_blocking(work).await.map_err(|error| Stopped(error.to_string()))
    }

    fn tasks(&self) -> JoinSet<()> {
        JoinSet::new()
    }
}

impl Tasks for JoinSet<()> {
    fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        JoinSet::spawn(self, task);
    }

    async fn join_next(&mut self) -> Option<Result<(), Stopped>> {
        let ended = JoinSet::join_next(self).await?;
        Some(ended.map_err(|error| Stopped(error.to_string())))
    }
}
