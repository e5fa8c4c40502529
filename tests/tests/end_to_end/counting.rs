//! Events over HTTP and straight to Kafka, counted once each.

use anyhow::{Result, ensure};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use weir_tests::events::Event;
use weir_tests::house::House;
use weir_tests::kafka::Producer;

const EVENTS: &str = "/api/v1/events";

/// Sends a batch and returns the status.
pub(crate) async fn post_batch(house: &House, events: &[Event]) -> Result<StatusCode> {
    let body = Value::from_iter(events.iter().map(Event::to_json)).to_string();
    let request =
        house.request(Method::POST, EVENTS).header("content-type", "application/cloudevents-batch+json");
    Ok(request.body(body).send().await?.status())
}

async fn post_one(house: &House, event: &Event) -> Result<StatusCode> {
    let request = house.request(Method::POST, EVENTS).header("content-type", "application/cloudevents+json");
    Ok(request.body(event.to_json().to_string()).send().await?.status())
}

async fn post_binary(house: &House, event: &Event) -> Result<StatusCode> {
    let request = house
        .request(Method::POST, EVENTS)
        .header("content-type", "application/json")
        .header("ce-specversion", "1.0")
        .header("ce-id", &event.id)
        .header("ce-source", &event.source)
        .header("ce-type", &event.event_type)
        .header("ce-subject", &event.tenant);
    Ok(request.body(event.to_json()["data"].to_string()).send().await?.status())
}

pub(crate) async fn an_event_is_counted_once_however_often_it_is_sent(house: &mut House) -> Result<()> {
    let tenant = house.create_tenant("once", "plain").await?;
    let call = |id: &str| Event::now(&tenant, "test.call", id, &[("route", "/")]);
    let (first, second, third) = (call("1"), call("2"), call("3"));
    let answers = [
        post_one(house, &first).await?,
        post_one(house, &first).await?,
        post_batch(house, &[first.clone(), second.clone(), second]).await?,
        post_binary(house, &third).await?,
        post_binary(house, &third).await?,
    ];
    ensure!(answers.iter().all(|status| *status == StatusCode::NO_CONTENT), "not all were 204: {answers:?}");
    house.expect_usage(&tenant, "calls", "3", 3).await
}

pub(crate) async fn every_aggregation_counts_what_it_says(house: &mut House) -> Result<()> {
    let tenant = house.create_tenant("meters", "plain").await?;
    let table = [
        ("test.bytes", "bytes", "0.1"),
        ("test.bytes", "bytes", "0.2"),
        ("test.bytes", "bytes", "1e-07"),
        ("test.rounded", "value", "0.30000000000000004"),
        ("test.user", "user", "ada"),
        ("test.user", "user", "bob"),
        ("test.user", "user", "ada"),
        ("test.level", "level", "7"),
        ("test.level", "level", "9.5"),
        ("test.level", "level", "8"),
    ];
    let now = chrono::Utc::now();
    let events: Vec<_> = table
        .iter()
        .enumerate()
        .map(|(at, (kind, name, value))| Event::now(&tenant, kind, &at.to_string(), &[(name, value)]).at(now))
        .collect();
    ensure!(post_batch(house, &events).await? == StatusCode::NO_CONTENT, "the batch was not taken whole");
    house.expect_usage(&tenant, "bytes", "0.3000001", 3).await?;
    house.expect_usage(&tenant, "rounded", "0.3", 1).await?;
    house.expect_usage(&tenant, "users", "2", 3).await?;
    house.expect_usage(&tenant, "level", "9.5", 3).await
}

pub(crate) async fn kafka_takes_avro_and_json(house: &mut House) -> Result<()> {
    let tenant = house.create_tenant("straight", "plain").await?;
    let producer = Producer::connect(&house.stack.kafka_bootstrap(), "murmur2_random")?;
    let event = |id: usize| Event::now(&tenant, "test.bytes", &id.to_string(), &[("bytes", "2.5")]);
    let events: Vec<_> = (0..200).map(event).collect();
    producer.events(&events).await?;
    producer.events(&events[..50]).await?;
    for event in (200..220).map(event) {
        producer.json(&event).await?;
    }
    // The same event over HTTP is the same event.
    ensure!(post_batch(house, &events[..3]).await? == StatusCode::NO_CONTENT, "the batch was not taken");
    house.expect_usage(&tenant, "bytes", "550", 220).await
}

pub(crate) async fn another_partitioner_is_forwarded(house: &mut House) -> Result<()> {
    let producer = Producer::connect(&house.stack.kafka_bootstrap(), "consistent")?;
    let mut tenants = Vec::new();
    for name in ["elsewhere-a", "elsewhere-b", "elsewhere-c", "elsewhere-d"] {
        let tenant = house.create_tenant(name, "plain").await?;
        let call = |id: usize| Event::now(&tenant, "test.call", &id.to_string(), &[("route", "/")]);
        producer.events(&(0..25).map(call).collect::<Vec<_>>()).await?;
        tenants.push(tenant);
    }
    for tenant in &tenants {
        house.expect_usage(tenant, "calls", "25", 25).await?;
    }
    let [_, _, _, _, forwarded, _] = house.conservation().await?;
    ensure!(forwarded > 0, "no record was forwarded");
    Ok(())
}

pub(crate) async fn everything_read_is_accounted_for(house: &mut House) -> Result<()> {
    house.expect_sound_ledger().await?;
    let [read, accepted, duplicate, rejected, forwarded, control] = house.conservation().await?;
    println!(
        "  read {read} = accepted {accepted} + duplicate {duplicate} + rejected {rejected} \
         + forwarded {forwarded} + control {control}"
    );
    ensure!(read == accepted + duplicate + rejected + forwarded + control, "the counts do not add up");
    ensure!(
        [accepted, duplicate, rejected, forwarded, control].iter().all(|count| *count > 0),
        "one is zero"
    );
    Ok(())
}
