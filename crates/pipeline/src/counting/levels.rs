//! Quota levels and heartbeats on their way to their topic: right after `apply`, before
//! the commit and without waiting for it (invariant 12). Of one key only the newest waits,
//! so what waits is bounded by the number of limited meters.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use weir_backends::journal::{Heartbeat, OutgoingRecord};
use weir_metering::quota::QuotaLevel;
use weir_wire::quota_level;

use super::retry::delays;
use crate::world::{JournalWriter, Runtime};

#[derive(Debug)]
pub(crate) struct LevelPublisher {
    topic: String,
    waiting: Mutex<BTreeMap<Vec<u8>, OutgoingRecord>>,
    changed: Notify,
}

impl LevelPublisher {
    pub(crate) fn new(topic: &str) -> Self {
        Self { topic: topic.to_owned(), waiting: Mutex::default(), changed: Notify::new() }
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<Vec<u8>, OutgoingRecord>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands over levels and how far the partition was counted.
    pub(crate) fn publish(&self, levels: &[QuotaLevel], heartbeat: Option<Heartbeat>) {
        let records = levels.iter().map(|level| OutgoingRecord {
            topic: self.topic.clone(),
            key: Some(quota_level::key(level).into_bytes()),
            value: Some(quota_level::encode(level)),
            ..OutgoingRecord::default()
        });
        let mut waiting = self.waiting();
        for record in records.chain(heartbeat.map(|heartbeat| heartbeat.record(&self.topic))) {
            waiting.insert(record.key.clone().unwrap_or_default(), record);
        }
        drop(waiting);
        self.changed.notify_one();
    }

    /// What could not be sent waits again, unless something newer does.
    fn put_back(&self, records: Vec<OutgoingRecord>) {
        let mut waiting = self.waiting();
        for record in records {
            waiting.entry(record.key.clone().unwrap_or_default()).or_insert(record);
        }
    }

    /// Sends what waits, for ever.
    pub(crate) async fn run(&self, writer: &impl JournalWriter, runtime: &impl Runtime) {
        let mut waits = delays(runtime);
        loop {
            self.changed.notified().await;
            let sending: Vec<_> = std::mem::take(&mut *self.waiting()).into_values().collect();
            match writer.send_all(sending.clone()).await {
                Ok(()) => waits = delays(runtime),
                Err(error) => {
                    tracing::warn!(%error, "quota levels wait");
                    self.put_back(sending);
                    runtime.sleep(waits.next().unwrap_or_default()).await;
                    self.changed.notify_one();
                }
            }
        }
    }
}
