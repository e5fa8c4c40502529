//! The usage topic gets more partitions while events come: from the command to the bill, with one
//! `weir serve` that goes on, and is killed afterwards. What follows runs on the wider topic.

use anyhow::{Result, ensure};
use chrono::{TimeDelta, Utc};
use reqwest::{Method, StatusCode};
use serde_json::json;
use weir_tests::events::Event;
use weir_tests::house::House;
use weir_tests::kafka::Producer;
use weir_tests::wait;

use crate::counting::post_batch;
use crate::quotas::{set_limit, wait_for_answer};

/// All but one of them would move to another partition.
const OLD: [&str; 4] = ["stays-0", "stays-1", "stays-3", "stays-4"];
/// Two of them live in partitions that are new.
const NEW: [&str; 4] = ["spread-0", "spread-1", "spread-2", "spread-7"];
/// No multiple of the eight that there are.
const WIDTH: &str = "12";

pub(crate) async fn tenants_stay_and_nothing_is_lost_or_doubled(house: &mut House) -> Result<()> {
    let anchor = (Utc::now() - TimeDelta::days(33)).format("%Y-%m-%d").to_string();
    for tenant in OLD {
        house.create_tenant_since(tenant, "plain", "UTC", &anchor)?;
    }
    // It goes by eight partitions until its client looks again, in five minutes.
    let unaware = Producer::connect(&house.stack.kafka_bootstrap(), "murmur2_random")?;
    for tenant in OLD {
        unaware.events(&calls(tenant, 0..50)).await?;
        house.expect_usage(tenant, "calls", "50", 50).await?;
    }
    set_limit(house, OLD[0]).await?;
    widen(house).await?;
    for tenant in NEW {
        house.create_tenant_since(tenant, "plain", "UTC", &anchor)?;
    }
    let aware = Producer::connect(&house.stack.kafka_bootstrap(), "murmur2_random")?;
    let before = house.conservation().await?[4];
    for tenant in OLD.into_iter().chain(NEW) {
        unaware.events(&calls(tenant, 30..90)).await?;
        aware.events(&calls(tenant, 60..120)).await?;
        post_patiently(house, &calls(tenant, 100..150)).await?;
    }
    house.serving.kill()?;
    house.serving = house.settings.serve().await?;
    for tenant in OLD.into_iter().chain(NEW) {
        aware.events(&calls(tenant, 0..40)).await?;
        post_patiently(house, &calls(tenant, 140..160)).await?;
        house.expect_usage(tenant, "calls", "160", 160).await?;
    }
    let forwarded = house.conservation().await?[4] - before;
    ensure!(forwarded > 0, "nothing was forwarded");
    expect_homes(house).await?;
    expect_control_records_to_come_home(house).await?;
    for tenant in OLD.into_iter().chain(NEW) {
        bill(house, tenant).await?;
    }
    house.settings.succeed(&["verify", "--all"])?;
    house.expect_sound_ledger().await
}

/// A month ago, so that they are billed.
fn calls(tenant: &str, ids: std::ops::Range<usize>) -> Vec<Event> {
    let inside =
        Utc::now().date_naive().and_hms_opt(0, 0, 0).unwrap_or_default().and_utc() - TimeDelta::days(20);
    ids.map(|id| Event::now(tenant, "test.call", &id.to_string(), &[("route", "/")]).at(inside)).collect()
}

