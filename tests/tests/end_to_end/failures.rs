//! Things end while events flow; afterwards the totals are those of a plain set of ids.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use weir_tests::events::Event;
use weir_tests::house::House;
use weir_tests::kafka::{self, Producer};
use weir_tests::wait;

use crate::counting::post_batch;
use crate::quotas::set_limit;

const ROUNDS: usize = 20;
const EVENTS_A_ROUND: usize = 250;
/// How long a quota's answer may be behind the ledger on a busy machine with two cores.
const QUOTA_PATIENCE: Duration = Duration::from_secs(10);

/// Events in rounds; each round sends a tenth of the round before it again.
struct Flow {
    tenant: String,
    producer: Producer,
}

impl Flow {
    async fn start(house: &House, name: &str) -> Result<Self> {
        let tenant = house.create_tenant(name, "plain").await?;
        let producer = Producer::connect(&house.stack.kafka_bootstrap(), "murmur2_random")?;
        Ok(Self { tenant, producer })
    }

    async fn round(&self, round: usize) -> Result<()> {
        let again = EVENTS_A_ROUND / 10;
        let from = (round * EVENTS_A_ROUND).saturating_sub(again);
        let event =
            |id: usize| Event::now(&self.tenant, "test.bytes", &id.to_string(), &[("bytes", "0.000000003")]);
        let events: Vec<_> = (from..(round + 1) * EVENTS_A_ROUND).map(event).collect();
        self.producer.events(&events).await
    }

    /// Every id once, each three billionths.
    async fn expect(&self, house: &House) -> Result<()> {
        // Ids that were sent again carry another time, and are conflicts or duplicates; either
        // way each id counts once.
        let events = ROUNDS * EVENTS_A_ROUND;
        let quantity = format!("0.{:09}", events * 3);
        let quantity = quantity.trim_end_matches('0');
        house.expect_usage(&self.tenant, "bytes", quantity, i64::try_from(events)?).await
    }
}

pub(crate) async fn killed_while_events_flow(house: &mut House) -> Result<()> {
    let flow = Flow::start(house, "killed").await?;
    for round in 0..ROUNDS {
        flow.round(round).await?;
        if round % 10 == 4 {
            house.kill_and_serve().await?;
        }
    }
    flow.expect(house).await?;
    house.expect_sound_ledger().await
}

pub(crate) async fn postgres_restarts_while_events_flow(house: &mut House) -> Result<()> {
    let flow = Flow::start(house, "postgres-away").await?;
    for round in 0..ROUNDS {
        flow.round(round).await?;
        if round == ROUNDS / 4 {
            tokio::task::block_in_place(|| house.stack.postgres().kill()).context("kill Postgres")?;
            expect_unready(house).await?;
        }
        if round == ROUNDS / 2 {
            tokio::task::block_in_place(|| house.stack.postgres().restart()).context("restart Postgres")?;
        }
    }
    flow.expect(house).await?;
    ensure!(house.serving.runs()?, "weir ended when Postgres did\n{}", house.serving.tail());
    house.expect_sound_ledger().await
}

async fn expect_unready(house: &House) -> Result<()> {
    let url = format!("{}/readyz", house.settings.admin());
    wait::until("/readyz to say that Postgres is away", wait::PATIENCE, || async {
        let answer = reqwest::get(&url).await.context("ask /readyz")?;
        let (status, text) = (answer.status(), answer.text().await.unwrap_or_default());
        ensure!(status == 503 && text.to_lowercase().contains("postgres"), "{status}: {text}");
        Ok(Some(()))
    })
    .await
}

pub(crate) async fn clickhouse_dies_while_events_flow(house: &mut House) -> Result<()> {
    let flow = Flow::start(house, "clickhouse-away").await?;
    for round in 0..ROUNDS {
        flow.round(round).await?;
        if round == ROUNDS / 4 {
            tokio::task::block_in_place(|| house.stack.clickhouse().kill()).context("kill ClickHouse")?;
        }
        if round == ROUNDS / 2 {
            // Counting goes on without it.
            house.kill_and_serve_without_waiting().await?;
        }
    }
    flow.expect(house).await?;
    tokio::task::block_in_place(|| house.stack.clickhouse().restart()).context("restart ClickHouse")?;
    let query = format!("SELECT count() AS events FROM events WHERE tenant = '{}'", flow.tenant);
    let events = (ROUNDS * EVENTS_A_ROUND).to_string();
    wait::until("ClickHouse to catch up", wait::PATIENCE, || async {
        let rows = house.clickhouse(&query).await?;
        let found = rows.first().map(|row| row["events"].to_string().trim_matches('"').to_owned());
        ensure!(found.as_ref() == Some(&events), "ClickHouse holds {found:?} of {events} events");
        Ok(Some(()))
    })
    .await?;
    house.expect_sound_ledger().await
}

