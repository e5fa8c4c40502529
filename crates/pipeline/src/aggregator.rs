//! The aggregator: a member of the consumer group that counts the partitions it is given.
//! Several share the topic. It ends when it is told to, or when its topic is not the one
//! that the ledger counts; everything else it waits for.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use weir_backends::archive::{Archive, ArchiveReader};
use weir_backends::config::{ArchiveConfig, ClickHouseConfig, KafkaConfig};
use weir_backends::id_files::IdFiles;
use weir_backends::journal::topics::TopicEnds;
use weir_backends::journal::{JournalConsumer, Producer, TopicIdentity, TopicIds, topics};
use weir_backends::ledger::month;
use weir_backends::postgres::{self, Installation, Pool};
use weir_backends::projection::Projection;

use crate::archive::Archiver;
use crate::clock::Clock;
use crate::counting::retry::delays;
use crate::counting::topic_watch;
use crate::error::PipelineError;
use crate::group::{Counting, count};
use crate::metrics::PipelineMetrics;
use crate::settings::CountingSettings;
use crate::settings_watch::{self, Promises, SettingsWatch};
use crate::status::PipelineStatus;
use crate::watchdog::Watchdog;
use crate::world::{KafkaReader, PostgresLedger, Runtime, Servers, TokioRuntime};

/// What an aggregator works with.
#[derive(Clone, Debug)]
pub struct Aggregator {
    /// The journal.
    pub kafka: KafkaConfig,
    /// The ledger, migrated.
    pub pool: Pool,
    /// The projection.
    pub clickhouse: ClickHouseConfig,
    /// Where closed ranges of the journal are kept, if anywhere.
    pub archive: Option<Archive>,
    /// When a range is closed.
    pub archiving: ArchiveConfig,
    /// How counting is tuned.
    pub settings: CountingSettings,
    /// Whether the operator says that the ledger is one server without a standby.
    pub single_node: bool,
    /// Where it measures.
    pub metrics: Arc<PipelineMetrics>,
    /// Where it says how it goes.
    pub status: Arc<PipelineStatus>,
    /// What broker time is compared with.
    pub clock: Clock,
}

/// Counts until `shutdown`. Dropping the future ends everything at once, as a crash would.
///
/// # Errors
/// When the topic is not the one that this ledger counts, or the consumer's thread ends.
pub async fn run_aggregator(
    aggregator: Aggregator,
    shutdown: CancellationToken,
) -> Result<(), PipelineError> {
    let Some((installation, watch)) = prepare(&aggregator, &shutdown).await? else { return Ok(()) };
    let archiver = archiver(&aggregator, &installation)?;
    let stalled_after = Duration::from_millis(aggregator.settings.stalled_after_ms);
    let watchdog = Watchdog::new(stalled_after).run(
        Arc::clone(&aggregator.status),
        Arc::clone(&aggregator.metrics),
        aggregator.clock,
    );
    let watch = watch.run(Arc::clone(&aggregator.status), Arc::clone(&aggregator.metrics));
    let Aggregator { kafka, pool, clickhouse, archive, settings, metrics, status, clock, .. } = aggregator;
    let archive = archive.map(|archive| {
        let (pool, generation) = (pool.clone(), installation.generation);
        let reader = |ends| ArchiveReader { archive, pool, kafka: kafka.clone(), ends, generation };
        TopicEnds::connect(&kafka).map(reader)
    });
    let (consumer, events) = JournalConsumer::join(&kafka)?;
    let counting = Counting::<Servers> {
        writer: Producer::connect(&kafka)?,
        reader: KafkaReader::new(consumer, kafka.clone(), TopicIds::connect(&kafka)?, archive.transpose()?),
        ledger: PostgresLedger::new(pool),
        projection: Projection::new(&clickhouse),
        ids: id_files(&settings, &installation),
        runtime: TokioRuntime::new(clock),
        owner_name: owner_name(),
        kafka,
        installation,
        settings,
        metrics,
        status,
    };
    tokio::select! {
        biased;
        ended = count(counting, events, shutdown) => ended,
        never = watch => match never {},
        never = watchdog => match never {},
        never = archive_for_ever(archiver) => match never {},
    }
}

async fn archive_for_ever(archiver: Option<Archiver>) -> Infallible {
    match archiver {
        Some(archiver) => archiver.run().await,
        None => std::future::pending().await,
    }
}

