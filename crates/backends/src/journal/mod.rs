//! Kafka: topics, producer, consumer, schema registry.

pub mod producer;
pub mod quota_feed;
pub mod topics;

pub use producer::{OutgoingRecord, Producer};
pub use quota_feed::{Heartbeat, QuotaBoard};
