//! `weir serve`: the parts of the process, wired, started and stopped in order.

mod http_threads;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use prometheus::{IntGaugeVec, Opts, Registry};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use weir_api::metrics::ApiMetrics;
use weir_api::state::Journal;
use weir_api::{ApiSettings, ApiState};
use weir_backends::journal::topics::TopicEnds;
use weir_backends::journal::{Producer, QuotaBoard, quota_feed, topics};
use weir_backends::ledger::month;
use weir_backends::postgres::{self, Pool};
use weir_backends::projection::Projection;
use weir_backends::tenants;
use weir_pipeline::aggregator::{Aggregator, run_aggregator};
use weir_pipeline::clock::Clock;
use weir_pipeline::metrics::PipelineMetrics;
use weir_pipeline::outbox::{Delivery, OutboxMetrics};
use weir_pipeline::status::PipelineStatus;
use weir_pipeline::world::Servers;

use crate::cli::Role;
use crate::config::Config;

use super::{archive, health, ledger_pool, now};

use http_threads::HttpThreads;

/// How often billing periods and months' tables are made ahead.
const PERIODS_EVERY: Duration = Duration::from_secs(3_600);
/// How long requests that are under way may take at the end.
const DRAIN: Duration = Duration::from_secs(20);

/// Runs the roles until SIGTERM or Ctrl-C, or until a part stops by itself (an error).
pub(crate) async fn run(config: Config, roles: &[Role]) -> anyhow::Result<bool> {
    let pool = ledger_pool(&config).await?;
    let registry = registry()?;
    let producer = Producer::connect(&config.kafka)?;
    topics::partitions(&config.kafka).await.context("is Kafka up, and `weir migrate` run?")?;
    let stop = CancellationToken::new();
    let mut parts = Parts { running: JoinSet::new(), stop: stop.clone() };
    let http = HttpThreads::start()?;
    let mut checks = health::server_checks(&pool, &producer, &config);

    if roles.contains(&Role::Aggregator) {
        let aggregator = aggregator(&config, &pool, &registry)?;
        checks.push(health::counting(Arc::clone(&aggregator.status)));
        checks.push(health::progress(Arc::clone(&aggregator.status)));
        checks.push(health::settings(Arc::clone(&aggregator.status)));
        checks.push(health::archive(aggregator.archive.as_ref(), Arc::clone(&aggregator.status)));
        parts.begin("the aggregator", run_aggregator(aggregator, stop.clone()));
    }
    if roles.contains(&Role::Delivery) {
        let delivery = delivery(&config, &pool, &producer, &registry)?;
        let told = stop.clone();
        parts.begin("delivery", async move {
            delivery.run(told).await;
            Ok::<(), std::convert::Infallible>(())
        });
        parts.begin("the periods' keeper", keep_periods(pool.clone(), stop.clone()));
    }
    let quota_stop = Arc::new(AtomicBool::new(false));
    if roles.contains(&Role::Api) {
        let board = quota_feed::follow(&config.kafka, Arc::clone(&quota_stop))?;
        checks.push(health::quota(Arc::clone(&board), config.api.max_staleness_ms));
        let state = api_state(&config, &producer, board, &registry).await?;
        state.spawn_refresher(stop.clone());
        let serving = |listener| weir_api::serve(listener, weir_api::router(state), stop.clone());
        let (address, served) = http.serve(("api.listen", config.api.listen), serving).await?;
        parts.begin("the API", served);
        tracing::info!(%address, "the API listens");
    }
    let router = weir_api::admin_router(checks, registry);
    let serving = |listener| weir_api::serve(listener, router, stop.clone());
    let (address, served) = http.serve(("admin.listen", config.admin.listen), serving).await?;
    parts.begin("health and metrics", served);
    tracing::info!(%address, "health and metrics listen");

    let ended = parts.until_the_end().await;
    quota_stop.store(true, Ordering::Release);
    producer.flush(Duration::from_secs(5)).await;
    ended
}

async fn api_state(
    config: &Config,
    producer: &Producer,
    board: Arc<QuotaBoard>,
    registry: &Registry,
) -> anyhow::Result<ApiState> {
    let journal = Journal {
        producer: producer.clone(),
        topic: config.kafka.usage_topic.clone(),
        ends: TopicEnds::connect(&config.kafka)?,
    };
    let metrics = Arc::new(ApiMetrics::register(registry)?);
    let projection = Projection::new(&config.clickhouse);
    let pool = api_pool(config).await?;
    Ok(ApiState::open(pool, journal, projection, board, api_settings(config), metrics).await?)
}

