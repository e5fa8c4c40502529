//! What archiving measures.

use prometheus::{IntCounter, IntGaugeVec, Opts, Registry};

/// Everything that archiving measures.
#[derive(Clone, Debug)]
pub struct ArchiveMetrics {
    /// `weir_archive_files_total`
    pub files: IntCounter,
    /// `weir_archive_bytes_total`
    pub bytes: IntCounter,
    /// `weir_archive_lost_offsets_total`
    pub lost_offsets: IntCounter,
    /// `weir_archive_waiting_seconds{partition}`
    pub waiting_seconds: IntGaugeVec,
    /// `weir_archive_endangered{partition}`
    pub endangered: IntGaugeVec,
}

impl ArchiveMetrics {
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name, help| {
            let made = IntCounter::new(name, help)?;
            registry.register(Box::new(made.clone())).map(|()| made)
        };
        let gauges = |name, help| {
            let made = IntGaugeVec::new(Opts::new(name, help), &["partition"])?;
            registry.register(Box::new(made.clone())).map(|()| made)
        };
        Ok(Self {
            files: counter("weir_archive_files_total", "Files of the journal archived.")?,
            bytes: counter("weir_archive_bytes_total", "Bytes of the files archived.")?,
            lost_offsets: counter(
                "weir_archive_lost_offsets_total",
                "Offsets that Kafka deleted before they were archived.",
            )?,
            waiting_seconds: gauges(
                "weir_archive_waiting_seconds",
                "How long the oldest counted record that is not archived has waited.",
            )?,
            endangered: gauges(
                "weir_archive_endangered",
                "1 where Kafka may soon delete what is not archived.",
            )?,
        })
    }

    /// A partition is others' by now.
    pub(crate) fn forget(&self, label: &str) {
        // A label that was never set is no error here.
        drop(self.waiting_seconds.remove_label_values(&[label]));
        drop(self.endangered.remove_label_values(&[label]));
    }
}