/// What archives the partitions of this process, where there is an archive.
fn archiver(aggregator: &Aggregator, installation: &Installation) -> Result<Option<Archiver>, PipelineError> {
    let Some(archive) = aggregator.archive.clone() else { return Ok(None) };
    let kafka = aggregator.kafka.clone();
    Ok(Some(Archiver {
        archive,
        config: aggregator.archiving.clone(),
        pool: aggregator.pool.clone(),
        ends: TopicEnds::connect(&kafka)?,
        ids: TopicIds::connect(&kafka)?,
        kafka,
        installation: installation.clone(),
        metrics: Arc::clone(&aggregator.metrics),
        status: Arc::clone(&aggregator.status),
        clock: aggregator.clock,
    }))
}

/// Where ids are sealed. A folder that cannot be used costs memory, and stops nothing.
fn id_files(settings: &CountingSettings, installation: &Installation) -> Option<IdFiles> {
    let folder = settings.id_folder.as_ref()?;
    match IdFiles::new(folder, installation.identity_key) {
        Ok(files) => Some(files),
        Err(error) => {
            tracing::error!(%error, "event ids stay in memory");
            None
        }
    }
}

/// Host and process, for people who look at a partition's row.
fn owner_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}:{}", host.trim(), std::process::id())
}

/// Topics, installation, number of partitions and settings; waits for servers that are away, for a
/// ledger that is widened as its topic was, and for settings that are corrected. `None` when it is
/// told to end meanwhile.
async fn prepare(
    aggregator: &Aggregator,
    shutdown: &CancellationToken,
) -> Result<Option<(Installation, SettingsWatch)>, PipelineError> {
    let runtime = TokioRuntime::new(aggregator.clock);
    let mut waits = delays(&runtime);
    loop {
        let error = match look(aggregator).await {
            Ok(prepared) => return Ok(Some(prepared)),
            Err(error) if !error.is_transient() => return Err(error),
            Err(error) => error,
        };
        let words = Some(error.to_string());
        aggregator.status.update(|status| {
            if status.journal != words {
                tracing::warn!(%error, "counting has not begun");
            }
            status.journal = words;
        });
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(None),
            () = runtime.sleep(waits.next().unwrap_or_default()) => {}
        }
    }
}

async fn look(aggregator: &Aggregator) -> Result<(Installation, SettingsWatch), PipelineError> {
    let kafka = &aggregator.kafka;
    topics::ensure_for(kafka, postgres::has_counted(&aggregator.pool).await?).await?;
    let found = KafkaConfig { partitions: topics::partitions(kafka).await?, ..kafka.clone() };
    let mut installation = postgres::installation(&aggregator.pool, &found).await?;
    if let Some(reason) = topic_watch::other_name(&installation, &kafka.usage_topic) {
        return Err(PipelineError::OtherTopic(reason));
    }
    // The topic is widened before the ledger, so asked in this order it never seems to have too few.
    let partitions = topics::partitions(kafka).await?;
    if let Some(reason) = topic_watch::other_number(&installation.topic, installation.partitions, partitions)
    {
        let is_wider = partitions > installation.partitions;
        let error = if is_wider { PipelineError::WiderTopic } else { PipelineError::OtherTopic };
        return Err(error(reason));
    }
    if let Err(error) = month::make_ahead(&aggregator.pool, aggregator.clock.now()).await {
        tracing::warn!(%error, "usage of a month without a table stands in the default table");
    }
    let identity = TopicIds::connect(kafka)?.ask().await?;
    if let TopicIdentity::Id(id) = &identity
        && installation.topic_id.is_none()
    {
        postgres::name_topic(&aggregator.pool, id).await?;
        installation = postgres::installation(&aggregator.pool, &found).await?;
    }
    if let Some(reason) = topic_watch::other_topic(&installation, &identity) {
        return Err(PipelineError::OtherTopic(reason));
    }
    let watch = fit_settings(aggregator).await?;
    aggregator.status.update(|status| status.journal = None);
    Ok((installation, watch))
}

/// What watches the servers' settings, where they are such that anything may be counted.
async fn fit_settings(aggregator: &Aggregator) -> Result<SettingsWatch, PipelineError> {
    let Aggregator { kafka, pool, settings, archive, archiving, single_node, status, metrics, .. } =
        aggregator;
    let archiving = archive.as_ref().map(|_| archiving);
    let promises = Promises::new(settings, archiving, *single_node);
    let mut watch = SettingsWatch::connect(kafka, pool, promises).await?;
    settings_watch::tell(watch.begin().await?, status, metrics);
    match status.refusal() {
        Some(reason) => Err(PipelineError::Settings(reason)),
        None => Ok(watch),
    }
}
