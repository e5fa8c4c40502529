//! Weir's topics: made where they are missing, and how far they reach. Whether what is there has
//! the settings that the promises rest on is `topic_settings`'.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::admin::{
    AdminClient, AdminOptions, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::types::RDKafkaErrorCode;
use weir_core::Partition;

use super::producer::client_config;
use super::topic_id::{TopicIdentity, TopicIds};
use crate::StoreError;
use crate::config::KafkaConfig;

const TIMEOUT: Duration = Duration::from_secs(10);
/// Forty days: longer than the window of event ids, so that ids can be read again.
const RETENTION_MS: &str = "3456000000";

/// How long a broker may take to answer, and a new topic to be known everywhere.
const PATIENCE: Duration = Duration::from_secs(20);

/// Makes the topics that are missing, with the settings that counting relies on. Waits up to
/// 20 s for a broker that is just starting and for topics that were made a moment ago.
pub async fn ensure(config: &KafkaConfig) -> Result<(), StoreError> {
    let began = std::time::Instant::now();
    loop {
        match ensure_now(config).await {
            Err(error) if error.is_transient() && began.elapsed() < PATIENCE => {
                tracing::debug!(%error, "the topics are not ready yet");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            ended => return ended,
        }
    }
}

/// As [`ensure`], but a usage topic that is gone is not made again in silence when the ledger
/// has counted something of it: that is a permanent error.
pub async fn ensure_for(config: &KafkaConfig, has_counted: bool) -> Result<(), StoreError> {
    if has_counted && TopicIds::connect(config)?.ask().await? == TopicIdentity::Missing {
        let reason = format!(
            "topic {} is gone, though the ledger has counted it; bring it back, or make it with as many \
             partitions and run `weir ledger accept-topic`",
            config.usage_topic
        );
        return Err(StoreError::corrupt("find the usage topic", reason));
    }
    ensure(config).await
}

async fn ensure_now(config: &KafkaConfig) -> Result<(), StoreError> {
    const ATTEMPT: &str = "make Weir's topics";
    let admin = admin(config, ATTEMPT).await?;
    // Named even where brokers default to them: a broker's default may change.
    let lasting = |name, partitions| {
        let new = NewTopic::new(name, partitions, TopicReplication::Fixed(config.replication));
        let new = new.set("unclean.leader.election.enable", "false");
        // What one broker alone has acknowledged would be lost with it.
        if config.replication > 1 { new.set("min.insync.replicas", "2") } else { new }
    };
    let log = |name| {
        lasting(name, config.partitions)
            .set("message.timestamp.type", "LogAppendTime")
            .set("cleanup.policy", "delete")
            .set("retention.ms", RETENTION_MS)
            .set("retention.bytes", "-1")
            .set("max.message.bytes", "2097152")
    };
    let compacted = |name| lasting(name, 1).set("cleanup.policy", "compact");
    let topics = [
        log(config.usage_topic.as_str()),
        log(config.dead_letter_topic.as_str()),
        log(config.alerts_topic.as_str()),
        compacted(config.quota_topic.as_str()),
        compacted(config.invoices_topic.as_str()),
    ];
    let options = AdminOptions::new().operation_timeout(Some(TIMEOUT)).request_timeout(Some(TIMEOUT));
    let made =
        admin.create_topics(&topics, &options).await.map_err(|error| StoreError::kafka(ATTEMPT, &error))?;
    for result in made {
        match result {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, code)) => {
                return Err(StoreError::Transient { attempt: ATTEMPT, reason: format!("{topic}: {code}") });
            }
        }
    }
    partitions(config).await.map(|_| ())
}

/// A client for questions about topics. Making one starts a thread and reads files, so it is not
/// made on a thread that others wait for.
pub(super) async fn admin(
    config: &KafkaConfig,
    attempt: &'static str,
) -> Result<AdminClient<DefaultClientContext>, StoreError> {
    let client = client_config(config, "admin");
    let made = tokio::task::spawn_blocking(move || client.create()).await;
    let made = made.map_err(|error| StoreError::corrupt(attempt, error))?;
    made.map_err(|error| StoreError::kafka(attempt, &error))
}

