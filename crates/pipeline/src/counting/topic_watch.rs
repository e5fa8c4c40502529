//! Looks at the usage topic while it is counted: which topic it is, and how many partitions it
//! has. A topic that may not be counted any more stops every partition of this process, in words,
//! until it is as it was (invariant 2). Its settings are `settings_watch`'s.

use std::sync::Arc;
use std::time::Duration;

use weir_backends::StoreError;
use weir_backends::config::KafkaConfig;
use weir_backends::journal::TopicIdentity;
use weir_backends::postgres::Installation;

use super::retry::Every;
use super::shared::Shared;
use crate::world::{JournalReader, Runtime, World};

/// How often it is asked which topic it is.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How often its partitions are counted.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Looks, for ever.
pub(crate) async fn run<W: World>(shared: Arc<Shared<W>>) {
    let mut every = Every::new(&shared.runtime, ASK_EVERY);
    let mut looked_at = None;
    let mut unfit = None;
    loop {
        every.tick().await;
        let Ok(other) = is_another(&shared).await else { continue };
        if other.is_none() && looked_at.is_none_or(|at| shared.since(at) >= LOOK_EVERY) {
            looked_at = Some(shared.runtime.elapsed());
            unfit = match shared.reader.partitions().await {
                Ok(partitions) => other_number(&shared.kafka, &shared.installation, partitions),
                Err(error) if error.is_transient() => continue,
                Err(error) => Some(error.to_string()),
            };
        }
        let refusal = other.or_else(|| unfit.clone());
        shared.status.update(|status| {
            if status.topic != refusal
                && let Some(reason) = &refusal
            {
                tracing::error!(reason, "the topic is not counted any more");
            }
            status.topic = refusal;
        });
    }
}

/// Why the topic that bears the name now is not the one that is counted, if so.
pub(crate) async fn is_another<W: World>(shared: &Shared<W>) -> Result<Option<String>, StoreError> {
    let identity = shared.reader.identity().await?;
    Ok(other_topic(&shared.installation, &identity))
}

/// Why this topic is not the one that the ledger counts, if so. Without ids nothing is known.
pub(crate) fn other_topic(installed: &Installation, identity: &TopicIdentity) -> Option<String> {
    let topic = &installed.topic;
    match identity {
        TopicIdentity::Missing => Some(format!(
            "topic {topic} is gone, though the ledger has counted it; bring it back, or make it with as many \
             partitions and run `weir ledger accept-topic`"
        )),
        TopicIdentity::Id(id) if installed.topic_id.as_ref().is_some_and(|known| known != id) => {
            Some(format!(
                "topic {topic} is another one than the ledger has counted: it was deleted and made again; `weir \
             ledger accept-topic` says what that means, and counts it"
            ))
        }
        TopicIdentity::Id(_) | TopicIdentity::Unnamed => None,
    }
}

/// Why a topic with so many partitions cannot be counted, if so.
pub(crate) fn other_number(kafka: &KafkaConfig, installed: &Installation, partitions: i32) -> Option<String> {
    let wanted = installed.partitions;
    (partitions != wanted).then(|| {
        format!(
            "topic {} has {partitions} partitions, but counting began with {wanted}: tenants would move between \
             partitions; recreate it with {wanted} and run `weir ledger accept-topic`, or begin a new ledger",
            kafka.usage_topic
        )
    })
}
