//! What every request handler is given: connections, what is kept in memory, settings.
//! Cheap to clone. The only place of this crate that reads the clock.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use weir_backends::StoreError;
use weir_backends::journal::producer::Producer;
use weir_backends::journal::quota_feed::QuotaBoard;
use weir_backends::journal::topics::TopicEnds;
use weir_backends::postgres::Pool;
use weir_backends::projection::Projection;
use weir_core::Timestamp;

use crate::catalogue_feed::CatalogueFeed;
use crate::credentials::KeyCache;
use crate::metrics::ApiMetrics;
use crate::rate_limit::RateLimits;

/// Settings of the API.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApiSettings {
    /// `host:port` of the API.
    pub listen: String,
    /// `host:port` of health and metrics.
    pub admin_listen: String,
    /// The largest body of events, packed and unpacked, in bytes.
    pub body_bytes_max: usize,
    /// The most events of one request; never more than 10,000.
    pub batch_events_max: usize,
    /// The most bytes of bodies that are held at a time; past it requests get 503.
    pub in_flight_bytes_max: usize,
    /// How old a quota level may be before the limit says what to answer, in milliseconds.
    pub max_staleness_ms: i64,
    /// How long the journal may take to acknowledge, in milliseconds.
    pub delivery_timeout_ms: u64,
    /// How long an API key that was looked up is trusted, in milliseconds: a revoked key
    /// stops working within this time.
    pub key_cache_ms: u64,
    /// The same while the ledger is away.
    pub key_stale_ms_max: u64,
    /// How many requests an API key may send to one process in a minute; 0: any number.
    pub key_requests_per_minute_max: u32,
    /// How long a body of events may take to arrive, in milliseconds.
    pub body_timeout_ms: u64,
    /// The environment that stands in new API keys.
    pub key_env: String,
    /// Whether webhooks may go to private and local addresses.
    pub allow_private_webhooks: bool,
}

impl Default for ApiSettings {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8787".into(),
            admin_listen: "127.0.0.1:8788".into(),
            body_bytes_max: 8 * 1024 * 1024,
            batch_events_max: 10_000,
            in_flight_bytes_max: 256 * 1024 * 1024,
            max_staleness_ms: 30_000,
            delivery_timeout_ms: 5_000,
            key_cache_ms: 3_000,
            key_stale_ms_max: 300_000,
            key_requests_per_minute_max: 0,
            body_timeout_ms: 30_000,
            key_env: "live".into(),
            allow_private_webhooks: false,
        }
    }
}

/// Where events go.
#[derive(Clone, Debug)]
pub struct Journal {
    /// The connection that writes.
    pub producer: Producer,
    /// The usage topic.
    pub topic: String,
    /// How far its partitions reach.
    pub ends: TopicEnds,
}

/// What every handler is given. A request makes several clones of it, so it is one pointer.
#[derive(Clone, Debug)]
pub struct ApiState(Arc<StateParts>);

/// What the handlers' state holds.
#[derive(Debug)]
pub struct StateParts {
    /// The ledger.
    pub pool: Pool,
    /// Where events go.
    pub journal: Arc<Journal>,
    /// Meters and tenants.
    pub catalogue: CatalogueFeed,
    /// Where tenants stand.
    pub quota: Arc<QuotaBoard>,
    /// Where events that are to be taken out are looked for.
    pub projection: Projection,
    /// Settings.
    pub settings: Arc<ApiSettings>,
    /// What is measured.
    pub metrics: Arc<ApiMetrics>,
    pub(crate) keys: Arc<KeyCache>,
    pub(crate) in_flight: Arc<Semaphore>,
    pub(crate) rates: Arc<RateLimits>,
}

impl ApiState {
    /// Puts the parts together and reads the catalogue for the first time.
    pub async fn open(
        pool: Pool,
        journal: Journal,
        projection: Projection,
        quota: Arc<QuotaBoard>,
        settings: ApiSettings,
        metrics: Arc<ApiMetrics>,
    ) -> Result<Self, StoreError> {
        let catalogue = CatalogueFeed::open(pool.clone()).await?;
        let keys = KeyCache::new(
            Duration::from_millis(settings.key_cache_ms),
            Duration::from_millis(settings.key_stale_ms_max),
        );
        let in_flight = Arc::new(Semaphore::new(settings.in_flight_bytes_max.min(Semaphore::MAX_PERMITS)));
        Ok(Self(Arc::new(StateParts {
            pool,
            journal: Arc::new(journal),
            catalogue,
            quota,
            projection,
            rates: Arc::new(RateLimits::new(settings.key_requests_per_minute_max)),
            settings: Arc::new(settings),
            metrics,
            keys: Arc::new(keys),
            in_flight,
        })))
    }

    /// Starts what runs beside the requests, until `shutdown`.
    pub fn spawn_refresher(&self, shutdown: CancellationToken) -> tokio::task::JoinHandle<()> {
        self.catalogue.spawn(shutdown)
    }

    /// Bytes of event bodies that could be taken in addition at the moment.
    pub fn in_flight_bytes_free(&self) -> usize {
        self.in_flight.available_permits()
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        Timestamp::from(chrono::Utc::now())
    }
}

impl Deref for ApiState {
    type Target = StateParts;

    fn deref(&self) -> &StateParts {
        &self.0
    }
}
