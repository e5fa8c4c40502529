//! A database, topics and a ClickHouse database of their own for one test, events of every
//! kind to put into them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use sqlx::AssertSqlSafe;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use weir_backends::config::{ArchiveConfig, ClickHouseConfig, KafkaConfig, PostgresConfig};
use weir_backends::journal::{OutgoingRecord, Producer, topics};
use weir_backends::postgres::{self, Pool};
use weir_core::Timestamp;
use weir_core::journal::partition_of;
use weir_metering::event::UsageEvent;
use weir_pipeline::status::{PartitionState, StatusSnapshot};
use weir_pipeline::{
    Aggregator, Clock, CountingSettings, PipelineError, PipelineMetrics, PipelineStatus, run_aggregator,
};
use weir_tests::wait::until;
use weir_wire::{avro, cloudevents};

pub(crate) use crate::counts::count;

pub(crate) const PARTITIONS: i32 = 4;
pub(crate) const TENANTS: usize = 6;

pub(crate) struct House {
    pub(crate) kafka: KafkaConfig,
    pub(crate) clickhouse: ClickHouseConfig,
    pub(crate) pool: Pool,
    pub(crate) producer: Producer,
    pub(crate) now: Timestamp,
}

pub(crate) struct Running {
    pub(crate) status: Arc<PipelineStatus>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) task: JoinHandle<Result<(), PipelineError>>,
}

impl Running {
    /// Waits until so many of the problems hold the words; returns all problems.
    pub(crate) async fn until_problems(&self, words: &str, count: usize) -> Vec<String> {
        until(&format!("{words:?}, {count} times"), Duration::from_secs(30), || async {
            let problems = self.status.problems();
            let found = problems.iter().filter(|problem| problem.contains(words)).count();
            ensure!(found == count, "{problems:?}");
            Ok(Some(problems))
        })
        .await
        .unwrap()
    }

    /// Waits until a partition says the words.
    pub(crate) async fn until_said(&self, words: &str, seconds: u64) {
        until(&format!("{words:?}"), Duration::from_secs(seconds), || async {
            let problems = self.status.problems();
            ensure!(problems.iter().any(|problem| problem.contains(words)), "{problems:?}");
            Ok(Some(()))
        })
        .await
        .unwrap();
    }

    /// Waits until it has so many partitions, all of them counted.
    pub(crate) async fn until_counting(&self, partitions: usize) {
        let counts = |status: &StatusSnapshot| {
            let states = status.partitions.values().map(|one| &one.state);
            states.filter(|state| **state == PartitionState::Counting).count()
        };
        until(&format!("{partitions} partitions to be counted"), Duration::from_secs(40), || async {
            let status = self.status.snapshot();
            ensure!(status.partitions.len() == partitions && counts(&status) == partitions, "{status:?}");
            Ok(Some(()))
        })
        .await
        .unwrap();
    }

    /// Ends at once, as a crash would.
    pub(crate) async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.expect("no panic").expect("ends well");
    }
}

