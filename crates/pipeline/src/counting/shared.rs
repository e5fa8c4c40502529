//! What all partitions of a process share.

use std::sync::Arc;

use weir_backends::config::KafkaConfig;
use weir_backends::journal::{JournalConsumer, Producer};
use weir_backends::postgres::{Installation, Pool};

use super::catalogue_cache::CatalogueCache;
use super::decoder::Decoder;
use super::levels::LevelPublisher;
use crate::clock::Clock;
use crate::metrics::PipelineMetrics;
use crate::projection::ProjectionQueue;
use crate::settings::CountingSettings;
use crate::status::PipelineStatus;

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) kafka: KafkaConfig,
    pub(crate) pool: Pool,
    pub(crate) settings: CountingSettings,
    pub(crate) metrics: Arc<PipelineMetrics>,
    pub(crate) status: Arc<PipelineStatus>,
    pub(crate) clock: Clock,
    pub(crate) installation: Installation,
    pub(crate) producer: Producer,
    pub(crate) consumer: JournalConsumer,
    pub(crate) catalogue: CatalogueCache,
    pub(crate) decoder: Decoder,
    pub(crate) levels: LevelPublisher,
    pub(crate) projection: ProjectionQueue,
    /// `host:pid`, for people.
    pub(crate) owner_name: String,
}
