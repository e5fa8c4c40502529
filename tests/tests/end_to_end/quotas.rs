//! A limit, its thresholds, the alert as a receiver gets it, and the answer afterwards.

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::json;
use weir_tests::events::Event;
use weir_tests::house::House;
use weir_tests::receiver::Receiver;
use weir_tests::wait;

use crate::counting::post_batch;

pub(crate) async fn a_hard_limit_trips_and_tells_once(house: &mut House) -> Result<()> {
    let receiver = Receiver::start().await?;
    let endpoint = house.send(Method::POST, "/api/v1/webhooks", &json!({"url": receiver.url()})).await?;
    let secret = endpoint["secret"].as_str().with_context(|| format!("no secret in {endpoint}"))?.to_owned();
    let tenant = house.create_tenant("limited", "plain").await?;
    set_limit(house, &tenant).await?;
    let call = |id: usize| Event::now(&tenant, "test.call", &id.to_string(), &[("route", "/")]);
    let quota = format!("/api/v1/quota/{tenant}/calls");
    post_batch(house, &(0..9).map(call).collect::<Vec<_>>()).await?;
    wait_for_answer(house, &quota, "9", true).await?;
    post_batch(house, &(0..12).map(call).collect::<Vec<_>>()).await?;
    wait_for_answer(house, &quota, "12", false).await?;
    let alerts = wait::until("the alerts at 80 and 100 percent", wait::PATIENCE, || async {
        let mut found = Vec::new();
        for request in receiver.received() {
            let body = request.verified(&secret)?;
            if body["data"]["tenant"] == tenant.as_str() && body["type"] == "quota.threshold.reached" {
                found.push((body["data"]["threshold_percent"].clone(), request.id.clone()));
            }
        }
        Ok((found.len() >= 2).then_some(found))
    })
    .await?;
    // More usage past the limit raises nothing new.
    post_batch(house, &(12..15).map(call).collect::<Vec<_>>()).await?;
    wait_for_answer(house, &quota, "15", false).await?;
    let mut ids: Vec<_> = receiver.received().into_iter().map(|request| request.id).collect();
    let count = ids.len();
    ids.sort();
    ids.dedup();
    ensure!(ids.len() == count, "a webhook came twice: {ids:?}");
    let mut percents: Vec<_> = alerts.iter().map(|(percent, _)| percent.clone()).collect();
    percents.sort_by_key(serde_json::Value::as_u64);
    ensure!(percents == [json!(80), json!(100)], "the thresholds told are {percents:?}");
    // Usage is a fact: what came past the limit is counted.
    house.expect_usage(&tenant, "calls", "15", 15).await
}

pub(crate) async fn set_limit(house: &House, tenant: &str) -> Result<()> {
    let path = format!("/api/v1/platform/tenants/{tenant}/limits");
    let limits = json!({"limits": [
        {"meter": "calls", "limit": "10", "enforcement": "hard", "thresholds_percent": [80, 100]}
    ]});
    let now = house.request(Method::GET, &path).send().await?;
    let etag = now.headers().get("etag").cloned();
    let mut request = house.request(Method::PUT, &path).json(&limits);
    if let Some(etag) = etag {
        request = request.header("if-match", etag);
    }
    let answer = request.send().await?;
    let status = answer.status();
    ensure!(status.is_success(), "PUT {path} answered {status}: {}", answer.text().await?);
    wait::until("the limit to be in force", wait::PATIENCE, || async {
        let found: Option<i64> = sqlx::query_scalar("SELECT revision FROM limit_in_force WHERE tenant = $1")
            .bind(tenant)
            .fetch_optional(&house.ledger)
            .await?;
        Ok(found.map(drop))
    })
    .await
}

pub(crate) async fn wait_for_answer(house: &House, path: &str, used: &str, allowed: bool) -> Result<()> {
    let what = format!("{path} to say used {used}, allowed {allowed}");
    wait::until(&what, wait::PATIENCE, || async {
        let answer = house.get(path).await?;
        let complete = ["allowed", "used", "limit", "remaining", "resets_at", "as_of"];
        for name in complete {
            ensure!(answer.get(name).is_some(), "{name} is missing in {answer}");
        }
        ensure!(answer["used"] == used && answer["allowed"] == allowed, "the answer is {answer}");
        Ok(Some(()))
    })
    .await
}
