//! One house for all tests of this binary: a stack, a ledger with the example catalogue, a
//! platform key, and a short way to send a request.

use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request};
use http_body_util::BodyExt;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tower::ServiceExt;
use weir_api::metrics::ApiMetrics;
use weir_api::state::Journal;
use weir_api::{ApiSettings, ApiState};
use weir_backends::config::{ClickHouseConfig, KafkaConfig, PostgresConfig};
use weir_backends::journal::producer::Producer;
use weir_backends::journal::quota_feed::QuotaBoard;
use weir_backends::journal::topics::{self, TopicEnds};
use weir_backends::projection::Projection;
use weir_backends::tenants::api_keys::{self, NewApiKey, SCOPES};
use weir_backends::{catalog, postgres};
use weir_core::{TenantId, Timestamp};
use weir_wire::catalog_file;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
static HOUSE: LazyLock<House> = LazyLock::new(|| RUNTIME.block_on(House::open()));

/// Runs a test in the shared house.
pub(crate) fn in_house<F: Future<Output = ()>>(test: impl FnOnce(&'static House) -> F) {
    let house = LazyLock::force(&HOUSE);
    RUNTIME.block_on(test(house));
}

pub(crate) struct House {
    pub(crate) kafka: KafkaConfig,
    pub(crate) state: ApiState,
    pub(crate) router: Router,
    /// A platform key that may do everything.
    pub(crate) key: String,
    /// Where the ledger is.
    pub(crate) postgres_url: String,
}

/// An answer, read.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    /// The name in `type`, for a problem; empty otherwise.
    pub(crate) fn problem(&self) -> &str {
        let text = self.body["type"].as_str().unwrap_or("");
        text.strip_prefix(weir_api::problem::TYPE_PREFIX).unwrap_or(text)
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
    }

    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.body);
        self
    }
}

impl House {
    async fn open() -> Self {
        let stack = tokio::task::spawn_blocking(|| local_stack::shared_for_tests().unwrap()).await.unwrap();
        let kafka = KafkaConfig {
            bootstrap_servers: stack.kafka_bootstrap(),
            partitions: 4,
            ..KafkaConfig::default()
        };
        topics::ensure(&kafka).await.unwrap();
        let postgres = PostgresConfig { url: stack.postgres_url(), connections_max: 8 };
        let pool = postgres::connect(&postgres).await.unwrap();
        postgres::migrate(&pool).await.unwrap();
        postgres::installation(&pool, &kafka).await.unwrap();
        let file = catalog_file::parse(include_str!("../../../../schemas/catalog/example.toml")).unwrap();
        let now = Timestamp::from(chrono::Utc::now());
        let difference = catalog::plan(&pool, &file, now, 3_600_000, 3_600_000).await.unwrap();
        catalog::apply(&pool, &difference.changes, now, 0).await.unwrap();
        let state = open_state(pool, &kafka, ApiSettings::default()).await;
        state.projection.prepare().await.unwrap();
        let key = platform_key(&state, &SCOPES).await;
        let router = weir_api::router(state.clone());
        Self { kafka, router, state, key, postgres_url: postgres.url }
    }

    /// Another API process with connections of its own.
    pub(crate) async fn beside_with(&self, pool: postgres::Pool) -> Self {
        self.of(open_state(pool, &self.kafka, ApiSettings::default()).await, &self.kafka)
    }

    fn of(&self, state: ApiState, kafka: &KafkaConfig) -> Self {
        let router = weir_api::router(state.clone());
        let (key, postgres_url) = (self.key.clone(), self.postgres_url.clone());
        Self { kafka: kafka.clone(), router, state, key, postgres_url }
    }

    /// Another API process on the same ledger, with other settings or another journal.
    pub(crate) async fn beside(&self, kafka: &KafkaConfig, settings: ApiSettings) -> Self {
        self.of(open_state(self.state.pool.clone(), kafka, settings).await, kafka)
    }

    /// Sends a request with the platform's key, unless it brings its own.
    pub(crate) async fn send(&self, mut request: Request<Body>) -> Answer {
        let headers = request.headers_mut();
        if !headers.contains_key("authorization") {
            headers.insert("authorization", format!("Bearer {}", self.key).parse().unwrap());
        }
        self.send_as_is(request).await
    }

