//! Where the servers are, as the process's configuration names them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Kafka.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KafkaConfig {
    /// `host:port`, comma separated.
    pub bootstrap_servers: String,
    /// The usage topic (the journal).
    pub usage_topic: String,
    /// The dead-letter topic.
    pub dead_letter_topic: String,
    /// The compacted topic of quota levels.
    pub quota_topic: String,
    /// The topic of alerts.
    pub alerts_topic: String,
    /// The compacted topic of invoice numbers given.
    pub invoices_topic: String,
    /// Partitions of topics that Weir creates.
    pub partitions: i32,
    /// Replicas of topics that Weir creates.
    pub replication: i32,
    /// The consumer group of the aggregators.
    pub group: String,
    /// A name that is this process's own among the aggregators and stays the same over its
    /// restarts. With one, a process that is back within ten seconds has its partitions again
    /// at once, without a rebalance; one that ends for good is missed only after ten seconds.
    pub group_instance_id: Option<String>,
    /// How long a record may wait for its acknowledgement, in milliseconds.
    pub delivery_timeout_ms: u32,
    /// A schema registry's URL; without one the schemas that ship with Weir are used.
    pub schema_registry_url: Option<String>,
    /// Further librdkafka settings (`security.protocol`, `sasl.…`), passed as they are.
    pub settings: BTreeMap<String, String>,
}

impl Default for KafkaConfig {
    fn default() -> Self {
        Self {
            bootstrap_servers: "127.0.0.1:19092".into(),
            usage_topic: "weir.usage.v1".into(),
            dead_letter_topic: "weir.usage.dlq.v1".into(),
            quota_topic: "weir.quota.v1".into(),
            alerts_topic: "weir.alerts.v1".into(),
            invoices_topic: "weir.invoices.v1".into(),
            partitions: 8,
            replication: 1,
            group: "weir-aggregator".into(),
            group_instance_id: None,
            delivery_timeout_ms: 5_000,
            schema_registry_url: None,
            settings: BTreeMap::new(),
        }
    }
}

/// Postgres.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PostgresConfig {
    /// `postgres://user:password@host:port/database`.
    pub url: String,
    /// Connections a process holds at most.
    pub connections_max: u32,
}

impl Default for PostgresConfig {
    fn default() -> Self {
        Self { url: "postgres://weir@127.0.0.1:15432/weir".into(), connections_max: 16 }
    }
}

/// ClickHouse, over HTTP.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClickHouseConfig {
    /// `http://host:port`.
    pub url: String,
    /// The database of Weir's tables; created when it is missing.
    pub database: String,
    /// The user that writes.
    pub user: String,
    /// Its password.
    pub password: String,
    /// For how many days raw events are kept, where something (a TTL, a job) removes them
    /// afterwards. Weir itself removes none. Without it a raw event that is missing counts as
    /// lost when documents are proved.
    pub events_kept_days: Option<u32>,
}

impl Default for ClickHouseConfig {
    fn default() -> Self {
        Self {
            url: "http://127.0.0.1:18123".into(),
            database: "weir".into(),
            user: "default".into(),
            password: String::new(),
            events_kept_days: None,
        }
    }
}

/// The archive of the journal.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ArchiveConfig {
    /// Where it is: a folder (`/var/lib/weir/archive`, which must be there) or an object store
    /// (`s3://bucket/path`, `gs://bucket/path`, `az://container/path`). Without it there is no
    /// archive, and the journal reaches as far as Kafka's retention.
    pub url: Option<String>,
    /// Further settings of the object store (`aws_region`, `aws_endpoint`, …), passed as they
    /// are. Variables that begin with `AWS_`, `GOOGLE_` or `AZURE_` are taken as well.
    pub settings: BTreeMap<String, String>,
    /// A range is written as a file when its records have so many bytes, about.
    pub bytes_max: u64,
    /// Or so many records.
    pub records_max: u64,
    /// Or its first record is so old, in milliseconds.
    pub age_max_ms: i64,
}

impl Default for ArchiveConfig {
    fn default() -> Self {
        Self {
            url: None,
            settings: BTreeMap::new(),
            // What reading a file takes in memory.
            bytes_max: 64 * 1_048_576,
            records_max: 1_000_000,
            age_max_ms: 3_600_000,
        }
    }
}
