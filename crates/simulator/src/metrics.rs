//! The engine's metrics, one set a thread: making them costs more than a play, and nobody
//! looks at them here.

use std::sync::Arc;

use prometheus::Registry;
use weir_pipeline::PipelineMetrics;
use weir_pipeline::outbox::OutboxMetrics;

/// Those of counting, and those of delivery.
pub(crate) type Metrics = (Arc<PipelineMetrics>, Arc<OutboxMetrics>);

thread_local! {
    static METRICS: Metrics = made();
}

fn made() -> Metrics {
    let registry = Registry::new();
    match (PipelineMetrics::register(&registry), OutboxMetrics::register(&registry)) {
        (Ok(counting), Ok(delivery)) => (Arc::new(counting), Arc::new(delivery)),
        (Err(error), _) | (_, Err(error)) => panic!("metrics of a fresh registry: {error}"),
    }
}

/// The metrics of this thread.
pub(crate) fn shared() -> Metrics {
    METRICS.with(Clone::clone)
}
