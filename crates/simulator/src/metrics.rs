//! The engine's metrics, one set a thread: making them costs more than a play, and nobody
//! looks at them here.

use std::sync::Arc;

use prometheus::Registry;
use weir_pipeline::PipelineMetrics;

thread_local! {
    static METRICS: Arc<PipelineMetrics> = made();
}

fn made() -> Arc<PipelineMetrics> {
    match PipelineMetrics::register(&Registry::new()) {
        Ok(metrics) => Arc::new(metrics),
        Err(error) => panic!("metrics of a fresh registry: {error}"),
    }
}

/// The metrics of this thread.
pub(crate) fn shared() -> Arc<PipelineMetrics> {
    METRICS.with(Arc::clone)
}
