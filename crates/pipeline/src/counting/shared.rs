//! What all partitions of a process share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use weir_backends::config::KafkaConfig;
use weir_backends::postgres::Installation;

use super::catalogue_cache::CatalogueCache;
use super::decoder::Decoder;
use super::levels::LevelPublisher;
use crate::metrics::PipelineMetrics;
use crate::projection::ProjectionQueue;
use crate::settings::CountingSettings;
use crate::status::PipelineStatus;
use crate::world::{Runtime, World};

pub(crate) struct Shared<W: World> {
    pub(crate) reader: W::Reader,
    pub(crate) writer: W::Writer,
    pub(crate) ledger: W::Ledger,
    /// Where ids are sealed; in memory only where there is none.
    pub(crate) ids: Option<W::Ids>,
    pub(crate) runtime: W::Runtime,
    /// Names of topics, for words and records.
    pub(crate) kafka: KafkaConfig,
    pub(crate) settings: CountingSettings,
    pub(crate) metrics: Arc<PipelineMetrics>,
    pub(crate) status: Arc<PipelineStatus>,
    pub(crate) installation: Installation,
    pub(crate) catalogue: CatalogueCache<W>,
    pub(crate) decoder: Decoder,
    pub(crate) levels: LevelPublisher,
    pub(crate) projection: ProjectionQueue,
    /// How many batches this process had committed when it folded all partitions last.
    pub(crate) folded: AtomicU64,
    /// Whether the batch that was committed last was full, so that more records wait.
    pub(crate) backlog: AtomicBool,
    /// `host:pid`, for people.
    pub(crate) owner_name: String,
}

impl<W: World> Shared<W> {
    /// How long ago `moment` was, which the runtime told.
    pub(crate) fn since(&self, moment: Duration) -> Duration {
        self.runtime.elapsed().saturating_sub(moment)
    }

    /// How many batches this process has committed, if they are folded, too.
    pub(crate) fn all_folded(&self) -> Option<u64> {
        let folded = self.folded.load(Ordering::Relaxed);
        (folded == self.metrics.batches.get()).then_some(folded)
    }
}
