//! Kafka in memory: the usage topic with its partitions, and the topics that are only
//! written. Offsets rise, not always by one; records carry the broker's time.

use std::collections::BTreeMap;

use weir_backends::StoreError;
use weir_backends::journal::{OutgoingRecord, OwnedRecord};
use weir_core::Partition;
use weir_core::journal::partition_of;

use super::Servers;

/// The names of the topics.
pub(crate) const USAGE: &str = "usage";
pub(crate) const DEAD_LETTERS: &str = "dead";
pub(crate) const QUOTA: &str = "quota";
pub(crate) const INVOICES: &str = "invoices";
pub(crate) const ALERTS: &str = "alerts";

/// A record of the usage topic.
#[derive(Clone, Debug)]
pub(crate) struct Logged {
    pub(crate) record: OwnedRecord,
    /// When it was appended, in decisions of the simulation.
    pub(crate) step: u64,
}

/// A partition of the usage topic.
#[derive(Clone, Debug, Default)]
pub(crate) struct PartitionLog {
    /// The first offset that it holds.
    pub(crate) low: i64,
    /// The offset after the last.
    pub(crate) high: i64,
    /// By rising offset.
    pub(crate) records: Vec<Logged>,
}

impl PartitionLog {
    /// The records of `[from, to)`.
    pub(crate) fn range(&self, from: i64, to: i64) -> &[Logged] {
        let index = |offset: i64| self.records.partition_point(|logged| logged.record.offset < offset);
        let (from, to) = (index(from.max(self.low)), index(to));
        self.records.get(from..to.max(from)).unwrap_or_default()
    }

    /// Retention: records below an offset can be read no longer. The oracle reads them still.
    pub(crate) fn trim(&mut self, low: i64) {
        self.low = self.low.max(low.min(self.high));
    }
}

/// Kafka.
#[derive(Clone, Debug)]
pub(crate) struct Journal {
    /// The partitions of the usage topic.
    pub(crate) usage: Vec<PartitionLog>,
    /// What recreated partitions held before.
    pub(crate) retired: BTreeMap<Partition, PartitionLog>,
    /// Written in this order.
    pub(crate) dead_letters: Vec<OutgoingRecord>,
    /// Written in this order, each with when, in decisions of the simulation.
    pub(crate) quota: Vec<(u64, OutgoingRecord)>,
    /// All other topics, written in this order.
    pub(crate) other: Vec<OutgoingRecord>,
}

impl Journal {
    pub(crate) fn new(partitions: usize) -> Self {
        let usage = vec![PartitionLog::default(); partitions];
        let retired = BTreeMap::new();
        Self { usage, retired, dead_letters: Vec::new(), quota: Vec::new(), other: Vec::new() }
    }

    /// How many partitions there are.
    pub(crate) fn width(&self) -> i32 {
        i32::try_from(self.usage.len()).unwrap_or(i32::MAX)
    }

    pub(crate) fn log(&self, partition: Partition) -> &PartitionLog {
        &self.usage[index(partition)]
    }

    pub(crate) fn log_mut(&mut self, partition: Partition) -> &mut PartitionLog {
        &mut self.usage[index(partition)]
    }
}

fn index(partition: Partition) -> usize {
    usize::try_from(partition).unwrap_or(0)
}

impl Servers {
    /// Appends a record where it belongs; partition and offset.
    pub(crate) fn append(&mut self, record: OutgoingRecord) -> (Partition, i64) {
        let topic = match record.topic.as_str() {
            USAGE => return self.append_usage(record),
            DEAD_LETTERS => &mut self.journal.dead_letters,
            QUOTA => {
                self.journal.quota.push((self.step, record));
                return (0, i64::try_from(self.journal.quota.len()).unwrap_or(0) - 1);
            }
            _ => &mut self.journal.other,
        };
        topic.push(record);
        (0, i64::try_from(topic.len()).unwrap_or(0) - 1)
    }

    fn append_usage(&mut self, record: OutgoingRecord) -> (Partition, i64) {
        let partitions = self.journal.width();
        let partition = record
            .partition
            .unwrap_or_else(|| partition_of(record.key.as_deref().unwrap_or_default(), partitions));
        let (broker_time_ms, step) = (self.broker_ms, self.step);
        let log = self.journal.log_mut(partition);
        let offset = log.high;
        log.high += 1;
        let OutgoingRecord { key, value: payload, headers, .. } = record;
        let (key, payload) = (key.map(Into::into), payload.map(Into::into));
        let record = OwnedRecord { offset, broker_time_ms, key, payload, headers };
        log.records.push(Logged { record, step });
        (partition, offset)
    }

    /// Appends several, or some of them where the call happens in part.
    pub(crate) fn append_all(&mut self, records: Vec<OutgoingRecord>) {
        let mut part = self.part.take();
        for record in records {
            if part.as_mut().is_none_or(|chance| chance.per_mille(500)) {
                self.append(record);
            }
        }
    }

    /// Records of `[from, to)` of a partition, at most so many.
    pub(crate) fn read_range(
        &self,
        partition: Partition,
        (from, to): (i64, i64),
        count: usize,
    ) -> Result<Vec<OwnedRecord>, StoreError> {
        let log = self.journal.log(partition);
        if from < log.low {
            let reason = format!("partition {partition} no longer holds offset {from}");
            return Err(StoreError::corrupt("read a range of the journal again", reason));
        }
        Ok(log.range(from, to).iter().take(count).map(|logged| logged.record.clone()).collect())
    }
}
