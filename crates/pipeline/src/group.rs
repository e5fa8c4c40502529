//! Counting as a member of the group: the services that every process has, and a worker for
//! each partition that it is given. It ends when it is told to, or when a part of it does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;
use weir_backends::config::KafkaConfig;
use weir_backends::journal::JournalEvent;
use weir_backends::postgres::Installation;
use weir_core::Partition;

use crate::counting::catalogue_cache::CatalogueCache;
use crate::counting::decoder::Decoder;
use crate::counting::ids;
use crate::counting::levels::LevelPublisher;
use crate::counting::shared::Shared;
use crate::counting::topic_watch;
use crate::counting::worker::run_partition;
use crate::error::PipelineError;
use crate::metrics::PipelineMetrics;
use crate::projection::ProjectionQueue;
use crate::settings::CountingSettings;
use crate::status::PipelineStatus;
use crate::world::{Runtime, Stopped, Tasks, World};
use crate::{fold, projection};

/// What counting works with, in any world.
pub struct Counting<W: World> {
    /// The usage topic, read.
    pub reader: W::Reader,
    /// All topics, written.
    pub writer: W::Writer,
    /// The ledger.
    pub ledger: W::Ledger,
    /// The projection.
    pub projection: W::Projection,
    /// Where event ids are sealed; where there is none they stay in memory.
    pub ids: Option<W::Ids>,
    /// Time, chance and tasks.
    pub runtime: W::Runtime,
    /// Names of topics, and where schemas are registered.
    pub kafka: KafkaConfig,
    /// What is the same for every process that shares the ledger.
    pub installation: Installation,
    /// How counting is tuned.
    pub settings: CountingSettings,
    /// Where it measures.
    pub metrics: Arc<PipelineMetrics>,
    /// Where it says how it goes.
    pub status: Arc<PipelineStatus>,
    /// Who it is, for people.
    pub owner_name: String,
}

type TasksOf<W> = <<W as World>::Runtime as Runtime>::Tasks;

/// Counts the partitions that `events` give, until `shutdown`. Dropping the future ends
/// everything at once, as a crash would.
///
/// # Errors
/// When reading the journal fails for good, or a part ends.
pub async fn count<W: World>(
    counting: Counting<W>,
    events: UnboundedReceiver<JournalEvent>,
    shutdown: CancellationToken,
) -> Result<(), PipelineError> {
    let Counting { kafka, settings, ledger, runtime, .. } = counting;
    let shared = Arc::new(Shared::<W> {
        catalogue: CatalogueCache::new(ledger.clone(), runtime.clone()),
        decoder: Decoder::new(kafka.schema_registry_url.as_deref(), settings.record_bytes_max),
        levels: LevelPublisher::new(&kafka.quota_topic),
        projection: ProjectionQueue::default(),
        folded: AtomicU64::new(0),
        backlog: AtomicBool::new(false),
        reader: counting.reader,
        writer: counting.writer,
        installation: counting.installation,
        metrics: counting.metrics,
        status: counting.status,
        owner_name: counting.owner_name,
        ids: counting.ids,
        ledger,
        runtime,
        settings,
        kafka,
    });
    // Dropping the set aborts its tasks.
    let mut services = shared.runtime.tasks();
    services.spawn(projection::run(Arc::clone(&shared), counting.projection));
    services.spawn(fold::run(Arc::clone(&shared)));
    services.spawn(topic_watch::run(Arc::clone(&shared)));
    services.spawn(ids::sweep(Arc::clone(&shared)));
    let levels = Arc::clone(&shared);
    services.spawn(async move { levels.levels.run(&levels.writer, &levels.runtime).await });
    let tasks = shared.runtime.tasks();
    let mut workers = Workers { shared, tasks, tokens: BTreeMap::new(), turns: BTreeMap::new() };
    workers.follow(events, &mut services, &shutdown).await
}

struct Workers<W: World> {
    shared: Arc<Shared<W>>,
    tasks: TasksOf<W>,
    tokens: BTreeMap<Partition, CancellationToken>,
    /// Held by the task of a partition: the next one waits for it.
    turns: BTreeMap<Partition, Arc<tokio::sync::Mutex<()>>>,
}

impl<W: World> Workers<W> {
    async fn follow(
        &mut self,
        mut events: UnboundedReceiver<JournalEvent>,
        services: &mut TasksOf<W>,
        shutdown: &CancellationToken,
    ) -> Result<(), PipelineError> {
        loop {
            let event = tokio::select! {
                biased;
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

fn died(part: &'static str, how: Option<Result<(), Stopped>>) -> PipelineError {
    let reason = match how {
        Some(Err(error)) => error.to_string(),
        Some(Ok(())) | None => "without a word".into(),
    };
    PipelineError::Ended { part, reason }
}
