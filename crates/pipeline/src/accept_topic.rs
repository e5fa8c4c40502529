//! Going on with a topic that is no longer the one that was counted (invariant 2): what has
//! happened to each partition, in numbers, and the next generation. Looking changes nothing.

use weir_backends::StoreError;
use weir_backends::config::KafkaConfig;
use weir_backends::journal::record_range::stream_range;
use weir_backends::journal::topic_id::{TopicIdentity, TopicIds};
use weir_backends::journal::topics;
use weir_backends::ledger::generation::{self, Beginning, Begun};
use weir_backends::ledger::partition::{self, PartitionRow};
use weir_backends::postgres::{self, Pool};
use weir_core::{Generation, Partition, Timestamp};

use crate::counting::topic_watch::{other_number, other_topic};
use crate::error::PipelineError;
use crate::fold;
use crate::world::PostgresLedger;

/// What has happened to a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened {
    /// It holds what was counted.
    Nothing,
    /// It belongs to another topic of the same name.
    Replaced,
    /// Records were deleted before they were counted.
    Trimmed,
    /// It ends before what was counted.
    Cut,
    /// Another record stands where one was counted.
    Refilled,
}

/// A partition, as it was counted and as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionChange {
    /// Which partition.
    pub partition: Partition,
    /// What has happened.
    pub happened: Happened,
    /// The first offset that is not counted.
    pub next_offset: i64,
    /// The first offset that the topic holds.
    pub low: i64,
    /// The one after its last.
    pub high: i64,
    /// Offsets that were deleted before they were counted; not known of a topic that is gone.
    pub lost: Option<i64>,
    /// Offsets that were counted, but are not in ClickHouse: their raw events never will be.
    pub unprojected: i64,
}

/// What accepting the topic would mean.
#[derive(Clone, Debug)]
pub struct Acceptance {
    /// The generation that ends.
    pub generation: Generation,
    /// Every partition.
    pub partitions: Vec<PartitionChange>,
    topic_id: Option<String>,
}

impl Acceptance {
    /// Whether the topic is the one that was counted, as it was.
    pub fn is_needless(&self) -> bool {
        self.partitions.iter().all(|one| one.happened == Happened::Nothing)
    }
}

/// Looks at the topic, and compares it with what was counted.
///
/// # Errors
/// When the topic is missing or has another number of partitions, which cannot be accepted.
pub async fn look(pool: &Pool, kafka: &KafkaConfig) -> Result<Acceptance, PipelineError> {
    let identity = TopicIds::connect(kafka)?.ask().await?;
    let installed = postgres::installation(pool, kafka).await?;
    let topic_id = match &identity {
        TopicIdentity::Missing => {
            let words = "there is no topic {}; make it with as many partitions as before, then accept it";
            return Err(PipelineError::OtherTopic(words.replace("{}", &kafka.usage_topic)));
        }
        TopicIdentity::Unnamed => None,
        TopicIdentity::Id(id) => Some(id.clone()),
    };
    let is_other = other_topic(&installed, &identity).is_some();
    let (counted, found) = (installed.partitions, topics::partitions(kafka).await?);
    if let Some(mut reason) = other_number(&installed.topic, counted, found) {
        if is_other {
            reason = format!(
                "the topic that has taken the place of the counted one has {found} partitions, not {counted}; make \
                 it again with {counted}, then accept it"
            );
        }
        return Err(PipelineError::OtherTopic(reason));
    }
    let mut partitions = Vec::new();
    for row in partition::all(pool).await? {
        partitions.push(compare(kafka, &row, is_other).await?);
    }
    Ok(Acceptance { generation: installed.generation, partitions, topic_id })
}

async fn compare(
    kafka: &KafkaConfig,
    row: &PartitionRow,
    is_other: bool,
) -> Result<PartitionChange, StoreError> {
    let (low, high) = topics::watermarks(kafka, row.partition).await?;
    let happened = if is_other {
        Happened::Replaced
    } else if row.next_offset < low {
        Happened::Trimmed
    } else if row.next_offset > high {
        Happened::Cut
    } else if !holds_last(kafka, row, low).await? {
        Happened::Refilled
    } else {
        Happened::Nothing
    };
    Ok(PartitionChange {
        partition: row.partition,
        happened,
        next_offset: row.next_offset,
        low,
        high,
        lost: (happened == Happened::Trimmed).then_some(low - row.next_offset),
        unprojected: row.next_offset - row.projected_to,
    })
}

/// Whether the last record that was counted stands where it stood, if it can still be there.
pub(crate) async fn holds_last(
    kafka: &KafkaConfig,
    row: &PartitionRow,
    low: i64,
) -> Result<bool, StoreError> {
    let Some(last) = row.last.as_ref().filter(|last| last.offset >= low) else { return Ok(true) };
    let mut range = stream_range(kafka, row.partition, last.offset, last.offset + 1);
    let found = range.recv().await.transpose()?.unwrap_or_default();
    Ok(found.first().is_some_and(|record| record.fingerprint() == *last))
}

/// Goes on with the topic as it was looked at: folds what is left of the generation that ends,
/// and begins the next one at the topic's first offsets.
pub async fn accept(pool: &Pool, seen: &Acceptance, now: Timestamp) -> Result<Begun, PipelineError> {
    let ledger = PostgresLedger::new(pool.clone());
    for one in &seen.partitions {
        fold::fold_partition(&ledger, one.partition).await?;
    }
    let beginnings: Vec<_> =
        seen.partitions.iter().map(|one| Beginning { partition: one.partition, low: one.low }).collect();
    let id = seen.topic_id.as_deref();
    Ok(generation::begin(pool, seen.generation, id, &beginnings, now).await?)
}