    pub(crate) async fn send_as_is(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        if parts.status.as_u16() >= 400 {
            assert_eq!(parts.headers["content-type"], "application/problem+json");
        }
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        if parts.status.as_u16() >= 400 {
            let page = body["type"].as_str().expect("a type");
            let page = self.router.clone().oneshot(self::request("GET", page, &[], "")).await.unwrap();
            assert_eq!(page.status(), 200, "{body}");
        }
        Answer { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(request("GET", path, &[], String::new())).await
    }

    pub(crate) async fn json(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Value,
    ) -> Answer {
        let mut all = vec![("content-type", "application/json")];
        all.extend_from_slice(headers);
        self.send(request(method, path, &all, body.to_string())).await
    }

    /// Makes a tenant on the plan `starter`.
    pub(crate) async fn tenant(&self, id: &str) {
        let body = json!({
            "id": id, "name": id, "domain": format!("{id}.example.com"), "plan": "starter",
            "adminEmail": format!("ops@{id}.example.com"), "timezone": "Europe/Berlin",
        });
        self.json("POST", "/api/v1/platform/tenants", &[], body).await.expect(201);
    }

    /// Makes a key of a tenant.
    pub(crate) async fn tenant_key(&self, tenant: &str, scopes: &[&str], prefixes: &[&str]) -> String {
        let new = NewApiKey {
            name: format!("{tenant}'s"),
            tenant: Some(TenantId::new(tenant).unwrap()),
            scopes: scopes.iter().map(ToString::to_string).collect(),
            source_prefixes: prefixes.iter().map(ToString::to_string).collect(),
            env: "test".into(),
        };
        api_keys::create(&self.state.pool, new, "test").await.unwrap().1
    }

    /// The records of the usage topic whose key is that tenant: partition and value.
    pub(crate) fn records_of(&self, tenant: &str) -> Vec<(i32, Vec<u8>)> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.kafka.bootstrap_servers)
            .set("group.id", "look")
            .set("enable.partition.eof", "true")
            .create()
            .unwrap();
        let mut from = TopicPartitionList::new();
        for partition in 0..self.kafka.partitions {
            from.add_partition_offset(&self.kafka.usage_topic, partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&from).unwrap();
        let (mut found, mut ends) = (Vec::new(), 0);
        while ends < self.kafka.partitions {
            match consumer.poll(std::time::Duration::from_secs(10)).expect("Kafka answers") {
                Ok(message) if message.key() == Some(tenant.as_bytes()) => {
                    found.push((message.partition(), message.payload().unwrap_or_default().to_vec()));
                }
                Ok(_) => {}
                Err(rdkafka::error::KafkaError::PartitionEOF(_)) => ends += 1,
                Err(error) => panic!("{error}"),
            }
        }
        found
    }
}

async fn open_state(pool: postgres::Pool, kafka: &KafkaConfig, settings: ApiSettings) -> ApiState {
    let journal = Journal {
        producer: Producer::connect(kafka).unwrap(),
        topic: kafka.usage_topic.clone(),
        ends: TopicEnds::connect(kafka).unwrap(),
    };
    let metrics = ApiMetrics::register(&prometheus::Registry::new()).unwrap();
    let stack = tokio::task::spawn_blocking(|| local_stack::shared_for_tests().unwrap()).await.unwrap();
    let clickhouse = ClickHouseConfig { url: stack.clickhouse_url(), ..ClickHouseConfig::default() };
    let (projection, board) = (Projection::new(&clickhouse), Arc::new(QuotaBoard::default()));
    ApiState::open(pool, journal, projection, board, settings, Arc::new(metrics)).await.unwrap()
}

async fn platform_key(state: &ApiState, scopes: &[&str]) -> String {
    let new = NewApiKey {
        name: "platform".into(),
        tenant: None,
        scopes: scopes.iter().map(ToString::to_string).collect(),
        source_prefixes: vec![],
        env: "test".into(),
    };
    api_keys::create(&state.pool, new, "test").await.unwrap().1
}

pub(crate) fn request(
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Body>,
) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body.into()).unwrap()
}

/// A CloudEvent that the meter `bandwidth` counts.
pub(crate) fn event(tenant: &str, id: &str) -> Value {
    json!({
        "specversion": "1.0", "id": id, "source": "//gateway.eu", "type": "com.example.network.out",
        "subject": tenant, "data": { "bytes": "12.5" },
    })
}

/// The same with one member of the event changed.
pub(crate) fn event_with(tenant: &str, id: &str, member: &str, value: Value) -> Value {
    let mut event = event(tenant, id);
    event[member] = value;
    event
}