pub(crate) async fn kafka_away_is_503(house: &mut House) -> Result<()> {
    let tenant = house.create_tenant("kafka-away", "plain").await?;
    set_limit(house, &tenant).await?;
    let event = |id: &str| Event::now(&tenant, "test.call", id, &[("route", "/")]);
    tokio::task::block_in_place(|| house.stack.kafka().kill()).context("kill Kafka")?;
    // What was under way is given up during the first; from then on everything only waits. Three,
    // so that the outage is long enough for what it leaves behind to matter.
    let first = refused_with_retry(house, &event("1")).await;
    let (began, cpu) = (Instant::now(), house.serving.cpu()?);
    let second = refused_with_retry(house, &event("1")).await;
    let third = refused_with_retry(house, &event("1")).await;
    let (waited, used) = (began.elapsed(), house.serving.cpu()?.saturating_sub(cpu));
    tokio::task::block_in_place(|| house.stack.kafka().restart()).context("restart Kafka")?;
    first.and(second).and(third)?;
    ensure!(used < waited / 3, "{used:?} of processor while Kafka was away for {waited:?}");
    wait::until("events to be taken again", wait::PATIENCE, || async {
        let status = post_batch(house, &[event("1"), event("2")]).await?;
        Ok((status == 204).then_some(()))
    })
    .await?;
    house.expect_usage(&tenant, "calls", "2", 2).await?;
    let quota = format!("/api/v1/quota/{tenant}/calls");
    wait::until("the quota's answer to follow what is counted", QUOTA_PATIENCE, || async {
        let answer = house.get(&quota).await?;
        ensure!(answer["used"] == "2" && answer["stale"] == false, "the answer is {answer}");
        Ok(Some(()))
    })
    .await
}

async fn refused_with_retry(house: &House, event: &Event) -> Result<()> {
    const BOUND: Duration = Duration::from_secs(30);
    let request = house
        .request(Method::POST, "/api/v1/events")
        .header("content-type", "application/cloudevents+json")
        .timeout(BOUND)
        .body(event.to_json().to_string());
    let answer = request.send().await.context("an answer within 30 s")?;
    let (status, retry) = (answer.status(), answer.headers().contains_key("retry-after"));
    ensure!(status == 503 && retry, "{status}, Retry-After there: {retry}");
    Ok(())
}

/// The house has an archive, which needs a day and more.
pub(crate) async fn a_topic_that_keeps_too_little_is_refused_until_it_is_corrected(
    house: &mut House,
) -> Result<()> {
    let bootstrap = house.stack.kafka_bootstrap();
    const WORDS: &str =
        "topic weir.usage.v1 has retention.ms=3600000 (1 h), but needs retention.ms=86400000 (1 d)";
    kafka::alter(&bootstrap, "retention.ms", "3600000").await?;
    let readyz = format!("{}/readyz", house.settings.admin());
    let ask = async || {
        let answer = reqwest::get(&readyz).await.context("ask /readyz")?;
        Ok::<_, anyhow::Error>((answer.status().as_u16(), answer.text().await.unwrap_or_default()))
    };
    wait::until("/readyz to say that the topic keeps too little", wait::PATIENCE, || async {
        let (status, text) = ask().await?;
        ensure!(status == 503 && text.contains(WORDS), "{status}: {text}");
        Ok(Some(()))
    })
    .await?;
    let checked = tokio::task::block_in_place(|| house.settings.run(&["config", "check"]))?;
    let told = String::from_utf8_lossy(&checked.stdout).contains(WORDS);
    ensure!(told && checked.status.code() == Some(1), "{checked:?}");
    kafka::alter(&bootstrap, "retention.ms", "3456000000").await?;
    wait::until("/readyz to be well again", wait::PATIENCE, || async {
        Ok((ask().await?.0 == 200).then_some(()))
    })
    .await?;
    house.settings.succeed(&["config", "check"])?;
    // Topics that are not made yet have no settings, and are told.
    let elsewhere = house.settings.clone().with("WEIR_KAFKA__DEAD_LETTER_TOPIC", "not.made.yet");
    let told = elsewhere.succeed(&["config", "check"])?;
    ensure!(told.contains("`weir migrate` makes it: not.made.yet"), "{told}");
    // Where Kafka does not answer, it is not known what can be written again, and that is told.
    let astray = house.settings.clone().with("WEIR_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1");
    let rebuilt = astray.run(&["projection", "rebuild", "--from", "2099-01-01T00:00:00Z"])?;
    let words = String::from_utf8_lossy(&rebuilt.stderr);
    ensure!(rebuilt.status.success() && words.contains("not known how far back"), "{rebuilt:?}");
    Ok(())
}

pub(crate) async fn sigterm_drains(house: &mut House) -> Result<()> {
    house.serving.stop().await
}
