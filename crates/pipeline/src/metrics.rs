//! The pipeline's metrics. Tenants are never labels.

use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};
use weir_metering::outcome::Outcome;

use crate::archive::metrics::ArchiveMetrics;
use crate::counting::rejected_by;

/// Seconds, from a millisecond to half a minute.
const SECONDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// Everything that counting measures.
#[derive(Clone, Debug)]
pub struct PipelineMetrics {
    /// `weir_records_total{outcome}`
    pub records: IntCounterVec,
    /// `weir_rejected_total{reason}`
    pub rejected: IntCounterVec,
    /// `weir_batches_total`
    pub batches: IntCounter,
    /// `weir_commit_seconds`
    pub commit_seconds: Histogram,
    /// `weir_apply_seconds`
    pub apply_seconds: Histogram,
    /// `weir_insert_seconds{table}`
    pub insert_seconds: HistogramVec,
    /// `weir_insert_rows_total{table}`
    pub insert_rows: IntCounterVec,
    /// `weir_projection_read_again_rows_total`
    pub read_again_rows: IntCounter,
    /// `weir_projection_delay_seconds`
    pub projection_delay_seconds: Gauge,
    /// `weir_projection_set_aside_rows`
    pub projection_set_aside: IntGauge,
    /// `weir_fold_seconds`
    pub fold_seconds: Histogram,
    /// `weir_consumer_lag_records{partition}`
    pub lag_records: IntGaugeVec,
    /// `weir_partition_owned{partition}`
    pub partition_owned: IntGaugeVec,
    /// `weir_remembered_ids{partition}`
    pub remembered_ids: IntGaugeVec,
    /// `weir_queue_records{queue}`
    pub queue_records: IntGaugeVec,
    /// `weir_stalled{part, partition}`
    pub stalled: IntGaugeVec,
    /// `weir_settings_broken{effect}`
    pub settings_broken: IntGaugeVec,
    /// `weir_archive_…`
    pub archive: ArchiveMetrics,
}

