//! Kafka is away, or too much is in flight: 503 in time, with Retry-After, and nothing piles up.

use std::time::{Duration, Instant};

use serde_json::json;
use weir_api::ApiSettings;
use weir_backends::config::KafkaConfig;

use crate::support::{event, in_house};

#[test]
fn without_kafka_the_answer_is_503_in_time() {
    in_house(|house| async move {
        house.tenant("away").await;
        let kafka = KafkaConfig {
            bootstrap_servers: "127.0.0.1:1".into(),
            delivery_timeout_ms: 1_000,
            ..house.kafka.clone()
        };
        let settings = ApiSettings { delivery_timeout_ms: 1_000, ..ApiSettings::default() };
        let beside = house.beside(&kafka, settings).await;
        let began = Instant::now();
        let answer =
            beside.json("POST", "/api/v1/events", &[], json!([event("away", "1")])).await.expect(503);
        assert_eq!(answer.problem(), "journal-unavailable");
        assert!(!answer.header("retry-after").is_empty());
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        assert_eq!(beside.state.in_flight_bytes_free(), beside.state.settings.in_flight_bytes_max);
    });
}

#[test]
fn past_the_bytes_in_flight_the_answer_is_503_at_once() {
    in_house(|house| async move {
        house.tenant("full").await;
        let settings = ApiSettings { in_flight_bytes_max: 1_000, ..ApiSettings::default() };
        let beside = house.beside(&house.kafka, settings).await;
        let answer =
            beside.json("POST", "/api/v1/events", &[], json!([event("full", "1")])).await.expect(503);
        assert_eq!((answer.problem(), answer.header("retry-after")), ("overloaded", "2"));
    });
}
