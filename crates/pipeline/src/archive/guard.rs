//! Watches that Kafka does not delete what is not archived yet, and says so in time: in the
//! status, in a metric, in the log.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use weir_backends::StoreError;
use weir_backends::archive::record;
use weir_backends::journal::topics;
use weir_core::Partition;

use super::{Archiver, Reached};

/// How often the topic's retention is asked for.
const ASK_EVERY: Duration = Duration::from_secs(60);

/// What is known of the partitions of this process.
#[derive(Debug, Default)]
pub(super) struct Guard {
    retention: Option<(Instant, Option<i64>)>,
    words: BTreeMap<Partition, String>,
}

impl Guard {
    /// Looks at a partition.
    pub(super) async fn look(&mut self, archiver: &Archiver, reached: &Reached) -> Result<(), StoreError> {
        let partition = reached.row.partition;
        let place = (partition, reached.row.generation);
        let first = record::batches(&archiver.pool, place, reached.to, 1).await?;
        let waited_ms = first.first().map_or(0, |first| {
            archiver.clock.now().millis().saturating_sub(first.broker_time_max.millis()).max(0)
        });
        let label = partition.to_string();
        archiver.metrics.archive.waiting_seconds.with_label_values(&[&label]).set(waited_ms / 1_000);
        let retention = self.retention(archiver).await?;
        let danger = danger(reached, waited_ms, retention);
        archiver.metrics.archive.endangered.with_label_values(&[&label]).set(i64::from(danger.is_some()));
        match danger {
            Some(words) => {
                if self.words.insert(partition, words.clone()).is_none() {
                    tracing::error!(partition, words, "Kafka may delete what is not archived");
                }
            }
            None => drop(self.words.remove(&partition)),
        }
        Ok(())
    }

    async fn retention(&mut self, archiver: &Archiver) -> Result<Option<i64>, StoreError> {
        if let Some((asked_at, known)) = self.retention
            && asked_at.elapsed() < ASK_EVERY
        {
            return Ok(known);
        }
        let retention = topics::retention_ms(&archiver.kafka).await?;
        self.retention = Some((Instant::now(), retention));
        Ok(retention)
    }

    /// Forgets partitions that are others' by now.
    pub(super) fn keep(&mut self, mine: &[Partition]) {
        self.words.retain(|partition, _| mine.contains(partition));
    }

    /// What is in danger, in words.
    pub(super) fn endangered(&self) -> Vec<String> {
        self.words.values().cloned().collect()
    }
}

/// Why what is not archived may soon be deleted, if so: half of the retention has passed, or Kafka
/// has begun to delete and most of what it holds is not archived. The second is for topics that
/// are kept to a size.
fn danger(reached: &Reached, waited_ms: i64, retention_ms: Option<i64>) -> Option<String> {
    let Reached { row, to, low, .. } = reached;
    let partition = row.partition;
    if row.next_offset <= *to {
        return None;
    }
    let waiting = format!("partition {partition}: offsets [{to}, {}) are not archived", row.next_offset);
    if low > to {
        return Some(format!("{waiting}, and Kafka has deleted those below {low} already"));
    }
    if let Some(retention_ms) = retention_ms.filter(|retention| waited_ms > retention / 2) {
        let (waited, kept) = (waited_ms / 3_600_000, retention_ms / 3_600_000);
        return Some(format!("{waiting} for {waited} hours, and Kafka keeps them for {kept}"));
    }
    let is_trimmed = *low > row.first_offset;
    (is_trimmed && to - low < row.next_offset - to)
        .then(|| format!("{waiting}, and Kafka, which deletes the oldest, begins at {low}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_backends::ledger::partition::PartitionRow;
    use weir_core::Timestamp;

    /// Archived to `to` of 1,000 counted offsets, where Kafka begins at `low`.
    fn check(to: i64, low: i64, waited_ms: i64, retention_ms: Option<i64>) -> Option<String> {
        let row = PartitionRow {
            partition: 3,
            generation: 1,
            first_offset: 0,
            next_offset: 1_000,
            broker_time_max: Timestamp::EPOCH,
            last: None,
            folded_to: 0,
            projected_to: 0,
            rolled_to: 0,
            epoch: 0,
        };
        let reached = Reached { row, to, low, record_bytes: 1, has_begun: true };
        danger(&reached, waited_ms, retention_ms)
    }

    #[test]
    fn what_kafka_may_delete_before_it_is_archived_is_told_in_time() {
        let hour = 3_600_000;
        assert_eq!(check(0, 0, hour, None), None);
        assert_eq!(check(900, 500, hour, Some(40 * hour)), None);
        assert_eq!(check(1_000, 1_000, 50 * hour, Some(hour)), None);
        let words = check(900, 0, 21 * hour, Some(40 * hour)).unwrap();
        assert_eq!(
            words,
            "partition 3: offsets [900, 1000) are not archived for 21 hours, and Kafka keeps them for 40"
        );
        assert!(check(900, 850, hour, None).unwrap().ends_with("which deletes the oldest, begins at 850"));
        assert!(check(700, 750, 0, None).unwrap().ends_with("has deleted those below 750 already"));
    }
}