/// What runs side by side. When one ends before it is told to, the others are told too.
struct Parts {
    running: JoinSet<(&'static str, Result<(), String>)>,
    stop: CancellationToken,
}

impl Parts {
    fn begin<F, E>(&mut self, name: &'static str, part: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: std::fmt::Display,
    {
        self.running.spawn(async move { (name, part.await.map_err(|error| error.to_string())) });
    }

    async fn until_the_end(mut self) -> anyhow::Result<bool> {
        let mut failed = None;
        tokio::select! {
            () = told_to_stop() => tracing::info!("stopping: finishing what is under way"),
            Some(ended) = self.running.join_next() => failed = Some(said(ended)),
        }
        self.stop.cancel();
        let drained = tokio::time::timeout(DRAIN, async {
            while let Some(ended) = self.running.join_next().await {
                if let Ok((name, Err(error))) = ended {
                    tracing::warn!(error, "{name} did not stop cleanly");
                }
            }
        });
        if drained.await.is_err() {
            tracing::warn!("not everything stopped within {} s", DRAIN.as_secs());
        }
        match failed {
            Some(why) => bail!(why),
            None => Ok(true),
        }
    }
}

fn said(ended: Result<(&'static str, Result<(), String>), tokio::task::JoinError>) -> String {
    match ended {
        Ok((name, Ok(()))) => format!("{name} stopped by itself"),
        Ok((name, Err(error))) => format!("{name} stopped: {error}"),
        Err(error) => format!("a part stopped: {error}"),
    }
}

async fn told_to_stop() {
    let interrupt = tokio::signal::ctrl_c();
    match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        Ok(mut terminate) => tokio::select! {
            _ = interrupt => {}
            _ = terminate.recv() => {}
        },
        Err(_) => drop(interrupt.await),
    }
}

/// Makes billing periods and months' tables ahead, so that no event falls into one that is not there.
async fn keep_periods(pool: Pool, stop: CancellationToken) -> Result<(), std::convert::Infallible> {
    while !stop.is_cancelled() {
        if let Err(error) = tenants::extend_periods(&pool, now()).await {
            tracing::warn!(%error, "billing periods could not be written ahead; tried again in an hour");
        }
        if let Err(error) = month::make_ahead(&pool, now()).await {
            tracing::warn!(%error, "a month's table of usage could not be made ahead; tried again in an hour");
        }
        if let Err(error) = tenants::idempotency::purge(&pool, now()).await {
            tracing::warn!(%error, "old idempotency keys could not be forgotten; tried again in an hour");
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(PERIODS_EVERY) => {}
        }
    }
    Ok(())
}

fn registry() -> anyhow::Result<Registry> {
    let registry = Registry::new();
    let build =
        IntGaugeVec::new(Opts::new("weir_build_info", "The running version; always 1."), &["version"])?;
    build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
    registry.register(Box::new(build))?;
    Ok(registry)
}

fn aggregator(config: &Config, pool: &Pool, registry: &Registry) -> anyhow::Result<Aggregator> {
    let archive = archive::open(config)?;
    if archive.is_none() {
        tracing::info!("there is no archive (archive.url): the journal reaches as far as Kafka's retention");
    }
    Ok(Aggregator {
        kafka: config.kafka.clone(),
        pool: pool.clone(),
        clickhouse: config.clickhouse.clone(),
        archive,
        archiving: config.archive.clone(),
        settings: config.counting.clone(),
        single_node: config.ledger.single_node,
        metrics: Arc::new(PipelineMetrics::register(registry)?),
        status: Arc::new(PipelineStatus::default()),
        clock: Clock::default(),
    })
}

fn delivery(
    config: &Config,
    pool: &Pool,
    producer: &Producer,
    registry: &Registry,
) -> anyhow::Result<Delivery<Servers>> {
    Ok(Delivery::of_servers(
        pool.clone(),
        producer.clone(),
        config.kafka.clone(),
        config.api.allow_private_webhooks,
        Arc::new(OutboxMetrics::register(registry)?),
    ))
}

/// The API's own connections, so that no caller can keep counting from the ledger.
async fn api_pool(config: &Config) -> anyhow::Result<Pool> {
    let timeout = Duration::from_millis(config.api.ledger_timeout_ms);
    let pool = postgres::connect_bounded(&config.postgres, config.api.ledger_connections_max, timeout);
    pool.await.context("connect the API to Postgres")
}

fn api_settings(config: &Config) -> ApiSettings {
    ApiSettings {
        listen: config.api.listen.to_string(),
        admin_listen: config.admin.listen.to_string(),
        body_bytes_max: config.api.body_bytes_max,
        in_flight_bytes_max: config.api.in_flight_bytes_max,
        key_requests_per_minute_max: config.api.key_requests_per_minute_max,
        max_staleness_ms: config.api.max_staleness_ms,
        delivery_timeout_ms: u64::from(config.kafka.delivery_timeout_ms),
        key_env: config.env.clone(),
        allow_private_webhooks: config.api.allow_private_webhooks,
        ..ApiSettings::default()
    }
}
