//! Meters, tenants and their status in memory, read again when the catalogue's version rose.
//! It is what ingestion and quota answers look at, so that neither touches Postgres. When
//! the ledger is away, what was read last goes on being used.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use weir_backends::postgres::Pool;
use weir_backends::tenants::tenant::Status;
use weir_backends::{StoreError, catalog, tenants};
use weir_metering::catalogue::Catalogue;

/// How often the version is looked at.
const EVERY: Duration = Duration::from_secs(1);
/// How long a request waits for a look.
const LOOK_TIMEOUT: Duration = Duration::from_secs(1);

/// The catalogue at one version.
#[derive(Debug)]
pub struct Snapshot {
    /// Meters and tenants.
    pub catalogue: Catalogue,
    /// Tenants of which no events are taken over HTTP.
    pub refused: HashMap<String, Status>,
}

/// The newest snapshot. Cheap to clone.
#[derive(Clone, Debug)]
pub struct CatalogueFeed {
    pool: Pool,
    newest: Arc<watch::Sender<Arc<Snapshot>>>,
    /// When the version was last looked at; held while looking.
    looked_at: Arc<Mutex<Instant>>,
}

impl CatalogueFeed {
    /// Reads the catalogue for the first time.
    pub async fn open(pool: Pool) -> Result<Self, StoreError> {
        let snapshot = read(&pool).await?;
        let (newest, _) = watch::channel(Arc::new(snapshot));
        Ok(Self { pool, newest: Arc::new(newest), looked_at: Arc::new(Mutex::new(Instant::now())) })
    }

    /// What was read last.
    pub fn current(&self) -> Arc<Snapshot> {
        Arc::clone(&self.newest.borrow())
    }

    /// Looks at the version, and reads again when it rose.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        let mut looked_at = self.looked_at.lock().await;
        let began = Instant::now();
        self.look().await?;
        *looked_at = began;
        Ok(())
    }

    /// Makes sure that the version was looked at after `since`: an unknown tenant may have
    /// been made just now. However many ask at a time, one looks.
    pub async fn refresh_since(&self, since: Instant) -> Result<(), StoreError> {
        let mut looked_at = self.looked_at.lock().await;
        if *looked_at >= since {
            return Ok(());
        }
        let began = Instant::now();
        let looked = tokio::time::timeout(LOOK_TIMEOUT, self.look()).await;
        looked.unwrap_or_else(|_| {
            let reason = "no answer within a second".to_owned();
            Err(StoreError::Transient { attempt: "read the catalogue's version", reason })
        })?;
        *looked_at = began;
        Ok(())
    }

    async fn look(&self) -> Result<(), StoreError> {
        if catalog::version(&self.pool).await? != self.current().catalogue.version {
            self.newest.send_replace(Arc::new(read(&self.pool).await?));
        }
        Ok(())
    }

    /// Looks every second until `shutdown`. A ledger that is away is logged once.
    pub fn spawn(&self, shutdown: CancellationToken) -> tokio::task::JoinHandle<()> {
        let feed = self.clone();
        tokio::spawn(async move {
            let mut away = false;
            let mut tick = tokio::time::interval(EVERY);
            tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    _ = tick.tick() => {}
                }
                match feed.refresh().await {
                    Ok(()) => away = false,
                    Err(error) if !away => {
                        tracing::warn!(%error, "the catalogue cannot be read; the last one goes on being used");
                        away = true;
                    }
                    Err(_) => {}
                }
            }
        })
    }
}

/// The version is read first: a change between the reads shows as another version at the
/// next look.
async fn read(pool: &Pool) -> Result<Snapshot, StoreError> {
    let version = catalog::version(pool).await?;
    let mut catalogue = catalog::load(pool).await?;
    let refused = tenants::refused_tenants(pool).await?.into_iter().collect();
    catalogue.version = version;
    Ok(Snapshot { catalogue, refused })
}
