//! Looks at the usage topic while it is counted: its settings and how many partitions it
//! has. A topic that may not be counted any more stops every partition of this process, in
//! words, until it is as it was (invariant 2).

use std::sync::Arc;
use std::time::Duration;

use weir_backends::config::KafkaConfig;
use weir_backends::postgres::Installation;

use super::retry::Every;
use super::shared::Shared;
use crate::world::{JournalReader, World};

/// How often the topic is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Looks, for ever.
pub(crate) async fn run<W: World>(shared: Arc<Shared<W>>) {
    let mut every = Every::new(&shared.runtime, LOOK_EVERY);
    loop {
        every.tick().await;
        let refusal = match shared.reader.topic().await {
            Ok(partitions) => other_number(&shared.kafka, &shared.installation, partitions),
            Err(error) if error.is_transient() => continue,
            Err(error) => Some(error.to_string()),
        };
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

/// Why a topic with so many partitions cannot be counted, if so.
pub(crate) fn other_number(kafka: &KafkaConfig, installed: &Installation, partitions: i32) -> Option<String> {
    let wanted = installed.partitions;
    (partitions != wanted).then(|| {
        format!(
            "topic {} has {partitions} partitions, but counting began with {wanted}: tenants would move between \
             partitions; recreate it with {wanted} or begin a new ledger",
            kafka.usage_topic
        )
    })
}
