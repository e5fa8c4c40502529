//! What bad input gets: answers over HTTP, dead letters from Kafka; good events beside it count.

use anyhow::{Context, Result, ensure};
use chrono::{TimeDelta, Utc};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use weir_tests::avro;
use weir_tests::events::Event;
use weir_tests::house::House;
use weir_tests::kafka::{self, Producer};
use weir_tests::wait;

const EVENTS: &str = "/api/v1/events";
const BATCH: &str = "application/cloudevents-batch+json";
const ONE: &str = "application/cloudevents+json";

async fn post(house: &House, content_type: &str, body: Vec<u8>) -> Result<(u16, String)> {
    let request = house.request(Method::POST, EVENTS).header("content-type", content_type).body(body);
    let answer = request.send().await.context("send events")?;
    let kind = answer.headers().get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    Ok((answer.status().as_u16(), kind.to_owned()))
}

pub(crate) async fn http_answers(house: &mut House) -> Result<()> {
    let tenant = house.create_tenant("refused", "plain").await?;
    let good = Event::now(&tenant, "test.call", "1", &[("route", "/")]).to_json();
    let with = |name: &str, value: Value| {
        let mut event = good.clone();
        event[name] = value;
        event.to_string().into_bytes()
    };
    let bytes = |number: &str| {
        let event = Event::now(&tenant, "test.bytes", number, &[]).to_json().to_string();
        event.replace("\"data\":{}", &format!("\"data\":{{\"bytes\":{number}}}")).into_bytes()
    };
    let table = [
        ("no JSON", ONE, b"{\"specversion\"".to_vec(), 400),
        ("an array that is none", BATCH, b"17".to_vec(), 400),
        ("another content type", "text/csv", b"a,b".to_vec(), 415),
        ("no id", ONE, with("id", Value::Null), 422),
        ("an id of nothing", ONE, with("id", "".into()), 422),
        ("a NUL in an id", ONE, with("id", "a\u{0}b".into()), 422),
        ("a subject that is no tenant's name", ONE, with("subject", "Not A Tenant!".into()), 422),
        ("a dimension of 5 kB", ONE, with("data", json!({"route": "x".repeat(5_000)})), 422),
        ("a number with 40 digits", ONE, bytes(&"9".repeat(40)), 422),
        ("ten decimals", ONE, bytes("0.1234567891"), 422),
        ("NaN as text", ONE, bytes("\"NaN\""), 422),
        ("a good event", ONE, good.to_string().into_bytes(), 204),
    ];
    let mut wrong = Vec::new();
    for (what, content_type, body, expected) in table {
        let (status, kind) = post(house, content_type, body).await?;
        let problem = matches!(expected, 400 | 415);
        if status != expected || (problem && !kind.starts_with("application/problem+json")) {
            wrong.push(format!("{what}: {status} ({kind}), not {expected}"));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("; "));
    expect_too_large(house).await?;
    house.expect_usage(&tenant, "calls", "1", 1).await
}

/// Announces a body over the limit and sends nothing of it: the answer must come all the same.
/// A client that sends on may find the connection closed before it reads the answer.
async fn expect_too_large(house: &House) -> Result<()> {
    let api = house.settings.api();
    let address = api.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.context("connect to the API")?;
    let head = format!(
        "POST {EVENTS} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\nContent-Type: {BATCH}\r\n\
         Content-Length: 1000000000\r\nConnection: close\r\n\r\n",
        house.platform_key
    );
    stream.write_all(head.as_bytes()).await.context("send a head")?;
    let mut answer = [0; 4_096];
    let length = tokio::time::timeout(wait::PATIENCE, stream.read(&mut answer)).await??;
    let answer = String::from_utf8_lossy(&answer[..length]).to_lowercase();
    let right = answer.starts_with("http/1.1 413") && answer.contains("application/problem+json");
    ensure!(right, "a body over the limit is answered {answer}");
    Ok(())
}

pub(crate) async fn one_bad_event_among_good_ones(house: &mut House) -> Result<()> {
    let tenant = house.create_tenant("mixed", "plain").await?;
    let call = |id: &str| Event::now(&tenant, "test.call", id, &[("route", "/")]).to_json();
    let body = json!([call("1"), call(""), call("3")]).to_string();
    let request = house.request(Method::POST, EVENTS).header("content-type", BATCH).body(body);
    let answer = request.send().await?;
    let status = answer.status();
    let json: Value = serde_json::from_str(&answer.text().await?)?;
    ensure!(status == 202, "{status}, not 202: {json}");
    let rejected = json["rejected"].as_array().context("no list of rejected events")?;
    ensure!(rejected.len() == 1 && rejected[0]["index"] == 1, "not the second one is named: {json}");
    ensure!(json["accepted"] == 2, "not two are accepted: {json}");
    house.expect_usage(&tenant, "calls", "2", 2).await
}

pub(crate) async fn keys_and_tenants(house: &mut House) -> Result<()> {
    let (own, other) =
        (house.create_tenant("keyed", "plain").await?, house.create_tenant("not-keyed", "plain").await?);
    let arguments = [
        "key",
        "create",
        "--name",
        "gateway",
        "--tenant",
        &own,
        "--scope",
        "events:write",
        "--source-prefix",
        "//tests/",
    ];
    let key = house.settings.succeed(&arguments)?.trim().to_owned();
    let event = |tenant: &str, id: &str, source: &str| {
        let event = Event::now(tenant, "test.call", id, &[("route", "/")]);
        Event { source: source.to_owned(), ..event }.to_json().to_string()
    };
    let table = [
        ("no key", None, event(&own, "1", "//tests/a"), 401),
        ("a wrong key", Some("weir_test_nobody_nothing"), event(&own, "1", "//tests/a"), 401),
        ("its own tenant", Some(key.as_str()), event(&own, "1", "//tests/a"), 204),
        ("another tenant", Some(key.as_str()), event(&other, "1", "//tests/a"), 403),
        ("another source", Some(key.as_str()), event(&own, "2", "//elsewhere"), 403),
    ];
    let mut wrong = Vec::new();
    for (what, key, body, expected) in table {
        let mut request = house.anonymous(Method::POST, EVENTS).header("content-type", ONE).body(body);
        if let Some(key) = key {
            request = request.bearer_auth(key);
        }
        let answer = request.send().await?;
        let status = answer.status().as_u16();
        if status != expected {
            wrong.push(format!("{what}: {status}, not {expected}: {}", answer.text().await?));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("; "));
    house.expect_usage(&own, "calls", "1", 1).await
}

pub(crate) async fn dead_letters(house: &mut House) -> Result<()> {
    let tenant = house.create_tenant("letters", "plain").await?;
    let event = |id: &str| Event::now(&tenant, "test.bytes", id, &[("bytes", "1")]);
    let framed = avro::framed(&event("cut"));
    let mut over = avro::framed(&event("over"));
    over.push(7);
    let mut unknown_schema = framed.clone();
    unknown_schema[1..5].copy_from_slice(&999_999_u32.to_be_bytes());
    let bad =
        |id: &str, value: &str| avro::framed(&Event::now(&tenant, "test.bytes", id, &[("bytes", value)]));
    let stranger = Event { tenant: "nobody-knows".to_owned(), ..event("stranger") };
    let days = |days| Utc::now() + TimeDelta::days(days);
    let table = [
        ("no format", b"hello".to_vec(), "malformed"),
        ("ten megabytes of zeros", vec![0; 10_000_000], "oversized"),
        ("Avro cut short", framed[..framed.len() - 3].to_vec(), "malformed"),
        ("Avro with a byte left over", over, "malformed"),
        ("an unknown schema", unknown_schema, "unknown_schema"),
        ("36 days old", avro::framed(&event("old").at(days(-36))), "too_late"),
        ("two days ahead", avro::framed(&event("ahead").at(days(2))), "in_future"),
        ("a NUL in its id", avro::framed(&event("a\u{0}b")), "invalid_event"),
        ("40 digits", bad("digits", &"9".repeat(40)), "invalid_value"),
        ("ten decimals", bad("decimals", "0.1234567891"), "invalid_value"),
        ("an unknown tenant", avro::framed(&stranger), "unknown_tenant"),
    ];
    let producer = Producer::connect(&house.stack.kafka_bootstrap(), "murmur2_random")?;
    for (what, value, _) in &table {
        let key = if *what == "an unknown tenant" { "nobody-knows" } else { &tenant };
        producer.bytes(key, value, &[("weir-test", what)]).await.with_context(|| format!("send {what}"))?;
    }
    producer.event(&event("after all of them")).await?;
    house.expect_usage(&tenant, "bytes", "1", 1).await?;
    let mut expected: Vec<_> = table.iter().map(|(what, _, code)| format!("{what}: {code}")).collect();
    expected.sort();
    let bootstrap = house.stack.kafka_bootstrap();
    wait::until("the dead letters", wait::PATIENCE, || async {
        let letters = tokio::task::block_in_place(|| kafka::read_all(&bootstrap, kafka::DEAD_LETTERS))?;
        let header = |letter: &kafka::Read, name: &str| letter.headers.get(name).cloned().unwrap_or_default();
        let ours = letters.iter().filter(|letter| letter.headers.contains_key("weir-test"));
        let mut found: Vec<_> = ours
            .map(|letter| format!("{}: {}", header(letter, "weir-test"), header(letter, "weir-dlq-code")))
            .collect();
        found.sort();
        found.dedup();
        ensure!(found == expected, "the dead letters are {found:#?}");
        let placed = letters.iter().all(|letter| letter.headers.contains_key("weir-dlq-offset"));
        ensure!(placed, "a dead letter does not say where it stood");
        Ok(Some(()))
    })
    .await
}
