//! The topic of invoice numbers, read from a real broker: the highest number of each
//! legal entity, and nothing where the topic is empty.

use std::collections::BTreeMap;

use weir_backends::books::{self, last_numbers_in_topic};
use weir_backends::config::KafkaConfig;
use weir_backends::journal::producer::{OutgoingRecord, Producer};
use weir_backends::journal::topics;
use weir_pipeline::billing::{self, BillingError};

use crate::books::Books;

/// What a topic holds that was made just now, and may have no leader for a moment.
async fn once_led(kafka: &KafkaConfig) -> BTreeMap<String, i64> {
    loop {
        match last_numbers_in_topic(kafka).await {
            Err(error) => assert!(error.is_transient(), "{error}"),
            Ok(numbers) => return numbers,
        }
    }
}

#[tokio::test]
async fn the_highest_number_of_each_legal_entity_is_found() {
    let stack = local_stack::shared_for_tests().unwrap_or_else(|error| panic!("{error}"));
    let kafka =
        KafkaConfig { bootstrap_servers: stack.kafka_bootstrap(), partitions: 2, ..KafkaConfig::default() };
    topics::ensure(&kafka).await.unwrap();
    assert_eq!(once_led(&kafka).await, BTreeMap::new());
    let record = |(entity, number): (&str, &str)| OutgoingRecord {
        topic: kafka.invoices_topic.clone(),
        key: Some(entity.into()),
        value: Some(format!(r#"{{"number":"{number}","invoice_id":"inv_1","hash":"00"}}"#).into_bytes()),
        ..OutgoingRecord::default()
    };
    let told =
        // As versions before told them, and under a key each.
        [("mill", "MILL-000001"), ("mill/MILL-000012", "MILL-000012"), ("dam/DAM-000003", "DAM-000003"), ("mill/MILL-000011", "MILL-000011")];
    let producer = Producer::connect(&kafka).unwrap();
    producer.send_all(told.map(record).to_vec()).await.unwrap();
    let expected = BTreeMap::from([("mill".to_owned(), 12), ("dam".to_owned(), 3)]);
    assert_eq!(last_numbers_in_topic(&kafka).await.unwrap(), expected);
}

#[tokio::test]
async fn a_topic_that_lost_what_it_was_told_gives_no_numbers() {
    let stack = local_stack::shared_for_tests().unwrap_or_else(|error| panic!("{error}"));
    let mut books = Books::open("numbers_lost").await;
    books.october().await;
    books.run().await.unwrap();
    let kafka = KafkaConfig {
        bootstrap_servers: stack.kafka_bootstrap(),
        invoices_topic: "numbers_lost".into(),
        ..KafkaConfig::default()
    };
    topics::ensure(&kafka).await.unwrap();
    assert_eq!(once_led(&kafka).await, BTreeMap::new());
    let told: Vec<(String, serde_json::Value)> =
        sqlx::query_as("SELECT topic_key, body FROM outbox WHERE kind = 'invoice_topic' ORDER BY id DESC")
            .fetch_all(&books.pool)
            .await
            .unwrap();
    let mut keys: Vec<_> = told.iter().map(|(key, _)| key.as_str()).collect();
    keys.sort_unstable();
    // Compaction keeps the last record of each key, and the last one told may be the lowest.
    assert_eq!(keys, ["mill/MILL-000001", "mill/MILL-000002", "mill/MILL-000003"]);
    assert_eq!(billing::numbers_in_topic(&books.pool, &kafka).await.unwrap(), BTreeMap::new());
    sqlx::query("UPDATE outbox SET delivered_at = now() WHERE kind = 'invoice_topic'")
        .execute(&books.pool)
        .await
        .unwrap();
    let lost = billing::numbers_in_topic(&books.pool, &kafka).await.unwrap_err();
    assert!(matches!(&lost, BillingError::TopicBehind { told: 3, in_topic: 0, .. }), "{lost}");
    assert_eq!(books::retell_numbers(&books.pool).await.unwrap(), 3);
    let record = |(key, body): (String, serde_json::Value)| OutgoingRecord {
        topic: kafka.invoices_topic.clone(),
        key: Some(key.into_bytes()),
        value: Some(body.to_string().into_bytes()),
        ..OutgoingRecord::default()
    };
    let producer = Producer::connect(&kafka).unwrap();
    producer.send_all(told.into_iter().map(record).collect()).await.unwrap();
    sqlx::query("UPDATE outbox SET delivered_at = now() WHERE kind = 'invoice_topic'")
        .execute(&books.pool)
        .await
        .unwrap();
    let known = billing::numbers_in_topic(&books.pool, &kafka).await.unwrap();
    assert_eq!(known, BTreeMap::from([("mill".to_owned(), 3)]));
}