/// How many partitions the usage topic has now.
pub async fn partitions(config: &KafkaConfig) -> Result<i32, StoreError> {
    const ATTEMPT: &str = "count the usage topic's partitions";
    let client = client_config(config, "metadata");
    let topic = config.usage_topic.clone();
    let asked = tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = client.create()?;
        let metadata = consumer.fetch_metadata(Some(&topic), TIMEOUT)?;
        Ok(metadata.topics().first().map_or(0, |found| found.partitions().len()))
    });
    let found = asked.await.map_err(|error| StoreError::corrupt(ATTEMPT, error))?;
    let count = found.map_err(|error| StoreError::kafka(ATTEMPT, &error))?;
    match i32::try_from(count) {
        Ok(count) if count > 0 => Ok(count),
        _ => {
            let reason = format!("topic {} is not there yet; `weir migrate` makes it", config.usage_topic);
            Err(StoreError::Transient { attempt: ATTEMPT, reason })
        }
    }
}

/// Gives the usage topic `to` partitions, and waits up to 20 s until Kafka says so. One that has as
/// many already, by whoever, is left as it is.
pub async fn widen(config: &KafkaConfig, to: i32) -> Result<(), StoreError> {
    const ATTEMPT: &str = "give the usage topic more partitions";
    let count = usize::try_from(to).map_err(|error| StoreError::corrupt(ATTEMPT, error))?;
    if partitions(config).await? < to {
        let admin = admin(config, ATTEMPT).await?;
        let options = AdminOptions::new().operation_timeout(Some(TIMEOUT)).request_timeout(Some(TIMEOUT));
        let wider = NewPartitions::new(&config.usage_topic, count);
        let failed = |error| StoreError::kafka(ATTEMPT, &error);
        for result in admin.create_partitions(&[wider], &options).await.map_err(failed)? {
            if let Err((topic, code)) = result {
                return Err(StoreError::corrupt(ATTEMPT, format!("{topic}: {code}")));
            }
        }
    }
    let began = std::time::Instant::now();
    loop {
        match partitions(config).await? {
            found if found >= to => return Ok(()),
            found if began.elapsed() > PATIENCE => {
                let reason = format!("{} still has {found} partitions", config.usage_topic);
                return Err(StoreError::Transient { attempt: ATTEMPT, reason });
            }
            _ => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

/// The first offset that a partition of the usage topic holds, and the one after the last that
/// may be read.
pub async fn watermarks(config: &KafkaConfig, partition: Partition) -> Result<(i64, i64), StoreError> {
    TopicEnds::connect(config)?.watermarks(partition).await
}

/// Asks how far partitions of the usage topic reach. Cheap to clone; all clones share a client.
#[derive(Clone)]
pub struct TopicEnds {
    client: Arc<BaseConsumer>,
    topic: String,
}

impl std::fmt::Debug for TopicEnds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TopicEnds({})", self.topic)
    }
}

impl TopicEnds {
    /// Makes the client; Kafka is reached by the first question.
    pub fn connect(config: &KafkaConfig) -> Result<Self, StoreError> {
        let client = client_config(config, "metadata").create();
        let client = client.map_err(|error| StoreError::kafka(ENDS, &error))?;
        Ok(Self { client: Arc::new(client), topic: config.usage_topic.clone() })
    }

    /// The first offset that a partition holds, and the one after the last that may be read.
    pub async fn watermarks(&self, partition: Partition) -> Result<(i64, i64), StoreError> {
        let Self { client, topic } = self.clone();
        let asked = tokio::task::spawn_blocking(move || client.fetch_watermarks(&topic, partition, TIMEOUT));
        let answer = asked.await.map_err(|error| StoreError::corrupt(ENDS, error))?;
        answer.map_err(|error| StoreError::kafka(ENDS, &error))
    }
}

const ENDS: &str = "ask how far a partition reaches";

/// For how long the usage topic keeps a record, in milliseconds; `None` when for ever.
pub async fn retention_ms(config: &KafkaConfig) -> Result<Option<i64>, StoreError> {
    const ATTEMPT: &str = "ask for how long the usage topic keeps a record";
    let failed = |error| StoreError::kafka(ATTEMPT, &error);
    let admin = admin(config, ATTEMPT).await?;
    let options = AdminOptions::new().request_timeout(Some(TIMEOUT));
    let topic = ResourceSpecifier::Topic(&config.usage_topic);
    let described = admin.describe_configs(&[topic], &options).await.map_err(failed)?;
    let found = described.into_iter().flatten().next();
    let value = found.as_ref().and_then(|found| found.get("retention.ms")?.value.clone());
    match value.as_deref().map(str::parse::<i64>) {
        Some(Ok(retention)) => Ok((retention >= 0).then_some(retention)),
        _ => {
            let reason = format!("{} does not tell its retention.ms", config.usage_topic);
            Err(StoreError::Transient { attempt: ATTEMPT, reason })
        }
    }
}