impl PipelineMetrics {
    /// Registers everything.
    ///
    /// # Errors
    /// When a metric of the same name is registered already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counters = |name, help, label| {
            let made = IntCounterVec::new(Opts::new(name, help), &[label])?;
            registry.register(Box::new(made.clone())).map(|()| made)
        };
        let gauges = |name, help, label| {
            let made = IntGaugeVec::new(Opts::new(name, help), &[label])?;
            registry.register(Box::new(made.clone())).map(|()| made)
        };
        let seconds = |name, help| {
            let made = Histogram::with_opts(HistogramOpts::new(name, help).buckets(SECONDS.to_vec()))?;
            registry.register(Box::new(made.clone())).map(|()| made)
        };
        let stalled = Opts::new("weir_stalled", "1 where records wait and a part of Weir does not move.");
        let stalled = IntGaugeVec::new(stalled, &["part", "partition"])?;
        registry.register(Box::new(stalled.clone()))?;
        let options = HistogramOpts::new("weir_insert_seconds", "How long inserts into ClickHouse took.");
        let insert_seconds = HistogramVec::new(options.buckets(SECONDS.to_vec()), &["table"])?;
        registry.register(Box::new(insert_seconds.clone()))?;
        let batches = IntCounter::new("weir_batches_total", "Batches committed.")?;
        registry.register(Box::new(batches.clone()))?;
        let read_again_rows = IntCounter::new(
            "weir_projection_read_again_rows_total",
            "Rows inserted into ClickHouse that had to be read from the journal again.",
        )?;
        registry.register(Box::new(read_again_rows.clone()))?;
        let projection_delay_seconds = Gauge::new(
            "weir_projection_delay_seconds",
            "How long the oldest committed record that is not in ClickHouse has waited.",
        )?;
        registry.register(Box::new(projection_delay_seconds.clone()))?;
        let projection_set_aside = IntGauge::new(
            "weir_projection_set_aside_rows",
            "Counted events that ClickHouse refuses for good.",
        )?;
        registry.register(Box::new(projection_set_aside.clone()))?;
        let metrics = Self {
            records: counters("weir_records_total", "Records committed, by what became of them.", "outcome")?,
            rejected: counters(
                "weir_rejected_total",
                "Records sent to the dead letters, by reason.",
                "reason",
            )?,
            batches,
            commit_seconds: seconds("weir_commit_seconds", "How long commits of batches took.")?,
            apply_seconds: seconds("weir_apply_seconds", "How long decoding and applying batches took.")?,
            insert_seconds,
            insert_rows: counters("weir_insert_rows_total", "Rows inserted into ClickHouse.", "table")?,
            read_again_rows,
            projection_delay_seconds,
            projection_set_aside,
            fold_seconds: seconds("weir_fold_seconds", "How long folding a partition's usage took.")?,
            lag_records: gauges(
                "weir_consumer_lag_records",
                "Records that are not committed yet.",
                "partition",
            )?,
            partition_owned: gauges(
                "weir_partition_owned",
                "1 for partitions that are counted here.",
                "partition",
            )?,
            remembered_ids: gauges("weir_remembered_ids", "Event ids in memory.", "partition")?,
            queue_records: gauges("weir_queue_records", "Records that wait inside the process.", "queue")?,
            stalled,
            settings_broken: gauges(
                "weir_settings_broken",
                "Settings of Kafka and Postgres that break a promise (refuses) or may (warns).",
                "effect",
            )?,
            archive: ArchiveMetrics::register(registry)?,
        };
        for outcome in ["accepted", "duplicate", "rejected", "forwarded", "control"] {
            metrics.records.with_label_values(&[outcome]).inc_by(0);
        }
        Ok(metrics)
    }

    /// A batch was committed.
    pub(crate) fn committed(&self, outcome: &Outcome) {
        let counts = &outcome.counts;
        let by_outcome = [
            ("accepted", counts.accepted),
            ("duplicate", counts.duplicate),
            ("rejected", counts.rejected),
            ("forwarded", counts.forwarded),
            ("control", counts.control),
        ];
        for (label, count) in by_outcome {
            self.records.with_label_values(&[label]).inc_by(count);
        }
        for (reason, count) in rejected_by(outcome) {
            self.rejected.with_label_values(&[reason]).inc_by(count);
        }
        self.batches.inc();
    }

    /// A partition is owned here, or no longer. What is no longer counted here has no lag and
    /// no ids here, so that sums over processes are right; that it is not owned stays said,
    /// for the alert on partitions that nobody owns.
    pub(crate) fn owned(&self, partition: i32, owned: bool) {
        let label = partition.to_string();
        self.partition_owned.with_label_values(&[&label]).set(i64::from(owned));
        if !owned {
            // A label that was never set is no error here.
            drop(self.lag_records.remove_label_values(&[&label]));
            drop(self.remembered_ids.remove_label_values(&[&label]));
            self.archive.forget(&label);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_that_is_given_up_adds_nothing_to_sums() {
        let registry = Registry::new();
        let metrics = PipelineMetrics::register(&registry).expect("metrics");
        metrics.owned(7, false);
        metrics.owned(7, true);
        metrics.lag_records.with_label_values(&["7"]).set(5);
        metrics.remembered_ids.with_label_values(&["7"]).set(9);
        let told = || {
            let families = registry.gather();
            let wanted = ["weir_consumer_lag_records", "weir_partition_owned", "weir_remembered_ids"];
            let told = families.iter().filter(|family| wanted.contains(&family.name()));
            let values =
                told.flat_map(|family| family.get_metric()).map(|metric| metric.get_gauge().get_value());
            values.map(|value| format!("{value}")).collect::<Vec<_>>()
        };
        assert_eq!(told(), ["5", "1", "9"]);
        metrics.owned(7, false);
        assert_eq!(told(), ["0"]);
    }
}
