//! A restart after kill -9 with many event ids remembered: how long from the start of the process
//! to the first commit, and until everything in the topic is counted.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use weir_load::{Profile, Stream, Totals};

use crate::backlog::{METERS, profile};
use crate::house::House;
use crate::results::Measured;
use crate::settled::{compare, float, projected, records, until};
use crate::spent;

/// How much is remembered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Restart {
    /// Records counted before, at scale 1; 99 in 100 of them are ids.
    pub ids: u32,
}

const TENANTS: u32 = 10_000;
/// Records that wait when the process starts again: what is counted first.
const WAITING: u64 = 1_000;
/// Buckets that a partition's ids are sealed in: as many as days that they would have arrived on.
const BUCKETS: f64 = 36.0;
const PARTITIONS: f64 = 8.0;

const COMMITTED_AT: &str = "SELECT extract(epoch FROM max(committed_at))::float8 FROM batch";
const FIRST_COMMIT_AFTER: &str =
    "SELECT coalesce(extract(epoch FROM min(committed_at)), 0)::float8 FROM batch
    WHERE extract(epoch FROM committed_at) > $1";

/// Runs it once.
pub(crate) async fn run(restart: &Restart, scale: f64) -> Result<Vec<Measured>> {
    let mut house = House::build(TENANTS, METERS).await?;
    house.weir.set("WEIR_COUNTING__BATCH_INTERVAL_MS", 1_000);
    house.weir.set("WEIR_COUNTING__TICK_AFTER_MS", 600_000);
    // A name of its own: without one the group waits ten seconds for whoever was killed.
    house.weir.set("WEIR_KAFKA__GROUP_INSTANCE_ID", "bench");
    house.weir.set("WEIR_COUNTING__ID_FOLDER", house.folder.path().join("ids").display());
    let events = (f64::from(restart.ids) * scale).round();
    house.weir.set("WEIR_COUNTING__ID_BUCKET_MAX", (events / PARTITIONS / BUCKETS).ceil());
    let events: u64 = format!("{events:.0}").parse()?;
    let mut expected = send(&house, profile(events, TENANTS)?).await?;
    let mut all = events;
    let serving = count(&house, all).await?;
    // The most that this process ever had, all ids among it.
    let resident = spent::by(serving.0.pid()).resident_bytes_max;
    drop(serving);
    let mut measured = vec![Measured::new("memory of weir", "MB", resident / 1e6)];
    for (seed, way, folder) in [(2, "from local files", "ids"), (3, "from Kafka", "no-ids")] {
        house.weir.set("WEIR_COUNTING__ID_FOLDER", house.folder.path().join(folder).display());
        expected.merge(&send(&house, Profile { seed, ..profile(WAITING, TENANTS)? }).await?);
        all += WAITING;
        measured.extend(start_again(&house, way, all).await?);
    }
    compare(&house.ledger, &expected).await?;
    Ok(measured)
}

async fn send(house: &House, profile: Profile) -> Result<Totals> {
    let (stream, to) = (Arc::new(Stream::new(profile)?), house.to_kafka(None));
    let sending =
        tokio::task::spawn_blocking(move || weir_load::kafka::send(&stream, &to, &AtomicU64::new(0)));
    Ok(sending.await.context("fill the topic")??)
}

/// A process that has counted everything, and when it was started.
struct Counted(crate::weir::Serving, Instant);

async fn count(house: &House, all: u64) -> Result<Counted> {
    let all = i64::try_from(all).context("a number of records")?;
    let began = Instant::now();
    let mut serving = house.weir.serve("aggregator")?;
    until(&mut serving, || async { Ok(records(&house.ledger).await? >= all) }).await?;
    Ok(Counted(serving, began))
}

/// Starts it, measures, and kills it again when everything is projected.
async fn start_again(house: &House, way: &str, all: u64) -> Result<Vec<Measured>> {
    let last = float(&house.ledger, COMMITTED_AT).await?;
    let started = SystemTime::now().duration_since(UNIX_EPOCH).context("read the clock")?.as_secs_f64();
    let Counted(mut serving, began) = count(house, all).await?;
    let caught_up = began.elapsed();
    let first: f64 = sqlx::query_scalar(FIRST_COMMIT_AFTER)
        .bind(last)
        .fetch_one(&house.ledger)
        .await
        .context("ask for the first commit")?;
    projected(&house.ledger, &mut serving).await?;
    Ok(vec![
        Measured::new(format!("first commit, {way}"), "s", first - started),
        Measured::new(format!("all counted, {way}"), "s", caught_up.as_secs_f64()),
    ])
}
