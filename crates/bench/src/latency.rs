//! How long it takes from Kafka's acknowledgement of an event until a quota answer has seen it and
//! until ClickHouse shows it, at a given rate of events.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use weir_load::{Stream, Totals};

use crate::backlog::{METERS, profile};
use crate::house::House;
use crate::open_house::OpenHouse;
use crate::percentiles;
use crate::probes::{self, Places, Probing, Seen};
use crate::results::{Measured, Results};
use crate::settled;

/// A rate of events, and how long it is kept up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Latency {
    /// Events a second.
    pub rate: Rate,
    /// Seconds at scale 1.
    pub seconds: u32,
}

/// Events a second.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rate {
    /// So many.
    Events(u32),
    /// Half of what the bench of this name has projected.
    HalfOf(&'static str),
}

const TENANTS: u32 = 10_000;
/// Tenants of the probes, beside those of the load.
const PROBED: u32 = 4;
/// One probe in so long, whichever tenant's.
const PROBE_EVERY: Duration = Duration::from_millis(20);
/// How long the load runs before anything is measured; Kafka compiles its code meanwhile.
const WARM_UP: Duration = Duration::from_secs(20);

/// Runs it once.
pub(crate) async fn run(latency: &Latency, scale: f64, kept: &Results) -> Result<Vec<Measured>> {
    let rate = events_per_second(latency.rate, kept)?;
    let seconds = (f64::from(latency.seconds) * scale).max(2.0);
    let mut open = OpenHouse::open(House::build(TENANTS + PROBED, METERS).await?).await?;
    let probed: Vec<_> = (TENANTS..TENANTS + PROBED).collect();
    open.limit(&probed).await?;
    let probing =
        Probing { tenants: probed, lasting: Duration::from_secs_f64(seconds), every: PROBE_EVERY, before: 0 };
    let lasting = WARM_UP + probing.lasting;
    let records = (f64::from(rate) * lasting.as_secs_f64()).round();
    let stream = Arc::new(Stream::new(profile(format!("{records:.0}").parse()?, TENANTS)?)?);
    let (load, sending) = (Arc::clone(&stream), open.to_kafka(Some(rate)));
    let began = Instant::now();
    let loading = tokio::task::spawn_blocking(move || {
        let sent = weir_load::kafka::send(&load, &sending, &AtomicU64::new(0));
        (sent, began.elapsed())
    });
    tokio::time::sleep(WARM_UP).await;
    let seen = probe(&places(&open), &probing).await?;
    let (sent, sent_in) = loading.await.context("send load")?;
    let mut expected = expected(&sent?);
    probes::expect(&mut expected, &probing.tenants, seen.sent);
    let behind = Instant::now();
    let all = stream.profile().events + seen.sent * u64::from(PROBED);
    settled::judged(&open.house.ledger, &mut open.serving, all).await?;
    settled::projected(&open.house.ledger, &mut open.serving).await?;
    let behind = behind.elapsed();
    settled::compare(&open.house.ledger, &expected).await?;
    let mut measured = percentiles::of("acknowledged to a quota answer", &mut seen.all_answered());
    measured.extend(percentiles::of("acknowledged to visible", &mut seen.visible.clone()));
    measured.push(Measured::new("load sent", "events/s", records / sent_in.as_secs_f64()));
    measured.push(Measured::new("behind when all was sent", "s", behind.as_secs_f64()));
    Ok(measured)
}

/// Where probes go and are looked for.
pub(crate) fn places(open: &OpenHouse) -> Places {
    Places {
        to: open.to_kafka(None),
        api: (open.address.clone(), open.key.clone()),
        clickhouse: Some(open.house.clickhouse_address()),
    }
}

/// Probes, on threads of their own.
pub(crate) async fn probe(places: &Places, probing: &Probing) -> Result<Seen> {
    let (places, probing) = (places.clone(), probing.clone());
    tokio::task::spawn_blocking(move || probes::run(&places, &probing)).await.context("probe")?
}

/// The load's totals, with room for further tenants.
fn expected(sent: &Totals) -> Totals {
    let mut expected = Totals::new(TENANTS + PROBED, METERS);
    expected.merge(sent);
    expected
}

fn events_per_second(rate: Rate, kept: &Results) -> Result<u32> {
    match rate {
        Rate::Events(events) => Ok(events),
        Rate::HalfOf(bench) => {
            let measured = kept.median(bench, "projected");
            let most = measured.with_context(|| format!("half of the maximum: run {bench} before"))?;
            format!("{:.0}", most / 2.0).parse().context("half of the maximum")
        }
    }
}