impl House {
    pub(crate) async fn build(stack: &local_stack::Stack, name: &str) -> Self {
        let _ = tracing_subscriber::fmt().with_env_filter("info,rdkafka=off").with_test_writer().try_init();
        let topic = |kind: &str| format!("{name}.{kind}");
        let kafka = KafkaConfig {
            bootstrap_servers: stack.kafka_bootstrap(),
            usage_topic: topic("usage"),
            dead_letter_topic: topic("dlq"),
            quota_topic: topic("quota"),
            alerts_topic: topic("alerts"),
            invoices_topic: topic("invoices"),
            partitions: PARTITIONS,
            group: topic("group"),
            ..KafkaConfig::default()
        };
        let base = PostgresConfig { url: stack.postgres_url(), connections_max: 2 };
        let admin = postgres::connect(&base).await.expect("Postgres answers");
        sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&admin).await.expect("created");
        admin.close().await;
        let url = format!("{}/{name}", stack.postgres_url().rsplit_once('/').expect("a database").0);
        let pool = postgres::connect(&PostgresConfig { url, connections_max: 24 }).await.expect("connects");
        postgres::migrate(&pool).await.expect("migrates");
        postgres::installation(&pool, &kafka).await.expect("installs");
        let clickhouse = ClickHouseConfig {
            url: stack.clickhouse_url(),
            database: name.to_owned(),
            ..ClickHouseConfig::default()
        };
        while let Err(error) = topics::ensure(&kafka).await {
            assert!(error.is_transient(), "{error}");
        }
        let producer = Producer::connect(&kafka).expect("a producer");
        let now = Timestamp::from(chrono::Utc::now());
        let house = Self { kafka, clickhouse, pool, producer, now };
        house.populate().await;
        house
    }

    /// Runs a statement that the test has put together.
    pub(crate) async fn run(&self, sql: String) {
        sqlx::query(AssertSqlSafe(sql)).execute(&self.pool).await.expect("runs");
    }

    /// Adds a tenant whose billing period ends at `end`, with the month after it; an SQL expression.
    pub(crate) async fn add_tenant(&self, tenant: &str, end: &str) {
        self.run(format!(
            "WITH tenant AS (
                INSERT INTO tenant (id, name, domain, admin_email, status, zone, hour_alignment, anchor,
                     currency, created_at, updated_at)
                 VALUES ('{tenant}', 't', '{tenant}.test', 'a@t.test', 'active', 'UTC', 0, '2026-01-01',
                     'EUR', now(), now())
            ), period AS (
                INSERT INTO billing_period (tenant, number, starts_at, ends_at)
                SELECT '{tenant}', n, {end} + (n - 1) * interval '30 days', {end} + n * interval '30 days'
                FROM generate_series(0, 1) AS n
            )
            UPDATE catalog_head SET version = version + 1"
        ))
        .await;
    }

    async fn populate(&self) {
        let run = |sql: String| self.run(sql);
        for tenant in 0..TENANTS {
            run(format!(
                "INSERT INTO tenant (id, name, domain, admin_email, status, zone, hour_alignment, anchor,
                     currency, created_at, updated_at)
                 VALUES ('t{tenant}', 't', 't{tenant}.test', 'a@t.test', 'active', 'UTC', {}, '2026-01-01',
                     'EUR', now(), now())",
                (tenant % 2) * 30
            ))
            .await;
            run(format!(
                "INSERT INTO billing_period (tenant, number, starts_at, ends_at)
                 SELECT 't{tenant}', n, date_trunc('hour', now()) - interval '90 days' + n * interval '30 days',
                     date_trunc('hour', now()) - interval '60 days' + n * interval '30 days'
                 FROM generate_series(0, 5) AS n"
            ))
            .await;
        }
        for (key, aggregation, value) in [
            ("calls", "count", "null"),
            ("bytes", "sum", "\"value\""),
            ("peak", "max", "\"value\""),
            ("floor", "min", "\"value\""),
            ("last", "latest", "\"value\""),
            ("users", "unique", "\"user\""),
        ] {
            run(format!(
                "INSERT INTO meter_version (key, version, definition, applied_at) VALUES ('{key}', 1,
                 '{{\"key\":\"{key}\",\"version\":1,\"unit\":\"u\",\"event_type\":\"use\",
                    \"aggregation\":\"{aggregation}\",\"value_property\":{value},\"dimensions\":[\"region\"]}}', now())"
            ))
            .await;
        }
        run("UPDATE catalog_head SET version = version + 1".into()).await;
    }

    pub(crate) fn start(&self) -> Running {
        self.start_with(|_| {})
    }

    /// Starts an aggregator of its own kind.
    pub(crate) fn start_with(&self, change: impl FnOnce(&mut Aggregator)) -> Running {
        let metrics = PipelineMetrics::register(&prometheus::Registry::new()).expect("metrics");
        let status = Arc::new(PipelineStatus::default());
        let mut aggregator = Aggregator {
            kafka: self.kafka.clone(),
            pool: self.pool.clone(),
            clickhouse: self.clickhouse.clone(),
            archive: None,
            archiving: ArchiveConfig::default(),
            settings: CountingSettings { batch_interval_ms: 50, ..CountingSettings::default() },
            single_node: true,
            metrics: Arc::new(metrics),
            status: Arc::clone(&status),
            clock: Clock::default(),
        };
        change(&mut aggregator);
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(run_aggregator(aggregator, shutdown.clone()));
        Running { status, shutdown, task }
    }

    pub(crate) async fn number(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.pool).await.expect("a number")
    }

    pub(crate) async fn text(&self, sql: &'static str) -> String {
        sqlx::query_scalar(sql).fetch_one(&self.pool).await.expect("a text")
    }

    /// Each partition's batches follow each other without gap or overlap.
    pub(crate) async fn expect_whole_chain(&self) {
        const BROKEN: &str = "SELECT count(*) FROM (
                SELECT b.from_offset, p.next_offset,
                    lag(b.to_offset, 1, p.first_offset) OVER chain AS should_begin,
                    lead(b.from_offset, 1, p.next_offset) OVER chain - b.to_offset AS missing
                FROM batch AS b JOIN journal_partition AS p USING (partition, generation)
                WINDOW chain AS (PARTITION BY b.partition ORDER BY b.from_offset)
            ) AS link WHERE from_offset <> should_begin OR missing <> 0";
        assert_eq!(self.number(BROKEN).await, 0, "links that do not meet their neighbours");
    }

    /// Waits until a number of the ledger is what it should be; says where it stands.
    pub(crate) async fn until(&self, sql: &'static str, expected: i64, seconds: u64) {
        until(sql, Duration::from_secs(seconds), || async {
            let found = self.number(sql).await;
            ensure!(found == expected, "{found}, not {expected}");
            Ok(Some(()))
        })
        .await
        .unwrap();
    }

    pub(crate) async fn produce(&self, records: Vec<OutgoingRecord>) {
        self.producer.send_all(records).await.expect("produced");
    }

    /// Again and again, as a producer does after a broker was away: repetitions are no harm.
    pub(crate) async fn produce_patiently(&self, records: Vec<OutgoingRecord>) {
        while let Err(error) = self.producer.send_all(records.clone()).await {
            assert!(error.is_transient(), "{error}");
        }
    }

    /// Puts an event into ClickHouse that stands far beyond what was counted.
    pub(crate) async fn phantom(&self) {
        let client = clickhouse::Client::default()
            .with_url(&self.clickhouse.url)
            .with_database(&self.clickhouse.database)
            .with_compression(clickhouse::Compression::None);
        let insert = "INSERT INTO events_raw SELECT 1, 0, 1000000, now64(3), 't0', 's', 'phantom', 'use', now64(3), map(), 99";
        client.query(insert).execute().await.expect("inserted");
    }

    /// An event as a record: every third as Avro, structured and binary CloudEvents; every
    /// seventh put into a partition that is not its own.
    pub(crate) fn record(&self, event: &UsageEvent, nth: usize) -> OutgoingRecord {
        let mut record = OutgoingRecord {
            topic: self.kafka.usage_topic.clone(),
            key: Some(event.tenant.clone().into_bytes()),
            ..OutgoingRecord::default()
        };
        let header = |name: &str, value: &str| (name.to_owned(), value.as_bytes().to_vec());
        if nth.is_multiple_of(3) {
            record.value = Some(cloudevents::encode_structured(event));
            record.headers = vec![header("content-type", cloudevents::CONTENT_TYPE)];
        } else {
            record.value = Some(avro::encode_event(event));
        }
        if nth.is_multiple_of(7) {
            let home = partition_of(event.tenant.as_bytes(), PARTITIONS);
            record.partition = Some((home + 1) % PARTITIONS);
        }
        record
    }

    pub(crate) fn event(&self, nth: usize) -> UsageEvent {
        // The hours of usage are spread over two days.
        let ago = i64::try_from(nth % 48).expect("small") * 3_600_000;
        let data =
            [("region", format!("r{}", nth % 3)), ("user", format!("u{}", nth % 17)), ("value", value(nth))];
        let data = data.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let ids = (format!("t{}", nth % TENANTS), "test".to_owned(), format!("e{nth}"));
        UsageEvent::new(ids, "use".into(), Some(self.now.plus_millis(-ago)), data).expect("an event")
    }
}

fn value(nth: usize) -> String {
    format!("{}.{:03}", nth % 1000, nth % 7)
}
