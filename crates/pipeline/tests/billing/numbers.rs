//! The topic of invoice numbers, read from a real broker: the highest number of each
//! legal entity, and nothing where the topic is empty.

use std::collections::BTreeMap;

use weir_backends::books::last_numbers_in_topic;
use weir_backends::config::KafkaConfig;
use weir_backends::journal::producer::{OutgoingRecord, Producer};
use weir_backends::journal::topics;

#[tokio::test]
async fn the_highest_number_of_each_legal_entity_is_found() {
    let stack = local_stack::shared_for_tests().unwrap_or_else(|error| panic!("{error}"));
    let kafka =
        KafkaConfig { bootstrap_servers: stack.kafka_bootstrap(), partitions: 2, ..KafkaConfig::default() };
    topics::ensure(&kafka).await.unwrap();
    assert_eq!(last_numbers_in_topic(&kafka).await.unwrap(), BTreeMap::new());
    let record = |(entity, number): (&str, &str)| OutgoingRecord {
        topic: kafka.invoices_topic.clone(),
        key: Some(entity.into()),
        value: Some(format!(r#"{{"number":"{number}","invoice_id":"inv_1","hash":"00"}}"#).into_bytes()),
        ..OutgoingRecord::default()
    };
    let told =
        [("mill", "MILL-000001"), ("mill", "MILL-000012"), ("dam", "DAM-000003"), ("mill", "MILL-000011")];
    let producer = Producer::connect(&kafka).unwrap();
    producer.send_all(told.map(record).to_vec()).await.unwrap();
    let expected = BTreeMap::from([("mill".to_owned(), 12), ("dam".to_owned(), 3)]);
    assert_eq!(last_numbers_in_topic(&kafka).await.unwrap(), expected);
}
