//! The events of the last day of the month before, over all its hours, then that month's invoices
//! and the proof of some of them. Counting, billing and proving are timed as a user would see them.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use anyhow::{Context, Result};
use weir_load::{Profile, Stream, Totals};

use crate::backlog::profile;
use crate::billing::{METERS, bill};
use crate::house::House;
use crate::results::Measured;
use crate::settled::{compare, float, number, projected, records, until};

/// A day and what is made of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Day {
    /// Records at scale 1, duplicates among them.
    pub events: u32,
    /// Tenants, an invoice each.
    pub tenants: u32,
    /// Invoices that are proved.
    pub proved: u32,
}

/// A minute after the last day of the month before began, in milliseconds since 1970: times of
/// the load reach a minute back.
const BEGINS: &str = "SELECT (extract(epoch FROM date_trunc('month', now() AT TIME ZONE 'UTC')
    - interval '1 day' + interval '1 minute') * 1000)::float8";
const SPAN_MS: i64 = 86_400_000 - 60_000;
const USAGE_ROWS: &str = "SELECT count(*) FROM usage";
/// Numbers of documents, spread over all partitions.
const NUMBERS: &str = "SELECT number FROM invoice ORDER BY hash LIMIT $1";

/// Runs it once.
pub(crate) async fn run(day: &Day, scale: f64) -> Result<Vec<Measured>> {
    let scaled = |most: u32| format!("{:.0}", (f64::from(most) * scale).max(1.0)).parse::<u32>();
    let (events, tenants, proved) = (scaled(day.events)?, scaled(day.tenants)?, scaled(day.proved)?);
    let house = House::build_since(tenants, METERS, 1).await?;
    let expected = fill(&house, events, tenants).await?;
    let began = Instant::now();
    let mut serving = house.weir.serve("aggregator")?;
    until(&mut serving, || async { Ok(records(&house.ledger).await? >= i64::from(events)) }).await?;
    projected(&house.ledger, &mut serving).await?;
    let counted_in = began.elapsed().as_secs_f64();
    compare(&house.ledger, &expected).await?;
    drop(serving);
    let rows = number(&house.ledger, USAGE_ROWS).await?;
    let billed_in = bill(&house, tenants).await?;
    let numbers: Vec<String> =
        sqlx::query_scalar(NUMBERS).bind(i64::from(proved)).fetch_all(&house.ledger).await?;
    let mut command = vec!["verify", "--invoice"];
    command.extend(numbers.iter().map(String::as_str));
    let began = Instant::now();
    house.weir.succeed(&command)?;
    Ok(vec![
        Measured::new("counted and projected", "s", counted_in),
        Measured::new("hours of usage", "rows", format!("{rows}").parse()?),
        Measured::new("weir bill run", "s", billed_in),
        Measured::new("invoices written", "invoices/s", f64::from(tenants) / billed_in),
        Measured::new("weir verify of every tenth", "s", began.elapsed().as_secs_f64()),
    ])
}

async fn fill(house: &House, events: u32, tenants: u32) -> Result<Totals> {
    let from_ms = format!("{:.0}", float(&house.ledger, BEGINS).await?).parse().context("a time")?;
    let usual = profile(events.into(), tenants)?;
    let profile = Profile { meters: METERS, from_ms, span_ms: SPAN_MS, ..usual };
    let (stream, to) = (Stream::new(profile)?, house.to_kafka(None));
    let sending = tokio::task::spawn_blocking(move || {
        weir_load::kafka::send(&Arc::new(stream), &to, &AtomicU64::new(0))
    });
    Ok(sending.await.context("fill the topic")??)
}
