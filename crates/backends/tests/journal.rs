//! The journal's readers on a real Kafka: records that no driver of ours would write, and pauses.

use std::ffi::CString;
use std::time::Duration;

use rdkafka::bindings::{self as c, rd_kafka_vtype_t as vtype};
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, Producer as _};
use rdkafka::types::RDKafkaRespErr;
use weir_backends::config::KafkaConfig;
use weir_backends::journal::record_range::stream_range;
use weir_backends::journal::{
    JournalConsumer, OutgoingRecord, OwnedRecord, PartitionQueue, Producer, topics,
};

const PATIENCE: Duration = Duration::from_secs(30);

/// Topics of one partition that are this test's own.
async fn journal(name: &str) -> KafkaConfig {
    let stack = local_stack::shared_for_tests().unwrap_or_else(|error| panic!("{error}"));
    let name = format!("{name}-{}", uuid::Uuid::new_v4().simple());
    let config = KafkaConfig {
        bootstrap_servers: stack.kafka_bootstrap(),
        usage_topic: format!("{name}.usage"),
        dead_letter_topic: format!("{name}.dlq"),
        quota_topic: format!("{name}.quota"),
        alerts_topic: format!("{name}.alerts"),
        invoices_topic: format!("{name}.invoices"),
        group: name,
        partitions: 1,
        ..KafkaConfig::default()
    };
    topics::ensure(&config).await.unwrap();
    config
}

/// Writes a record with a header of any name, as clients in other languages may.
fn write_with_header(config: &KafkaConfig, name: &[u8], value: &[u8]) {
    let mut client = ClientConfig::new();
    let producer: BaseProducer = client.set("bootstrap.servers", &config.bootstrap_servers).create().unwrap();
    let topic = CString::new(config.usage_topic.as_str()).unwrap();
    let length = |bytes: &[u8]| isize::try_from(bytes.len()).unwrap();
    // SAFETY: producer and topic live longer than the call; the C library copies name and value,
    // and owns the list of headers once the record is in its queue.
    unsafe {
        let headers = c::rd_kafka_headers_new(1);
        let (name_length, value_length) = (length(name), length(value));
        let added = c::rd_kafka_header_add(
            headers,
            name.as_ptr().cast(),
            name_length,
            value.as_ptr().cast(),
            value_length,
        );
        assert_eq!(added, RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR);
        let written = c::rd_kafka_producev(
            producer.client().native_ptr(),
            vtype::RD_KAFKA_VTYPE_TOPIC,
            topic.as_ptr(),
            vtype::RD_KAFKA_VTYPE_HEADERS,
            headers,
            vtype::RD_KAFKA_VTYPE_END,
        );
        assert_eq!(written, RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR);
    }
    producer.flush(PATIENCE).unwrap();
}

async fn until_held(queue: &PartitionQueue, records: usize) {
    let held = async {
        while queue.held().0 < records {
            queue.changed().await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, held).await;
    assert!(waited.is_ok(), "waited {PATIENCE:?} in vain for {records} records: {:?}", queue.held());
}

/// It is the first that is read, and so comes another way than those behind it.
#[tokio::test(flavor = "multi_thread")]
async fn a_headers_name_may_be_any_bytes() {
    let config = journal("names").await;
    write_with_header(&config, b"na\xffme", b"\xfe");
    let check = |record: &OwnedRecord| {
        assert_eq!(record.headers, [("na\u{fffd}me".to_owned(), b"\xfe".to_vec())]);
    };
    let (consumer, _events) = JournalConsumer::join(&config).unwrap();
    let queue = consumer.start(0, 0);
    until_held(&queue, 1).await;
    queue.take(10, usize::MAX).iter().for_each(check);
    check(&consumer.read_one(0, 0).await.unwrap().unwrap());
    let mut again = stream_range(&config, 0, 0, 1);
    again.recv().await.unwrap().unwrap().iter().for_each(check);
}

/// A partition that is stopped while it is paused, as one whose worker fails is, and then taken again.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_stopped_while_it_was_paused_is_fetched_when_it_is_started_again() {
    const MORE_THAN_A_QUEUE_HOLDS: usize = 60_001;
    let config = journal("paused").await;
    let record = OutgoingRecord {
        topic: config.usage_topic.clone(),
        partition: Some(0),
        value: Some(vec![7]),
        ..OutgoingRecord::default()
    };
    let producer = Producer::connect(&config).unwrap();
    producer.send_all(vec![record; MORE_THAN_A_QUEUE_HOLDS + 10_000]).await.unwrap();
    let (consumer, _events) = JournalConsumer::join(&config).unwrap();
    let paused = consumer.start(0, 0);
    until_held(&paused, MORE_THAN_A_QUEUE_HOLDS).await;
    consumer.stop(0);
    let again = consumer.start(0, 5);
    until_held(&again, 10).await;
    assert_eq!(again.take(1, usize::MAX)[0].offset, 5);
}
