//! `weir dlq` as an operator uses it: what was not counted is found, read, and counted after all.

use anyhow::{Context, Result, ensure};
use chrono::{TimeDelta, Utc};
use serde_json::Value;
use weir_tests::avro;
use weir_tests::events::Event;
use weir_tests::house::House;
use weir_tests::kafka::Producer;
use weir_tests::wait;

const TENANT: &str = "created-too-late";

/// A command with its exit code, stdout and stderr.
fn call(house: &House, arguments: &[&str]) -> Result<(Option<i32>, String, String)> {
    let output = tokio::task::block_in_place(|| house.settings.run(arguments))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((output.status.code(), text(&output.stdout), text(&output.stderr)))
}

fn listed(house: &House, filter: &[&str]) -> Result<Vec<Value>> {
    let arguments = [&["dlq", "list", "--output", "json"], filter].concat();
    let (code, stdout, stderr) = call(house, &arguments)?;
    ensure!(code == Some(0), "weir dlq list ended with {code:?}: {stderr}");
    Ok(serde_json::from_str::<Value>(&stdout)?.as_array().cloned().unwrap_or_default())
}

pub(crate) async fn what_was_not_counted_is_counted_after_all(house: &mut House) -> Result<()> {
    let event = |id: &str| {
        Event::now(TENANT, "test.bytes", id, &[("bytes", "5")]).at(Utc::now() - TimeDelta::days(3))
    };
    let producer = Producer::connect(&house.stack.kafka_bootstrap(), "murmur2_random")?;
    for id in ["1", "2", "3"] {
        producer.bytes("another-key", &avro::framed(&event(id)), &[]).await?;
    }
    producer.bytes(TENANT, b"\x1b[31mno event", &[]).await?;
    let all = wait::until("four dead letters", wait::PATIENCE, || async {
        let found = listed(house, &["--tenant", TENANT])?;
        Ok((found.len() == 4).then_some(found))
    })
    .await?;
    let unknown: Vec<_> = all.iter().filter(|one| one["reason"] == "unknown_tenant").collect();
    ensure!(unknown.len() == 3 && unknown.iter().all(|one| one["letters"] == 1), "{all:#?}");

    let position = |one: &Value| one["position"].as_str().unwrap_or_default().to_owned();
    let (_, shown, _) = call(house, &["dlq", "show", &position(unknown[0])])?;
    for words in ["unknown_tenant", "event subject created-too-late", "another-key", "data    bytes = 5"] {
        ensure!(shown.contains(words), "{words:?} is not in\n{shown}");
    }
    let malformed = all.iter().find(|one| one["reason"] == "malformed").context("a malformed letter")?;
    let (_, shown, _) = call(house, &["dlq", "show", &position(malformed)])?;
    ensure!(shown.contains("1b 5b 33 31") && !shown.contains('\u{1b}'), "{shown}");
    let (code, ..) = call(house, &["dlq", "show", "1/0/999999999"])?;
    ensure!(code == Some(1), "a letter that is not there was shown");

    let these = ["--reason", "unknown_tenant", "--tenant", TENANT];
    let replay = |more: &[&str]| call(house, &[&["dlq", "replay"], &these[..], more].concat());
    let (code, stdout, _) = replay(&["--dry-run"])?;
    ensure!(code == Some(1) && stdout.contains("there is no tenant created-too-late"), "{code:?} {stdout}");
    house.create_tenant_since(TENANT, "plain", "UTC", "2026-01-01")?;
    let (code, stdout, _) = replay(&["--dry-run"])?;
    ensure!(code == Some(0) && stdout.contains("would be sent"), "{code:?} {stdout}");
    let (code, _, stderr) = replay(&[])?;
    ensure!(code == Some(0) && stderr.contains("3 counted, 0 counted before"), "{code:?} {stderr}");
    house.expect_usage(TENANT, "bytes", "15", 3).await?;
    let (code, _, stderr) = replay(&[])?;
    ensure!(code == Some(0) && stderr.contains("0 counted, 3 counted before"), "{code:?} {stderr}");
    house.expect_usage(TENANT, "bytes", "15", 3).await?;
    let (code, ..) = call(house, &["dlq", "replay"])?;
    ensure!(code == Some(2), "a replay of nothing in particular is a wrong call, not {code:?}");
    house.expect_sound_ledger().await
}
