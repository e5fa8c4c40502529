//! Folding usage every second or so, for the partitions of this process; and at once, for
//! billing, which folds first (invariant 7). Deltas are merged here; the ledger adds them to
//! the usage rows if nobody else has.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use weir_backends::StoreError;
use weir_backends::ledger::usage::merge;
use weir_core::Partition;

use crate::counting::shared::Shared;
use crate::world::{Ledger, Runtime, World};

/// Under load folding takes at most a quarter of the time: what is folded together has fewer keys
/// than batches have deltas, the fewer the longer it was gathered.
const REST: u32 = 3;
/// And happens at least so often, beside the time that it takes.
const REST_MAX: Duration = Duration::from_secs(5);
/// Where nothing was committed for so long, and no full batch last, nothing more is waited for.
const QUIET: Duration = Duration::from_millis(300);
/// How often that is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Folds everything that is committed in one partition. Safe at any time, from any process.
pub(crate) async fn fold_partition(ledger: &impl Ledger, partition: Partition) -> Result<(), StoreError> {
    while !fold_step(ledger, partition).await? {}
    Ok(())
}

/// Folds the next batches of a partition; true when nothing is left.
pub(crate) async fn fold_step(ledger: &impl Ledger, partition: Partition) -> Result<bool, StoreError> {
    let Some(unfolded) = ledger.unfolded(partition).await? else { return Ok(true) };
    let next_offset = unfolded.next_offset;
    let folding = merge(unfolded)?;
    // Where someone else folded or took the partition meanwhile, the next step begins anew.
    let folded = ledger.fold(&folding).await?;
    Ok(folded && folding.to == next_offset)
}

/// As [`fold_partition`]; each step is said, so that much to fold is not taken for a standstill.
async fn fold_told<W: World>(shared: &Shared<W>, partition: Partition) -> Result<(), StoreError> {
    loop {
        shared.status.folding(Some(("folding usage", Some(partition))));
        if fold_step(&shared.ledger, partition).await? {
            return Ok(());
        }
    }
}

/// Folds the partitions of this process, for ever.
pub(crate) async fn run<W: World>(shared: Arc<Shared<W>>) {
    let period = Duration::from_millis(shared.settings.fold_interval_ms.max(10));
    loop {
        let (began, seen) = (shared.runtime.elapsed(), shared.metrics.batches.get());
        let mut trouble = None;
        for partition in shared.projection.partitions() {
            let started = shared.runtime.elapsed();
            match fold_told(&shared, partition).await {
                Ok(()) => shared.metrics.fold_seconds.observe(shared.since(started).as_secs_f64()),
                Err(error) => trouble = Some(format!("partition {partition}: {error}")),
            }
        }
        shared.status.folding(None);
        if trouble.is_none() {
            shared.folded.store(seen, Ordering::Relaxed);
        }
        shared.status.update(|status| {
            if status.fold != trouble {
                if let Some(words) = &trouble {
                    tracing::warn!(error = words, "usage is not folded");
                }
                status.fold = trouble;
            }
        });
        let took = shared.since(began);
        shared.runtime.sleep(period.saturating_sub(took)).await;
        rest(&shared, began + took + (took * REST).min(REST_MAX)).await;
    }
}

/// Rests until then, but not while something waits to be folded and nothing more comes to it.
async fn rest<W: World>(shared: &Shared<W>, until: Duration) {
    let (mut committed, mut since) = (shared.metrics.batches.get(), shared.runtime.elapsed());
    while shared.runtime.elapsed() < until {
        shared.runtime.sleep(LOOK_EVERY.min(until.saturating_sub(shared.runtime.elapsed()))).await;
        let now = shared.metrics.batches.get();
        if now != committed {
            (committed, since) = (now, shared.runtime.elapsed());
        } else if shared.since(since) >= QUIET
            && !shared.backlog.load(Ordering::Relaxed)
            && shared.all_folded().is_none()
        {
            break;
        }
    }
}
