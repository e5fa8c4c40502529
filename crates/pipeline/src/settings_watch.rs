//! Looks at the settings of Kafka and Postgres that would break a promise: at start, and every few
//! seconds while it counts. What must not be counted on stops every partition of this process, in
//! words, until it is corrected; the rest is told.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use weir_backends::StoreError;
use weir_backends::config::{ArchiveConfig, KafkaConfig};
use weir_backends::journal::{TopicBounds, TopicSettings};
use weir_backends::ledger_settings;
use weir_backends::postgres::Pool;
use weir_backends::settings::Finding;
use weir_core::time::DAY_MS;
use weir_wire::usage_record::HEADERS_BYTES_MAX;

use crate::metrics::PipelineMetrics;
use crate::settings::CountingSettings;
use crate::status::PipelineStatus;

/// How often the settings are looked at: compaction that somebody turns on by mistake begins
/// after fifteen seconds at the earliest, where a broker has its defaults.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// What a record has beside key, value and headers: the framing of its batch and of the headers.
const FRAMING_BYTES: i64 = 4_096;

/// What the servers' settings are held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promises {
    topics: TopicBounds,
    single_node: bool,
}

impl Promises {
    /// What counting with these settings promises. `archiving` where there is an archive;
    /// `single_node` is what the operator says of the ledger.
    pub fn new(settings: &CountingSettings, archiving: Option<&ArchiveConfig>, single_node: bool) -> Self {
        let CountingSettings { window_ms, future_ms, record_bytes_max, .. } = settings;
        let bytes = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let topics = TopicBounds {
            // As far back as ids are read again when a partition is taken.
            ids_kept_ms: window_ms.saturating_add(*future_ms).saturating_add(DAY_MS),
            archived_after_ms: archiving.map(|archiving| archiving.age_max_ms),
            record_bytes: bytes(*record_bytes_max)
                .saturating_add(bytes(HEADERS_BYTES_MAX))
                .saturating_add(FRAMING_BYTES),
        };
        Self { topics, single_node }
    }
}

/// Looks at both servers.
#[derive(Clone, Debug)]
pub struct SettingsWatch {
    topics: TopicSettings,
    pool: Pool,
    promises: Promises,
    /// What each server was found to have when it last answered.
    known: Known,
}

#[derive(Clone, Debug, Default)]
struct Known {
    kafka: Vec<Finding>,
    postgres: Vec<Finding>,
}

impl Known {
    fn all(&self) -> Vec<Finding> {
        self.kafka.iter().chain(&self.postgres).cloned().collect()
    }
}

impl SettingsWatch {
    /// Looks at nothing yet.
    ///
    /// # Errors
    /// When Kafka's client cannot be made.
    pub async fn connect(kafka: &KafkaConfig, pool: &Pool, promises: Promises) -> Result<Self, StoreError> {
        let topics = TopicSettings::connect(kafka).await?;
        Ok(Self { topics, pool: pool.clone(), promises, known: Known::default() })
    }

    /// Everything that is wrong now.
    ///
    /// # Errors
    /// When a server does not answer, or a topic is not there.
    pub async fn look(&self) -> Result<Vec<Finding>, StoreError> {
        self.clone().begin().await
    }

    async fn look_at_kafka(&self) -> Result<Vec<Finding>, StoreError> {
        self.topics.findings(&self.promises.topics).await
    }

    async fn look_at_postgres(&self) -> Result<Vec<Finding>, StoreError> {
        ledger_settings::findings(&self.pool, self.promises.single_node).await
    }

    /// As [`SettingsWatch::look`]; what is found is known from then on.
    ///
    /// # Errors
    /// When a server does not answer, or a topic is not there.
    pub(crate) async fn begin(&mut self) -> Result<Vec<Finding>, StoreError> {
        let (kafka, postgres) = (self.look_at_kafka().await?, self.look_at_postgres().await?);
        self.known = Known { kafka, postgres };
        Ok(self.known.all())
    }

    /// Everything that is wrong, as far as it is known: of a server that does not tell its
    /// settings, what it last told, and that it does not.
    pub(crate) async fn look_again(&mut self) -> Vec<Finding> {
        let mut silent = Vec::new();
        match self.look_at_kafka().await {
            Ok(found) => self.known.kafka = found,
            Err(error) => silent.push(unseen("Kafka", &error)),
        }
        match self.look_at_postgres().await {
            Ok(found) => self.known.postgres = found,
            Err(error) => silent.push(unseen("Postgres", &error)),
        }
        self.known.all().into_iter().chain(silent).collect()
    }

    /// Looks and tells, for ever.
    pub(crate) async fn run(
        mut self,
        status: Arc<PipelineStatus>,
        metrics: Arc<PipelineMetrics>,
    ) -> Infallible {
        let mut every = tokio::time::interval(LOOK_EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            tell(self.look_again().await, &status, &metrics);
        }
    }
}

fn unseen(server: &str, error: &StoreError) -> Finding {
    Finding { refuses: false, words: format!("{server}'s settings cannot be looked at: {error}") }
}

/// Tells what was found: in the status and the metrics, and in the log where it is new.
pub(crate) fn tell(found: Vec<Finding>, status: &PipelineStatus, metrics: &PipelineMetrics) {
    let refusing = found.iter().filter(|one| one.refuses).count();
    for (effect, count) in [("refuses", refusing), ("warns", found.len() - refusing)] {
        metrics.settings_broken.with_label_values(&[effect]).set(i64::try_from(count).unwrap_or(i64::MAX));
    }
    status.update(|status| {
        let known = status.settings.take().unwrap_or_default();
        for one in found.iter().filter(|one| !known.contains(one)) {
            let setting = one.words.as_str();
            if one.refuses {
                tracing::error!(setting, "a setting would break a promise: nothing is counted");
            } else {
                tracing::warn!(setting, "a setting may break a promise");
            }
        }
        for one in known.iter().filter(|one| !found.contains(one)) {
            tracing::info!(setting = one.words, "a setting was corrected");
        }
        status.settings = Some(found);
    });
}
