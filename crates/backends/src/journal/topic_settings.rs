//! Asks Kafka for the settings of Weir's topics. What they must be is `topic_needs`'.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::KafkaResult;

use super::topic_needs::{self, Role, Told, TopicBounds, names};
use super::topics::admin;
use crate::StoreError;
use crate::config::KafkaConfig;
use crate::settings::Finding;

const ATTEMPT: &str = "look at the topics' settings";
const TIMEOUT: Duration = Duration::from_secs(10);

/// Asks for the settings of all topics. Cheap to clone; all clones share a client.
#[derive(Clone)]
pub struct TopicSettings {
    client: Arc<AdminClient<DefaultClientContext>>,
    topics: Arc<[(Role, String); 5]>,
}

impl std::fmt::Debug for TopicSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TopicSettings({:?})", self.topics)
    }
}

impl TopicSettings {
    /// Makes the client; Kafka is reached by the first question.
    pub async fn connect(config: &KafkaConfig) -> Result<Self, StoreError> {
        let client = Arc::new(admin(config, ATTEMPT).await?);
        Ok(Self { client, topics: Arc::new(topic_needs::topics(config)) })
    }

    /// What is wrong with the topics' settings now; what brokers default to counts as theirs.
    ///
    /// # Errors
    /// Transient where Kafka does not answer, or does not know one of the topics (yet).
    pub async fn findings(&self, bounds: &TopicBounds) -> Result<Vec<Finding>, StoreError> {
        let known = |((_, topic), count): (&(Role, String), Option<usize>)| {
            let count =
                count.ok_or_else(|| unknown(topic, "it is not there yet; `weir migrate` makes it"))?;
            Ok(i64::try_from(count).unwrap_or(i64::MAX))
        };
        let replicas: Result<Vec<i64>, StoreError> =
            self.topics.iter().zip(self.replicas().await?).map(known).collect();
        let replicas = replicas?;
        let asked: Vec<_> = self.topics.iter().map(|(_, topic)| ResourceSpecifier::Topic(topic)).collect();
        let options = AdminOptions::new().request_timeout(Some(TIMEOUT));
        let described = self.client.describe_configs(&asked, &options).await;
        let described = described.map_err(|error| StoreError::kafka(ATTEMPT, &error))?;
        let mut found = Vec::new();
        for (((role, topic), replicas), resource) in self.topics.iter().zip(replicas).zip(described) {
            let resource = resource.map_err(|code| unknown(topic, code))?;
            let told = Told { values: values(&resource, topic)?, replicas };
            found.extend(topic_needs::findings(*role, topic, &told, bounds));
        }
        Ok(found)
    }

    /// The topics that are not there.
    ///
    /// # Errors
    /// Transient where Kafka does not answer.
    pub async fn missing(&self) -> Result<Vec<String>, StoreError> {
        let counted = self.topics.iter().zip(self.replicas().await?);
        Ok(counted.filter(|(_, count)| count.is_none()).map(|((_, topic), _)| topic.clone()).collect())
    }

    /// How many replicas each topic has; of partitions that differ, the fewest, and none where
    /// there is no such topic.
    async fn replicas(&self) -> Result<Vec<Option<usize>>, StoreError> {
        let (client, topics) = (Arc::clone(&self.client), Arc::clone(&self.topics));
        let asked = tokio::task::spawn_blocking(move || {
            let count = |(_, topic): &(Role, String)| {
                let metadata = client.inner().fetch_metadata(Some(topic), TIMEOUT)?;
                let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
                Ok(partitions.map(|partition| partition.replicas().len()).min())
            };
            topics.iter().map(count).collect::<KafkaResult<Vec<Option<usize>>>>()
        });
        let counted = asked.await.map_err(|error| StoreError::corrupt(ATTEMPT, error))?;
        counted.map_err(|error| StoreError::kafka(ATTEMPT, &error))
    }
}

fn unknown(topic: &str, why: impl std::fmt::Display) -> StoreError {
    StoreError::Transient { attempt: ATTEMPT, reason: format!("{topic}: {why}") }
}

fn values(resource: &ConfigResource, topic: &str) -> Result<BTreeMap<&'static str, String>, StoreError> {
    let value = |name: &'static str| {
        let found =
            resource.get(name).and_then(|entry| entry.value.clone()).filter(|found| !found.is_empty());
        // A topic that was made a moment ago is not described everywhere yet.
        let found = found.ok_or_else(|| unknown(topic, format_args!("it does not tell its {name} yet")))?;
        Ok((name, found))
    };
    names().map(value).collect()
}
