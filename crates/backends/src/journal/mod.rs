//! Kafka: topics, producer, consumer, schema registry.

mod bulk;
pub mod consumer;
pub mod consumer_queue;
mod held;
pub mod producer;
pub mod quota_feed;
pub mod record;
pub mod record_range;
pub mod registry;
pub mod topic_id;
mod topic_needs;
pub mod topic_settings;
pub mod topics;

pub use consumer::{JournalConsumer, JournalEvent};
pub use consumer_queue::PartitionQueue;
pub use producer::{OutgoingRecord, Producer};
pub use quota_feed::{Heartbeat, QuotaBoard};
pub use record::{Fingerprint, OwnedRecord};
pub use registry::SchemaRegistry;
pub use topic_id::{TopicIdentity, TopicIds};
pub use topic_needs::TopicBounds;
pub use topic_settings::TopicSettings;
