//! The numbers that were told, as the topic knows them: what a run compares its counters with.

use std::collections::BTreeMap;

use weir_backends::books;
use weir_backends::config::KafkaConfig;
use weir_backends::postgres::Pool;

use super::BillingError;

/// The highest number of each legal entity in the topic of numbers.
///
/// # Errors
/// A store's, and [`BillingError::TopicBehind`]: a topic that has lost what it was told cannot
/// say whether the ledger has gone back in time.
pub async fn numbers_in_topic(
    pool: &Pool,
    kafka: &KafkaConfig,
) -> Result<BTreeMap<String, i64>, BillingError> {
    // Before the topic is read, so that everything told by then is in it.
    let told = books::told_numbers(pool).await?;
    let in_topic = books::last_numbers_in_topic(kafka).await?;
    for (legal_entity, told) in told {
        let known = in_topic.get(&legal_entity).copied().unwrap_or(0);
        if known < told {
            return Err(BillingError::TopicBehind { legal_entity, told, in_topic: known });
        }
    }
    Ok(in_topic)
}
