//! The catalogue that batches are judged by: one copy a process, looked after so closely
//! that a commit rarely finds it to be old (then the batch is judged again).

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use weir_backends::postgres::Pool;
use weir_backends::{StoreError, catalog};
use weir_metering::catalogue::Catalogue;

/// A version that was looked at so recently is taken to be the newest.
const FRESH: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(crate) struct CatalogueCache {
    pool: Pool,
    held: Mutex<Option<(Arc<Catalogue>, Instant)>>,
}

impl CatalogueCache {
    pub(crate) fn new(pool: Pool) -> Self {
        Self { pool, held: Mutex::new(None) }
    }

    /// The catalogue, at most a moment old.
    pub(crate) async fn current(&self) -> Result<Arc<Catalogue>, StoreError> {
        self.looked_at_within(FRESH).await
    }

    /// The catalogue as it is after this call began.
    pub(crate) async fn refresh(&self) -> Result<Arc<Catalogue>, StoreError> {
        self.looked_at_within(Duration::ZERO).await
    }

    async fn looked_at_within(&self, age_max: Duration) -> Result<Arc<Catalogue>, StoreError> {
        let mut held = self.held.lock().await;
        if let Some((catalogue, looked_at)) = &mut *held {
            if looked_at.elapsed() < age_max {
                return Ok(Arc::clone(catalogue));
            }
            let now = Instant::now();
            if catalog::version(&self.pool).await? == catalogue.version {
                *looked_at = now;
                return Ok(Arc::clone(catalogue));
            }
        }
        let now = Instant::now();
        let catalogue = Arc::new(catalog::load(&self.pool).await?);
        tracing::info!(version = catalogue.version, tenants = catalogue.tenants.len(), "catalogue loaded");
        *held = Some((Arc::clone(&catalogue), now));
        Ok(catalogue)
    }
}
