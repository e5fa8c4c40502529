//! Folding usage every second or so, for the partitions of this process; and at once, for
//! billing and verification, which fold first (invariant 7).

use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_backends::StoreError;
use weir_backends::ledger::partition;
use weir_backends::ledger::usage::{Folded, fold_step};
use weir_backends::postgres::Pool;
use weir_core::Partition;

use crate::counting::shared::Shared;

/// Folds everything that is committed, in all partitions. Safe at any time, from any process.
pub async fn fold_now(pool: &Pool) -> Result<(), StoreError> {
    for row in partition::all(pool).await? {
        fold_partition(pool, row.partition).await?;
    }
    Ok(())
}

/// Folds everything that is committed in one partition.
pub async fn fold_partition(pool: &Pool, partition: Partition) -> Result<(), StoreError> {
    while let Folded::UpTo(_) = fold_step(pool, partition).await? {}
    Ok(())
}

/// Folds the partitions of this process, for ever.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut every = tokio::time::interval(Duration::from_millis(shared.settings.fold_interval_ms.max(10)));
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        let mut trouble = None;
        for partition in shared.projection.partitions() {
            let started = Instant::now();
            match fold_partition(&shared.pool, partition).await {
                Ok(()) => shared.metrics.fold_seconds.observe(started.elapsed().as_secs_f64()),
                Err(error) => trouble = Some(format!("partition {partition}: {error}")),
            }
        }
        shared.status.update(|status| {
            if status.fold != trouble {
                if let Some(words) = &trouble {
                    tracing::warn!(error = words, "usage is not folded");
                }
                status.fold = trouble;
            }
        });
    }
}
