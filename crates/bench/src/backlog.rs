//! A topic that is full before Weir starts, counted to its end: rate, CPU by process, bytes written
//! by each store. The totals must be right, else nothing was measured.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use sqlx::PgPool;
use weir_load::{Profile, Stream, Totals};

use crate::house::House;
use crate::results::Measured;
use crate::settled::{compare, float, number, projected, records, until};
use crate::spent::Spent;

/// How a backlog is made and counted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backlog {
    /// Records at scale 1.
    pub events: u32,
    /// Active tenants.
    pub tenants: u32,
    /// How long a batch is gathered.
    pub commit_interval_ms: u32,
    /// Whether a snapshot is held open meanwhile, as a backup does.
    pub snapshot: bool,
}

/// Meters of the usual load.
pub(crate) const METERS: u32 = 3;
/// How often progress is told.
const SHOWN_EVERY: Duration = Duration::from_secs(5);

const TAKEN: &str = "SELECT count(*) FROM journal_partition WHERE owned_at IS NOT NULL";
/// Seconds since 1970 of the first taking and of the last commit, and the WAL's position.
const TAKEN_AT: &str = "SELECT extract(epoch FROM min(owned_at))::float8 FROM journal_partition";
const COMMITTED_AT: &str = "SELECT extract(epoch FROM max(committed_at))::float8 FROM batch";
const WAL: &str = "SELECT (pg_current_wal_lsn() - '0/0')::float8";
/// Runs it once in a house of its own.
pub(crate) async fn run(backlog: &Backlog, scale: f64) -> Result<Vec<Measured>> {
    let events = (f64::from(backlog.events) * scale).round();
    let mut house = House::build(backlog.tenants, METERS).await?;
    house.weir.set("WEIR_COUNTING__BATCH_INTERVAL_MS", backlog.commit_interval_ms);
    // No ticks while the end of the backlog is looked for.
    house.weir.set("WEIR_COUNTING__TICK_AFTER_MS", 600_000);
    let (expected, loaded) = fill(&house, backlog, format!("{events:.0}").parse()?).await?;
    let snapshot = if backlog.snapshot { Some(hold_snapshot(&house.ledger).await?) } else { None };
    let mut measured = count(&house, events).await?;
    drop(snapshot);
    compare(&house.ledger, &expected).await?;
    measured.push(Measured::new("load sent", "events/s", events / loaded.as_secs_f64()));
    Ok(measured)
}

async fn fill(house: &House, backlog: &Backlog, events: u64) -> Result<(Totals, Duration)> {
    let stream = Arc::new(Stream::new(profile(events, backlog.tenants)?)?);
    let to = house.to_kafka(None);
    let began = Instant::now();
    let sending =
        tokio::task::spawn_blocking(move || weir_load::kafka::send(&stream, &to, &AtomicU64::new(0)));
    let totals = sending.await.context("fill the topic")??;
    eprintln!("  {events} records of {} tenants in the topic", totals.active_tenants());
    Ok((totals, began.elapsed()))
}

/// The usual load: event times in the hour before now.
pub(crate) fn profile(events: u64, tenants: u32) -> Result<Profile> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("read the clock")?;
    let span_ms = 3_600_000;
    Ok(Profile {
        events,
        tenants,
        skew: 1.0,
        meters: METERS,
        dimensions: 4,
        duplicates_ppm: 10_000,
        late_ppm: 0,
        seed: 1,
        from_ms: i64::try_from(now.as_millis()).context("read the clock")? - span_ms,
        span_ms,
    })
}

/// A transaction that sees the ledger as it is now, until it is dropped.
async fn hold_snapshot(ledger: &PgPool) -> Result<sqlx::Transaction<'static, sqlx::Postgres>> {
    let mut snapshot =
        ledger.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ").await.context("hold a snapshot")?;
    sqlx::query("SELECT count(*) FROM usage").execute(&mut *snapshot).await.context("hold a snapshot")?;
    Ok(snapshot)
}

/// Starts Weir on the full topic and measures until everything is settled.
async fn count(house: &House, events: f64) -> Result<Vec<Measured>> {
    let mut serving = house.weir.serve("aggregator")?;
    let spawned = Instant::now();
    until(&mut serving, || async { Ok(number(&house.ledger, TAKEN).await? > 0) }).await?;
    let (before, wal_before) = (house.spent(&serving), float(&house.ledger, WAL).await?);
    let starting = spawned.elapsed();
    let mut shown = Instant::now();
    until(&mut serving, || {
        let show = shown.elapsed() > SHOWN_EVERY;
        if show {
            shown = Instant::now();
        }
        async move {
            let counted = records(&house.ledger).await?;
            if show {
                eprintln!("  {counted} counted");
            }
            Ok(format!("{counted}").parse::<f64>()? >= events)
        }
    })
    .await?;
    projected(&house.ledger, &mut serving).await?;
    let settled = SystemTime::now().duration_since(UNIX_EPOCH).context("read the clock")?.as_secs_f64();
    let (after, wal_after) = (house.spent(&serving), float(&house.ledger, WAL).await?);
    let began = float(&house.ledger, TAKEN_AT).await?;
    let committed = float(&house.ledger, COMMITTED_AT).await?;
    let mut measured = vec![
        Measured::new("committed", "events/s", events / (committed - began)),
        Measured::new("projected", "events/s", events / (settled - began)),
    ];
    measured.extend(used(&before, &after, events));
    let read_again = house.weir.counter("weir_projection_read_again_rows_total")?;
    measured.push(Measured::new("read again", "rows/event", read_again / events));
    measured.push(Measured::new("WAL", "bytes/event", (wal_after - wal_before) / events));
    measured.push(Measured::new("until the first partition is taken", "s", starting.as_secs_f64()));
    Ok(measured)
}

/// CPU and bytes of each process, by event.
fn used(before: &[(&'static str, Spent)], after: &[(&'static str, Spent)], events: f64) -> Vec<Measured> {
    let spent: Vec<_> =
        before.iter().zip(after).map(|((name, before), (_, after))| (*name, after.since(*before))).collect();
    let cpu = spent.iter().map(|(name, spent)| {
        Measured::new(format!("CPU of {name}"), "µs/event", spent.cpu_seconds * 1e6 / events)
    });
    let written = spent.iter().map(|(name, spent)| {
        Measured::new(format!("written by {name}"), "bytes/event", spent.written_bytes / events)
    });
    let memory = spent.first().map(|(name, spent)| {
        Measured::new(format!("memory of {name}"), "MB", spent.resident_bytes_max / 1e6)
    });
    cpu.chain(written).chain(memory).collect()
}
