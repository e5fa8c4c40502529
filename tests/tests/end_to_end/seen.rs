//! What people see: every panel's query finds something, every rule can be judged, health names
//! its checks.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use chrono::Utc;
use reqwest::Method;
use serde_json::Value;
use weir_tests::dashboard::{self, Language, Query, View};
use weir_tests::events::Event;
use weir_tests::house::House;
use weir_tests::kafka::Producer;
use weir_tests::prometheus::Prometheus;
use weir_tests::wait;

use crate::counting::post_batch;

/// Rates need two scrapes a second apart; this is much more.
const RATE_SECONDS: u32 = 300;

pub(crate) async fn panels_and_rules_find_what_they_ask_for(house: &mut House) -> Result<()> {
    let address = house.settings.admin();
    let target = address.trim_start_matches("http://");
    let prometheus = Prometheus::start(target, &house.folder()).await?;
    let traffic = Traffic::start(house).await?;
    traffic.some(house).await?;
    house.expect_usage(&traffic.tenant, "calls", "1", 1).await?;
    let view = view(house).await?;
    let mut empty = Vec::new();
    let mut count = 0;
    for dashboard in dashboard::all()? {
        for query in dashboard.queries()?.into_iter().chain(dashboard.variables()) {
            count += 1;
            if let Err(error) = find(house, &prometheus, &traffic, &query, &view).await {
                empty.push(format!("{}: {error:#}", query.place));
            }
        }
    }
    ensure!(empty.is_empty(), "{} of {count} queries found nothing:\n{}", empty.len(), empty.join("\n"));
    println!("  {count} queries found rows");
    expect_metrics_and_rules(house, &prometheus).await
}

async fn find(
    house: &House,
    prometheus: &Prometheus,
    traffic: &Traffic,
    query: &Query,
    view: &View,
) -> Result<()> {
    let text = query.expanded(view)?;
    wait::until("a row", std::time::Duration::from_secs(15), || async {
        let rows = match query.language {
            Language::Sql => house.clickhouse(&text).await?,
            Language::PromQl => prometheus.query(&text).await?.into_iter().filter(is_number).collect(),
        };
        if rows.is_empty() {
            traffic.some(house).await?;
        }
        ensure!(!rows.is_empty(), "no rows for {text}");
        Ok(Some(()))
    })
    .await
}

fn is_number(series: &Value) -> bool {
    series["value"][1].as_str().and_then(|text| text.parse::<f64>().ok()).is_some_and(f64::is_finite)
}

/// Something of every kind, again and again, since a rate needs a change while Prometheus looks.
struct Traffic {
    tenant: String,
    murmur2: Producer,
    other: Producer,
}

impl Traffic {
    async fn start(house: &House) -> Result<Self> {
        let bootstrap = house.stack.kafka_bootstrap();
        let tenant = house.create_tenant("seen", "plain").await?;
        let (murmur2, other) =
            (Producer::connect(&bootstrap, "murmur2_random")?, Producer::connect(&bootstrap, "random")?);
        Ok(Self { tenant, murmur2, other })
    }

    async fn some(&self, house: &House) -> Result<()> {
        let id = Utc::now().timestamp_micros().to_string();
        let call = Event::now(&self.tenant, "test.call", &id, &[("route", "/")]);
        post_batch(house, std::slice::from_ref(&call)).await?;
        self.other.event(&call).await?;
        self.murmur2.bytes(&self.tenant, b"not an event", &[]).await?;
        // Answered with or without a limit; either way it is an answer.
        let quota = format!("/api/v1/quota/{}/calls", self.tenant);
        house.request(Method::GET, &quota).send().await.context("ask for the quota")?;
        Ok(())
    }
}

async fn view(house: &House) -> Result<View> {
    let tenants = house.clickhouse("SELECT DISTINCT tenant FROM usage_hourly ORDER BY tenant").await?;
    let tenants = tenants.iter().filter_map(|row| row["tenant"].as_str()).map(str::to_owned).collect();
    let now = Utc::now().timestamp();
    Ok(View { from: now - 30 * 86_400, to: now, interval: RATE_SECONDS, tenants, meter: "calls".to_owned() })
}

async fn expect_metrics_and_rules(house: &House, prometheus: &Prometheus) -> Result<()> {
    let metrics = house.metrics().await?;
    let told: BTreeSet<_> = metrics
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .collect();
    let rules = std::fs::read_to_string(dashboard::repository().join("deploy/prometheus/rules/weir.yaml"))
        .context("read the rules")?;
    let mut wanted = dashboard::metric_names(&rules);
    for dashboard in dashboard::all()? {
        let queries = dashboard.queries()?;
        wanted.extend(queries.iter().flat_map(|query| dashboard::metric_names(&query.text)));
    }
    let missing: BTreeSet<_> = wanted.iter().filter(|name| !told.contains(name.as_str())).collect();
    ensure!(missing.is_empty(), "/metrics does not tell {missing:?}");
    wait::until("the rules to be judged", wait::PATIENCE, || async {
        let rules = prometheus.rules().await?;
        ensure!(
            !rules.is_empty() && rules.iter().all(|(_, health)| health == "ok"),
            "the rules are {rules:?}"
        );
        Ok(Some(()))
    })
    .await
}

pub(crate) async fn health_names_its_checks(house: &mut House) -> Result<()> {
    let url = format!("{}/readyz", house.settings.admin());
    let text = reqwest::get(url).await?.error_for_status()?.text().await?.to_lowercase();
    let missing: Vec<_> = ["postgres", "kafka", "everything moves", "as they must be", "levels are known"]
        .into_iter()
        .filter(|name| !text.contains(name))
        .collect();
    ensure!(missing.is_empty(), "/readyz does not name {missing:?}: {text}");
    let url = format!("{}/healthz", house.settings.admin());
    reqwest::get(url).await?.error_for_status()?;
    Ok(())
}
