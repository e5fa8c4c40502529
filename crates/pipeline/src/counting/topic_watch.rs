//! Looks at the usage topic while it is counted: which topic it is, and how many partitions it
//! has. A topic that may not be counted any more stops every partition of this process, in words,
//! until it is as it was (invariant 2). Its settings are `settings_watch`'s.

use std::sync::Arc;
use std::time::Duration;

use weir_backends::StoreError;
use weir_backends::journal::TopicIdentity;
use weir_backends::postgres::Installation;
use weir_core::Partition;

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
        let look_every = if unfit.is_some() { ASK_EVERY } else { LOOK_EVERY };
        if other.is_none() && looked_at.is_none_or(|at| shared.since(at) >= look_every) {
            looked_at = Some(shared.runtime.elapsed());
            unfit = match is_unfit(&shared).await {
                Ok(unfit) => unfit,
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

/// Why the topic cannot be counted with the partitions that it has now, if so. The ledger is asked
/// only where they are others than are known: it may have been widened meanwhile.
async fn is_unfit<W: World>(shared: &Shared<W>) -> Result<Option<String>, StoreError> {
    if shared.reader.partitions().await? == known(shared) {
        return Ok(None);
    }
    let counted = shared.catalogue.refresh().await?.homes.partitions();
    // The topic is widened before the ledger, so asked in this order it never seems to have too few.
    let found = shared.reader.partitions().await?;
    Ok(other_number(&shared.installation.topic, counted, found))
}

/// Why a partition that the topic has is not counted yet, if so.
pub(crate) async fn is_uncounted<W: World>(
    shared: &Shared<W>,
    partition: Partition,
) -> Result<Option<String>, StoreError> {
    if partition < known(shared) {
        return Ok(None);
    }
    let counted = shared.catalogue.refresh().await?.homes.partitions();
    if partition < counted {
        return Ok(None);
    }
    // Whatever the topic's width is said to be: the group has given the partition.
    let found = shared.reader.partitions().await?.max(partition.saturating_add(1));
    Ok(other_number(&shared.installation.topic, counted, found))
}

/// How many partitions are counted, as far as this process knows.
fn known<W: World>(shared: &Shared<W>) -> i32 {
    shared.catalogue.partitions().unwrap_or(shared.installation.partitions)
}

/// Why a ledger does not count the topic that is configured, if it counts one of another name.
pub(crate) fn other_name(installed: &Installation, configured: &str) -> Option<String> {
    let counted = &installed.topic;
    (counted != configured)
        .then(|| format!("this ledger counts the topic {counted}, not {configured}; use another database"))
}

/// Why a topic with `found` partitions cannot be counted by a ledger that counts `counted`, if so.
pub(crate) fn other_number(topic: &str, counted: i32, found: i32) -> Option<String> {
    let way_out = if found > counted {
        format!(
            "what is written to the others would not be counted; `weir ledger widen --to {found}` counts all"
        )
    } else {
        format!(
            "tenants live in those that are missing; recreate it with {counted} and run `weir ledger \
             accept-topic`, or begin a new ledger"
        )
    };
    (found != counted)
        .then(|| format!("topic {topic} has {found} partitions, but the ledger counts {counted}: {way_out}"))
}
