//! The aggregator: a member of the consumer group that counts the partitions it is given.
//! Several share the topic. It ends when it is told to, or when its topic is not the one
//! that the ledger counts; everything else it waits for.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use weir_backends::config::{ClickHouseConfig, KafkaConfig};
use weir_backends::journal::{JournalConsumer, JournalEvent, Producer, topics};
use weir_backends::postgres::{self, Installation, Pool};
use weir_backends::projection::Projection;
use weir_core::Partition;

use crate::clock::Clock;
use crate::counting::catalogue_cache::CatalogueCache;
use crate::counting::decoder::Decoder;
use crate::counting::levels::LevelPublisher;
use crate::counting::retry::delays;
use crate::counting::shared::Shared;
use crate::counting::topic_watch;
use crate::counting::worker::run_partition;
use crate::error::PipelineError;
use crate::metrics::PipelineMetrics;
use crate::projection::ProjectionQueue;
use crate::settings::CountingSettings;
use crate::status::PipelineStatus;
use crate::{fold, projection};

/// What an aggregator works with.
#[derive(Clone, Debug)]
pub struct Aggregator {
    /// The journal.
    pub kafka: KafkaConfig,
    /// The ledger, migrated.
    pub pool: Pool,
    /// The projection.
    pub clickhouse: ClickHouseConfig,
    /// How counting is tuned.
    pub settings: CountingSettings,
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
    let Some(installation) = prepare(&aggregator, &shutdown).await? else { return Ok(()) };
    let Aggregator { kafka, pool, clickhouse, settings, metrics, status, clock } = aggregator;
    let (consumer, events) = JournalConsumer::join(&kafka)?;
    let shared = Arc::new(Shared {
        producer: Producer::connect(&kafka)?,
        catalogue: CatalogueCache::new(pool.clone()),
        decoder: Decoder::new(kafka.schema_registry_url.as_deref(), settings.record_bytes_max),
        levels: LevelPublisher::new(&kafka.quota_topic),
        projection: ProjectionQueue::default(),
        owner_name: owner_name(),
        consumer,
        installation,
        metrics,
        status,
        settings,
        clock,
        pool,
        kafka,
    });
    // Dropping the set aborts its tasks.
    let mut services = JoinSet::new();
    services.spawn(projection::run(Arc::clone(&shared), Projection::new(&clickhouse)));
    services.spawn(fold::run(Arc::clone(&shared)));
    services.spawn(topic_watch::run(Arc::clone(&shared)));
    let levels = Arc::clone(&shared);
    services.spawn(async move { levels.levels.run(levels.producer.clone()).await });
    let mut workers =
        Workers { shared, tasks: JoinSet::new(), tokens: HashMap::new(), turns: HashMap::new() };
    workers.follow(events, &mut services, &shutdown).await
}

/// Host and process, for people who look at a partition's row.
fn owner_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}:{}", host.trim(), std::process::id())
}

/// Topics, installation and number of partitions; waits for servers that are away. `None`
/// when it is told to end meanwhile.
async fn prepare(
    aggregator: &Aggregator,
    shutdown: &CancellationToken,
) -> Result<Option<Installation>, PipelineError> {
    let mut waits = delays();
    loop {
        let error = match look(aggregator).await {
            Ok(installation) => return Ok(Some(installation)),
            Err(error) if !error.is_transient() => return Err(error),
            Err(error) => error,
        };
        tracing::warn!(%error, "counting has not begun");
        aggregator.status.update(|status| status.journal = Some(error.to_string()));
        tokio::select! {
            () = shutdown.cancelled() => return Ok(None),
            () = tokio::time::sleep(waits.next().unwrap_or_default()) => {}
        }
    }
}

async fn look(aggregator: &Aggregator) -> Result<Installation, PipelineError> {
    let kafka = &aggregator.kafka;
    topics::ensure(kafka).await?;
    let partitions = topics::partitions(kafka).await?;
    let found = KafkaConfig { partitions, ..kafka.clone() };
    let installation = postgres::installation(&aggregator.pool, &found).await?;
    if installation.topic != kafka.usage_topic {
        return Err(PipelineError::OtherTopic(format!(
            "this ledger counts the topic {}, not {}; use another database",
            installation.topic, kafka.usage_topic
        )));
    }
    if let Some(reason) = topic_watch::other_number(kafka, &installation, partitions) {
        return Err(PipelineError::OtherTopic(reason));
    }
    aggregator.status.update(|status| status.journal = None);
    Ok(installation)
}

struct Workers {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
    tokens: HashMap<Partition, CancellationToken>,
    /// Held by the task of a partition: the next one waits for it.
    turns: HashMap<Partition, Arc<tokio::sync::Mutex<()>>>,
}

impl Workers {
    async fn follow(
        &mut self,
        mut events: UnboundedReceiver<JournalEvent>,
        services: &mut JoinSet<()>,
        shutdown: &CancellationToken,
    ) -> Result<(), PipelineError> {
        loop {
            let event = tokio::select! {
                () = shutdown.cancelled() => break,
                event = events.recv() => event,
                ended = services.join_next() => return Err(died("a service of the pipeline", ended)),
                Some(Err(error)) = self.tasks.join_next() => return Err(died("counting", Some(Err(error)))),
            };
            match event {
                Some(JournalEvent::Assigned(partitions)) => self.assign(partitions),
                Some(JournalEvent::Revoked(partitions)) => self.revoke(&partitions),
                Some(JournalEvent::Trouble(error)) if error.is_transient() => {
                    tracing::warn!(%error, "the journal is in trouble");
                }
                Some(JournalEvent::Trouble(error)) => return Err(error.into()),
                None => return Err(died("the thread that reads the journal", None)),
            }
        }
        let all: Vec<Partition> = self.tokens.keys().copied().collect();
        self.revoke(&all);
        while self.tasks.join_next().await.is_some() {}
        Ok(())
    }

    fn assign(&mut self, partitions: Vec<Partition>) {
        tracing::info!(?partitions, "assigned");
        self.shared.status.update(|status| status.joined = true);
        for partition in partitions {
            let token = CancellationToken::new();
            if let Some(earlier) = self.tokens.insert(partition, token.clone()) {
                earlier.cancel();
            }
            let turn = Arc::clone(self.turns.entry(partition).or_default());
            let shared = Arc::clone(&self.shared);
            self.tasks.spawn(async move {
                let _turn = turn.lock().await;
                shared.status.partition(partition, |_| {});
                run_partition(shared, partition, token).await;
            });
        }
    }

    fn revoke(&mut self, partitions: &[Partition]) {
        tracing::info!(?partitions, "revoked");
        for partition in partitions {
            if let Some(token) = self.tokens.remove(partition) {
                token.cancel();
            }
        }
    }
}

fn died(part: &'static str, how: Option<Result<(), tokio::task::JoinError>>) -> PipelineError {
    let reason = match how {
        Some(Err(error)) => error.to_string(),
        Some(Ok(())) | None => "without a word".into(),
    };
    PipelineError::Ended { part, reason }
}