/// The command: not without `--yes`, not to fewer, and once.
async fn widen(house: &House) -> Result<()> {
    let said = |arguments: &[&str]| -> Result<(Option<i32>, String)> {
        let output = house.settings.run(arguments)?;
        Ok((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()))
    };
    let ledger = ["ledger", "widen", "--to"];
    let with = |more: &[&'static str]| [&ledger[..], more].concat();
    let (code, words) = said(&with(&[WIDTH]))?;
    ensure!(code == Some(1) && words.contains("Nothing was changed"), "{code:?} {words}");
    ensure!(words.contains("has 8 partitions in Kafka, and gets 12"), "{words}");
    let (code, words) = said(&with(&["4", "--yes"]))?;
    ensure!(code == Some(1) && words.contains("cannot be narrowed"), "{code:?} {words}");
    let (code, words) = said(&with(&[WIDTH, "--yes"]))?;
    ensure!(code == Some(0) && words.contains("12 partitions are counted from now on"), "{code:?} {words}");
    let (code, words) = said(&with(&[WIDTH, "--yes"]))?;
    ensure!(code == Some(0) && words.contains("nothing to widen"), "{code:?} {words}");
    let owned = "SELECT count(*) FROM journal_partition WHERE owner IS NOT NULL";
    wait::until("all partitions to be taken", wait::PATIENCE, || async {
        let count: i64 = sqlx::query_scalar(owned).fetch_one(&house.ledger).await?;
        Ok((count == 12).then_some(()))
    })
    .await
}

/// Kafka's clients learn of new partitions within ten seconds; until then the API says 503.
async fn post_patiently(house: &House, events: &[Event]) -> Result<()> {
    wait::until("the API to take events", wait::PATIENCE, || async {
        let status = post_batch(house, events).await?;
        ensure!(status == StatusCode::NO_CONTENT || status == StatusCode::SERVICE_UNAVAILABLE, "{status}");
        Ok((status == StatusCode::NO_CONTENT).then_some(()))
    })
    .await
}

async fn expect_homes(house: &House) -> Result<()> {
    let homes = "SELECT array_agg(DISTINCT partition ORDER BY partition) FROM usage WHERE tenant = $1";
    let mut found: Vec<(&str, Vec<i32>)> = Vec::new();
    for tenant in OLD.into_iter().chain(NEW) {
        found.push((tenant, sqlx::query_scalar(homes).bind(tenant).fetch_one(&house.ledger).await?));
    }
    let expected = [
        ("stays-0", 1),
        ("stays-1", 3),
        ("stays-3", 5),
        ("stays-4", 7),
        ("spread-0", 3),
        ("spread-1", 8),
        ("spread-2", 6),
        ("spread-7", 10),
    ];
    ensure!(found == expected.map(|(tenant, home)| (tenant, vec![home])), "{found:?}");
    Ok(())
}

/// Limits, alerts and adjustments go the way of their tenant, too.
async fn expect_control_records_to_come_home(house: &House) -> Result<()> {
    for tenant in [OLD[0], OLD[1], NEW[1]] {
        set_limit(house, tenant).await?;
        // The events are of another period than the limit.
        post_patiently(house, &[Event::now(tenant, "test.call", "today", &[("route", "/")])]).await?;
        wait_for_answer(house, &format!("/api/v1/quota/{tenant}/calls"), "1", true).await?;
        let path = format!("/api/v1/platform/tenants/{tenant}/adjustments");
        let at = Utc::now() - TimeDelta::days(1);
        let body = json!({"id": "widened", "meter": "bytes", "at": at.to_rfc3339(), "quantity": "7.5",
            "event_count": 2, "why": "x"});
        house.send(Method::POST, &path, &body).await?;
        house.expect_usage(tenant, "bytes", "7.5", 2).await?;
    }
    let astray = "SELECT count(*) FROM batch, jsonb_object_keys(rejected_by) AS r WHERE r = 'misrouted'";
    let astray: i64 = sqlx::query_scalar(astray).fetch_one(&house.ledger).await?;
    ensure!(astray == 0, "{astray} batches have misrouted records");
    Ok(())
}

/// The month that is over is billed once, over all calls.
async fn bill(house: &House, tenant: &str) -> Result<()> {
    let query = "SELECT l.event_count FROM invoice i JOIN invoice_line l ON l.invoice = i.id
        WHERE i.tenant = $1 AND i.status = 'finalized' AND l.meter = 'calls'";
    wait::until(&format!("the invoice of {tenant}"), wait::PATIENCE, || async {
        tokio::task::block_in_place(|| house.settings.succeed(&["bill", "run", "--tenant", tenant]))?;
        let found: Vec<i64> = sqlx::query_scalar(query).bind(tenant).fetch_all(&house.ledger).await?;
        ensure!(found.len() < 2 && found.iter().all(|count| *count == 160), "{found:?}");
        Ok((found.len() == 1).then_some(()))
    })
    .await
}
