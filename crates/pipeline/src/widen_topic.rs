//! Giving the usage topic more partitions while it is counted. Tenants stay in the partitions that
//! they were created into, so nothing of what is known moves; those that are created from then on
//! are spread over all. Looking changes nothing.
//!
//! Kafka comes first: a tenant must not be created into a partition that is not there. Between the
//! two steps, and after a crash there, the topic is wider than the ledger, which counting refuses
//! in words until this is done again.

use weir_backends::config::KafkaConfig;
use weir_backends::journal::topic_id::{TopicIdentity, TopicIds};
use weir_backends::journal::topics;
use weir_backends::ledger::width::{self, Widened};
use weir_backends::postgres::{self, Pool};
use weir_core::{Partition, Timestamp};

use crate::counting::topic_watch::{other_name, other_topic};
use crate::error::PipelineError;

/// A partition that would be counted from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewPartition {
    /// Which.
    pub partition: Partition,
    /// The first offset that the topic holds, and the one after its last; `None` where Kafka has
    /// to make it first.
    pub held: Option<(i64, i64)>,
}

/// What widening would mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Widening {
    /// How many partitions the ledger counts.
    pub counted: i32,
    /// How many the topic has.
    pub found: i32,
    /// How many are wanted.
    pub to: i32,
    /// How many tenants stay where they are.
    pub tenants: i64,
    /// Those that are new to the ledger.
    pub partitions: Vec<NewPartition>,
}

impl Widening {
    /// Whether topic and ledger have as many partitions already.
    pub fn is_needless(&self) -> bool {
        self.counted == self.to
    }
}

/// Looks at topic and ledger.
///
/// # Errors
/// When the topic is missing, is not the counted one, or has a number of partitions from which
/// `to` cannot be reached; in words.
pub async fn look(pool: &Pool, kafka: &KafkaConfig, to: i32) -> Result<Widening, PipelineError> {
    let refused = |words: String| Err(PipelineError::OtherTopic(words));
    let installed = postgres::installation(pool, kafka).await?;
    if let Some(reason) = other_name(&installed, &kafka.usage_topic) {
        return refused(reason);
    }
    let identity = TopicIds::connect(kafka)?.ask().await?;
    if identity == TopicIdentity::Missing {
        return refused(format!("there is no topic {}", kafka.usage_topic));
    }
    if let Some(reason) = other_topic(&installed, &identity) {
        return refused(reason);
    }
    let (counted, found) = (installed.partitions, topics::partitions(kafka).await?);
    if let Some(reason) = unreachable(counted, found, to) {
        return refused(reason);
    }
    let mut partitions = Vec::new();
    for partition in counted..to {
        let held = if partition < found { Some(topics::watermarks(kafka, partition).await?) } else { None };
        partitions.push(NewPartition { partition, held });
    }
    Ok(Widening { counted, found, to, tenants: width::tenants(pool).await?, partitions })
}

/// Why there is no way to so many partitions, if so. The topic has as many as the ledger counts, or
/// as many as are wanted.
fn unreachable(counted: i32, found: i32, to: i32) -> Option<String> {
    if to < counted {
        Some(format!(
            "the ledger counts {counted} partitions, and tenants live in all of them: it cannot be narrowed"
        ))
    } else if found < counted {
        Some(format!(
            "the topic has {found} partitions, but the ledger counts {counted}: recreate it with {counted} and run \
             `weir ledger accept-topic`"
        ))
    } else if found != counted && found != to {
        Some(format!("the topic has {found} partitions already: say --to {found}"))
    } else {
        None
    }
}

/// Widens the topic where it is narrower, then the ledger.
pub async fn widen(
    pool: &Pool,
    kafka: &KafkaConfig,
    seen: &Widening,
    now: Timestamp,
) -> Result<Widened, PipelineError> {
    topics::widen(kafka, seen.to).await?;
    Ok(width::widen(pool, seen.counted, seen.to, now).await?)
}

#[cfg(test)]
mod tests {
    use super::unreachable;

    #[test]
    fn what_can_be_reached() {
        for (counted, found, to, refusal) in [
            (3, 3, 6, None),
            (3, 6, 6, None),
            (6, 6, 6, None),
            (3, 3, 3, None),
            (6, 6, 3, Some("cannot be narrowed")),
            (3, 5, 6, Some("--to 5")),
            (3, 6, 3, Some("--to 6")),
            (3, 8, 6, Some("--to 8")),
            (6, 3, 6, Some("accept-topic")),
            (6, 3, 9, Some("accept-topic")),
        ] {
            let said = unreachable(counted, found, to);
            let fits = said.as_deref().zip(refusal).is_some_and(|(said, words)| said.contains(words));
            assert!(fits || said.is_none() && refusal.is_none(), "{counted} {found} {to}: {said:?}");
        }
    }
}
