//! The catalogue that batches are judged by: one copy a process, looked after so closely
//! that a commit rarely finds it to be old (then it is compared with the newest, and the shard
//! built again only where that would judge otherwise).

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use weir_backends::StoreError;
use weir_metering::catalogue::Catalogue;

use crate::world::{Ledger, Runtime, World};

/// A version that was looked at so recently is taken to be the newest.
const FRESH: Duration = Duration::from_millis(20);

pub(crate) struct CatalogueCache<W: World> {
    ledger: W::Ledger,
    runtime: W::Runtime,
    /// The copy, and when it was the newest.
    held: Mutex<Option<(Arc<Catalogue>, Duration)>>,
    /// How many partitions the copy says are counted; 0 before there is one.
    partitions: AtomicI32,
}

impl<W: World> CatalogueCache<W> {
    pub(crate) fn new(ledger: W::Ledger, runtime: W::Runtime) -> Self {
        Self { ledger, runtime, held: Mutex::new(None), partitions: AtomicI32::new(0) }
    }

    /// How many partitions are counted, as far as is known without asking or waiting.
    pub(crate) fn partitions(&self) -> Option<i32> {
        Some(self.partitions.load(Ordering::Relaxed)).filter(|partitions| *partitions > 0)
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
            if self.runtime.elapsed().saturating_sub(*looked_at) < age_max {
                return Ok(Arc::clone(catalogue));
            }
            let now = self.runtime.elapsed();
            if self.ledger.catalogue_version().await? == catalogue.version {
                *looked_at = now;
                return Ok(Arc::clone(catalogue));
            }
        }
        let now = self.runtime.elapsed();
        let catalogue = Arc::new(self.ledger.catalogue().await?);
        tracing::info!(version = catalogue.version, tenants = catalogue.tenants.len(), "catalogue loaded");
        self.partitions.store(catalogue.homes.partitions(), Ordering::Relaxed);
        *held = Some((Arc::clone(&catalogue), now));
        Ok(catalogue)
    }
}
