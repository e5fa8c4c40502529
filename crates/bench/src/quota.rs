//! Quota answers over HTTP at a fixed rate, asked from this process: alone, and while events are
//! counted. The loop is open: a request's time runs from the moment when it was due.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use weir_load::Stream;
use weir_load::answers::{Answered, Asking, ask};

use crate::backlog::{METERS, profile};
use crate::house::House;
use crate::open_house::OpenHouse;
use crate::percentiles;
use crate::results::Measured;
use crate::settled;

/// How much is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quota {
    /// Requests a second.
    pub rate: u32,
    /// Seconds at scale 1, alone and again beside counting.
    pub seconds: u32,
    /// Events a second that are counted the second time.
    pub events: u32,
}

const TENANTS: u32 = 10_000;
/// Tenants with a limit, which are asked about in turn.
const LIMITED: u32 = 500;
/// Asked for so long before it counts, while Kafka compiles its code and connections are opened.
const BEFORE: Duration = Duration::from_secs(10);
/// A request that waits keeps only its own connection waiting.
const CONNECTIONS: u32 = 32;

/// Runs it once.
pub(crate) async fn run(quota: &Quota, scale: f64) -> Result<Vec<Measured>> {
    let lasting = Duration::from_secs_f64((f64::from(quota.seconds) * scale).max(2.0));
    let mut open = OpenHouse::open(House::build(TENANTS, METERS).await?).await?;
    let limited: Vec<_> = (0..LIMITED).collect();
    open.limit(&limited).await?;
    let asking = Asking {
        address: open.address.clone(),
        key: open.key.clone(),
        tenants: LIMITED,
        meter: 0,
        rate: quota.rate,
        connections: CONNECTIONS,
        lasting,
    };
    answers(Asking { lasting: BEFORE, ..asking.clone() }).await?;
    let began = Instant::now();
    let mut alone = answers(asking.clone()).await?;
    let answered_in = began.elapsed().as_secs_f64();
    let mut measured = percentiles::of("answer", &mut alone.took);
    measured.push(Measured::new("answered", "requests/s", count(alone.took.len())? / answered_in));
    let late = percentiles::thousandth(&mut alone.sent_late, 990);
    measured.push(Measured::new("sent late, p99", "ms", late.as_secs_f64() * 1e3));
    let events = f64::from(quota.events) * lasting.as_secs_f64();
    let stream = Arc::new(Stream::new(profile(format!("{events:.0}").parse()?, TENANTS)?)?);
    let (load, sending) = (Arc::clone(&stream), open.to_kafka(Some(quota.events)));
    let loading =
        tokio::task::spawn_blocking(move || weir_load::kafka::send(&load, &sending, &AtomicU64::new(0)));
    let mut beside = answers(asking).await?;
    let expected = loading.await.context("send load")??;
    settled::judged(&open.house.ledger, &mut open.serving, stream.profile().events).await?;
    settled::projected(&open.house.ledger, &mut open.serving).await?;
    settled::compare(&open.house.ledger, &expected).await?;
    let what = format!("answer beside {} events/s", quota.events);
    measured.extend(percentiles::of(&what, &mut beside.took));
    Ok(measured)
}

async fn answers(asking: Asking) -> Result<Answered> {
    Ok(tokio::task::spawn_blocking(move || ask(&asking)).await.context("ask for quotas")??)
}

fn count(number: usize) -> Result<f64> {
    u32::try_from(number).map(f64::from).context("more than four billion answers")
}
