//! What the API measures, under names that dashboards and rules use. Tenant ids are never labels.

use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry};

/// The API's metrics.
#[derive(Clone, Debug)]
pub struct ApiMetrics {
    /// Requests by route template, method and status.
    pub requests: IntCounterVec,
    /// How long they took.
    pub request_seconds: HistogramVec,
    /// Events by what became of them: `accepted`, `rejected`, `unavailable`.
    pub events: IntCounterVec,
    /// Quota answers by `allowed`.
    pub quota_answers: IntCounterVec,
    /// Bytes of bodies held at the moment.
    pub in_flight_bytes: IntGauge,
    /// How long the journal took to acknowledge a request's events.
    pub acknowledge_seconds: Histogram,
}

impl ApiMetrics {
    /// Makes the metrics and registers them.
    ///
    /// # Errors
    /// A name that is registered already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let buckets =
            vec![0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
        let metrics = Self {
            requests: IntCounterVec::new(
                Opts::new("weir_http_requests_total", "HTTP requests by route template, method and status."),
                &["route", "method", "status"],
            )?,
            request_seconds: HistogramVec::new(
                HistogramOpts::new("weir_http_request_seconds", "How long HTTP requests took.")
                    .buckets(buckets.clone()),
                &["route", "method"],
            )?,
            events: IntCounterVec::new(
                Opts::new("weir_events_ingested_total", "Events over HTTP by what became of them."),
                &["result"],
            )?,
            quota_answers: IntCounterVec::new(
                Opts::new("weir_quota_answers_total", "Quota answers over HTTP."),
                &["allowed"],
            )?,
            in_flight_bytes: IntGauge::new(
                "weir_http_in_flight_bytes",
                "Bytes of request bodies that are held at the moment.",
            )?,
            acknowledge_seconds: Histogram::with_opts(
                HistogramOpts::new(
                    "weir_http_acknowledge_seconds",
                    "How long the journal took to acknowledge.",
                )
                .buckets(buckets),
            )?,
        };
        registry.register(Box::new(metrics.requests.clone()))?;
        registry.register(Box::new(metrics.request_seconds.clone()))?;
        registry.register(Box::new(metrics.events.clone()))?;
        registry.register(Box::new(metrics.quota_answers.clone()))?;
        registry.register(Box::new(metrics.in_flight_bytes.clone()))?;
        registry.register(Box::new(metrics.acknowledge_seconds.clone()))?;
        Ok(metrics)
    }
}
