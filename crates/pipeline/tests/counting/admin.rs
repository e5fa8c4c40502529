//! What an operator, or an accident, does to a topic: Kafka's administration as other tools
//! have it, and a producer of transactions. Everything has happened when a function returns.

use std::time::Duration;

use anyhow::ensure;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use weir_backends::config::KafkaConfig;
use weir_tests::wait::until;

const BOUND: Duration = Duration::from_secs(20);

/// What Weir makes the usage topic with; altering a topic sets all that are not named back.
pub(crate) const MADE: [(&str, &str); 5] = [
    ("message.timestamp.type", "LogAppendTime"),
    ("cleanup.policy", "delete"),
    ("retention.ms", "3456000000"),
    ("retention.bytes", "-1"),
    ("max.message.bytes", "2097152"),
];

fn client(kafka: &KafkaConfig) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &kafka.bootstrap_servers).set("group.id", "operator");
    config
}

fn admin(kafka: &KafkaConfig) -> AdminClient<DefaultClientContext> {
    client(kafka).create().unwrap()
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(BOUND)).request_timeout(Some(BOUND))
}

/// How many partitions a topic has; none where there is no such topic.
pub(crate) fn partitions(kafka: &KafkaConfig, topic: &str) -> usize {
    let consumer: BaseConsumer = client(kafka).create().unwrap();
    let metadata = consumer.fetch_metadata(Some(topic), BOUND).unwrap();
    metadata.topics().iter().map(|topic| topic.partitions().len()).sum()
}

/// Waits until the usage topic has so many partitions.
async fn until_partitions(kafka: &KafkaConfig, count: usize) {
    until(&format!("{count} partitions of the topic"), BOUND, || async {
        let found = partitions(kafka, &kafka.usage_topic);
        ensure!(found == count, "it has {found}");
        Ok(Some(()))
    })
    .await
    .unwrap();
}

/// Deletes the usage topic.
pub(crate) async fn delete(kafka: &KafkaConfig) {
    for deleted in admin(kafka).delete_topics(&[&kafka.usage_topic], &options()).await.unwrap() {
        deleted.unwrap();
    }
    until_partitions(kafka, 0).await;
}

/// Deletes the topic of invoice numbers, which counting does not need.
pub(crate) async fn delete_invoices(kafka: &KafkaConfig) {
    for deleted in admin(kafka).delete_topics(&[&kafka.invoices_topic], &options()).await.unwrap() {
        deleted.unwrap();
    }
}

/// Deletes the usage topic and makes an empty one of the same name and settings.
pub(crate) async fn recreate(kafka: &KafkaConfig) {
    delete(kafka).await;
    let (admin, topic) = (admin(kafka), kafka.usage_topic.as_str());
    let new = NewTopic::new(topic, kafka.partitions, TopicReplication::Fixed(1));
    let new = MADE.iter().fold(new, |new, (name, value)| new.set(name, value));
    for made in admin.create_topics(&[new], &options()).await.unwrap() {
        made.unwrap();
    }
    until_partitions(kafka, usize::try_from(kafka.partitions).unwrap()).await;
}

/// Deletes every record that stands in the usage topic now.
pub(crate) async fn trim(kafka: &KafkaConfig) {
    let mut all = TopicPartitionList::new();
    for partition in 0..kafka.partitions {
        all.add_partition_offset(&kafka.usage_topic, partition, Offset::End).unwrap();
    }
    for trimmed in admin(kafka).delete_records(&all, &options()).await.unwrap().elements() {
        trimmed.error().unwrap();
    }
}

/// Deletes a partition's records below an offset, as retention does.
pub(crate) async fn trim_below(kafka: &KafkaConfig, partition: i32, offset: i64) {
    let mut below = TopicPartitionList::new();
    below.add_partition_offset(&kafka.usage_topic, partition, Offset::Offset(offset)).unwrap();
    for trimmed in admin(kafka).delete_records(&below, &options()).await.unwrap().elements() {
        trimmed.error().unwrap();
    }
}

/// Gives the usage topic more partitions.
pub(crate) async fn widen(kafka: &KafkaConfig, count: usize) {
    let wider = NewPartitions::new(&kafka.usage_topic, count);
    for widened in admin(kafka).create_partitions(&[wider], &options()).await.unwrap() {
        widened.unwrap();
    }
    until_partitions(kafka, count).await;
}

/// Sets one setting of the usage topic.
pub(crate) async fn alter(kafka: &KafkaConfig, name: &str, value: &str) {
    let kept = MADE.iter().filter(|(made, _)| *made != name);
    let settings: Vec<_> = kept.copied().chain([(name, value)]).collect();
    set(kafka, ResourceSpecifier::Topic(&kafka.usage_topic), &settings).await;
}

/// Sets what a topic or a broker has to exactly these settings.
pub(crate) async fn set(kafka: &KafkaConfig, what: ResourceSpecifier<'_>, settings: &[(&str, &str)]) {
    let admin = admin(kafka);
    let change =
        settings.iter().fold(AlterConfig::new(what), |change, (name, value)| change.set(name, value));
    for altered in admin.alter_configs(&[change], &options()).await.unwrap() {
        altered.unwrap();
    }
    until(&format!("{settings:?} to be set"), BOUND, || async {
        let described = admin.describe_configs(&[what], &options()).await.unwrap();
        let described = described[0].as_ref().unwrap();
        let is_set = |(name, value): &(&str, &str)| {
            described.get(name).and_then(|entry| entry.value.as_deref()) == Some(*value)
        };
        Ok(settings.iter().all(is_set).then_some(()))
    })
    .await
    .unwrap();
}

/// A producer whose records stand or fall together; waits for its coordinator.
pub(crate) fn transactional(kafka: &KafkaConfig) -> BaseProducer {
    let id = format!("{}.transactions", kafka.usage_topic);
    let producer: BaseProducer = client(kafka).set("transactional.id", id).create().unwrap();
    producer.init_transactions(BOUND).unwrap();
    producer
}

/// Writes one value some times in a transaction that does not end yet.
pub(crate) fn begin(producer: &BaseProducer, kafka: &KafkaConfig, partition: i32, values: &[Vec<u8>]) {
    producer.begin_transaction().unwrap();
    for value in values {
        let record = BaseRecord::<[u8], [u8]>::to(&kafka.usage_topic).partition(partition).payload(value);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(BOUND).unwrap();
}

/// Ends the transaction; nothing of it may be read.
pub(crate) fn abort(producer: &BaseProducer) {
    producer.abort_transaction(BOUND).unwrap();
}
