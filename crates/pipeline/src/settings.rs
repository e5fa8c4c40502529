//! How counting is tuned. The defaults are what the tests and the demo run with.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use weir_metering::shard::{FUTURE_MS, SERIES_MAX, WINDOW_MS};

/// Settings of the aggregator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CountingSettings {
    /// How long records are gathered into a batch, in milliseconds.
    pub batch_interval_ms: u64,
    /// Records of a batch at most.
    pub batch_records_max: usize,
    /// Bytes of a batch's records, about.
    pub batch_bytes_max: usize,
    /// How long a partition is idle before a tick is appended to it, in milliseconds.
    pub tick_after_ms: u64,
    /// How long a partition may stand still while records wait, in milliseconds. Behind offsets
    /// that hold no record it waits for its tick, so this must be longer than `tick_after_ms`.
    pub stalled_after_ms: u64,
    /// How often usage is folded, in milliseconds.
    pub fold_interval_ms: u64,
    /// How often the projection is written, in milliseconds.
    pub projection_interval_ms: u64,
    /// How far back events are taken and ids are unique, in milliseconds.
    pub window_ms: i64,
    /// How far ahead events are taken, in milliseconds.
    pub future_ms: i64,
    /// Series of one tenant on one meter at most.
    pub series_max: u32,
    /// Where ids of complete buckets are written to files, so that they leave memory and a start
    /// reads little of the journal; without it all ids stay in memory. Each machine has its own;
    /// what is missing there is read again from Kafka.
    pub id_folder: Option<PathBuf>,
    /// Event ids that a bucket holds at most before it is sealed: 29 bytes of memory each.
    pub id_bucket_max: usize,
    /// The largest value that is read, in bytes.
    pub record_bytes_max: usize,
    /// How far broker time may be ahead of this machine's clock before a partition is held,
    /// in milliseconds.
    pub clock_ahead_max_ms: i64,
}

impl Default for CountingSettings {
    fn default() -> Self {
        Self {
            batch_interval_ms: 100,
            batch_records_max: 50_000,
            batch_bytes_max: 16 * 1_048_576,
            tick_after_ms: 10_000,
            stalled_after_ms: 60_000,
            fold_interval_ms: 1_000,
            projection_interval_ms: 300,
            window_ms: WINDOW_MS,
            future_ms: FUTURE_MS,
            series_max: SERIES_MAX,
            id_folder: None,
            id_bucket_max: 4_000_000,
            record_bytes_max: weir_wire::usage_record::RECORD_BYTES_MAX,
            clock_ahead_max_ms: 300_000,
        }
    }
}
