//! Kafka: topics, producer, consumer, schema registry.
