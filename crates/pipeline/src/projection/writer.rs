//! The task that writes to ClickHouse. An insert is tried until it is there, with the same
//! rows; only then does the ledger hear of it.

use std::sync::Arc;
use std::time::Duration;

use weir_backends::StoreError;
use weir_backends::ledger::partition::Progress;
use weir_backends::projection::{EventRow, RollupRow};
use weir_core::{Partition, Position};

use super::catch_up::catch_up;
use super::filling::{follow, look_after};
use super::purge::purge;
use super::queue::{INSERT_ROWS_MAX, whole};
use super::rounds::{Pace, Rounds};
use super::sweep::Sweep;
use crate::counting::retry::{Every, delays};
use crate::counting::shared::Shared;
use crate::world::{Ledger, ProjectionStore, Runtime, World};

/// How often rollups are written, and the ledger is asked whether something was moved back. Under
/// load they are written at most a quarter of the time: each time has fewer keys than events, the
/// longer it comes after the last. Where everything is folded, nothing is waited for.
const ROLLUPS: Pace = Pace { rest: 3, least: Duration::from_millis(900), most: Duration::from_secs(5) };
/// Under load events are written half of the time: each insert makes a part that is merged later,
/// and few and large ones cost least. They rest at most so long.
const EVENTS_REST_MAX: Duration = Duration::from_secs(1);
/// How often the mark is looked for.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How often rows that were set aside are tried again.
const ASIDE_AGAIN_AFTER: Duration = Duration::from_secs(10);

/// Writes, and measures what waits meanwhile, for ever.
pub(crate) async fn run<W: World>(shared: Arc<Shared<W>>, projection: W::Projection) {
    let measuring = Arc::clone(&shared);
    tokio::select! {
        biased;
        () = write(shared, projection) => {}
        () = measure(measuring) => {}
    }
}

/// What waits, also while an insert does.
async fn measure<W: World>(shared: Arc<Shared<W>>) {
    let mut every = Every::new(&shared.runtime, Duration::from_millis(500));
    loop {
        every.tick().await;
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let waiting = count(shared.projection.rows());
        shared.metrics.queue_records.with_label_values(&["projection"]).set(waiting);
        let now = shared.runtime.now().millis();
        let delay_ms = shared.projection.waiting_since().map_or(0, |since| now.saturating_sub(since));
        let delay = Duration::from_millis(u64::try_from(delay_ms).unwrap_or_default());
        shared.metrics.projection_delay_seconds.set(delay.as_secs_f64());
        let aside: Vec<String> = shared.projection.aside().into_iter().map(|(_, words)| words).collect();
        shared.metrics.projection_set_aside.set(count(aside.len()));
        shared.status.update(|status| status.set_aside = aside);
    }
}

async fn write<W: World>(shared: Arc<Shared<W>>, projection: W::Projection) {
    // Until it is known otherwise, ClickHouse will take what it is given.
    shared.projection.moves(true);
    shared.projection.asking(Some(shared.runtime.elapsed()));
    patiently(&shared, || look_after(&shared, &projection)).await;
    shared.projection.asking(None);
    shared.projection.moves(true);
    let period = Duration::from_millis(shared.settings.projection_interval_ms.max(10));
    let mut every = Every::new(&shared.runtime, period);
    let now = shared.runtime.elapsed();
    let (mut tried_aside_at, mut looked_at) = (now, now);
    let mut rollups = Rollups { rounds: Rounds::new(ROLLUPS, now), whole_at: None };
    let mut events = Events { rest: Duration::ZERO, ended_at: now, waited: 0 };
    let mut sweep = Sweep::new(now);
    loop {
        shared.status.projecting(None);
        every.tick().await;
        if shared.since(tried_aside_at) >= ASIDE_AGAIN_AFTER {
            tried_aside_at = shared.runtime.elapsed();
            try_aside(&shared, &projection).await;
        }
        bring(&shared, &projection, &mut events).await;
        if shared.since(looked_at) >= LOOK_EVERY {
            looked_at = shared.runtime.elapsed();
            shared.status.projecting(Some(("looking what ClickHouse holds", None)));
            said(&shared, look_after(&shared, &projection).await);
        }
        sweep.go_on(&shared, &projection, |done| said(&shared, done)).await;
        rollups.go_on(&shared, &projection).await;
    }
}

/// The rounds in which rollups are written, partition by partition.
struct Rollups {
    rounds: Rounds<Partition>,
    /// How many batches there were when a round began with everything folded.
    whole_at: Option<u64>,
}

impl Rollups {
    async fn go_on<W: World>(&mut self, shared: &Shared<W>, projection: &W::Projection) {
        if !self.rounds.goes_on() {
            let all_folded = shared.all_folded();
            let lacks_all = all_folded.is_some() && all_folded != self.whole_at;
            if !self.rounds.has_rested(shared.runtime.elapsed()) && !lacks_all {
                return;
            }
            self.whole_at = all_folded;
            said(shared, follow(shared).await.map(|_| ()));
            self.rounds.begin(shared.projection.partitions());
        }
        while let Some(partition) = self.rounds.next(shared.runtime.elapsed()) {
            shared.status.projecting(Some(("writing rollups", Some(partition))));
            said(shared, roll_up(shared, projection, partition).await);
        }
    }
}

/// Purges, writes what waits, and brings up what is behind.
async fn bring<W: World>(shared: &Arc<Shared<W>>, projection: &W::Projection, events: &mut Events) {
    for partition in shared.projection.partitions() {
        shared.status.projecting(Some(("removing rows that the ledger does not know", Some(partition))));
        said(shared, purge(shared, projection, partition).await);
    }
    events.go_on(shared, projection).await;
    for partition in shared.projection.partitions() {
        let reached = shared.projection.reached(partition);
        // What is still to be purged is brought up in the next round.
        if reached.is_some_and(|reached| reached.behind && reached.purge_from.is_none()) {
            shared.status.projecting(Some(("bringing up events", Some(partition))));
            said(shared, catch_up(shared, projection, partition).await);
            // Nobody else falls behind meanwhile.
            events.go_on(shared, projection).await;
        }
    }
}

fn said<W: World>(shared: &Shared<W>, done: Result<(), StoreError>) {
    if let Err(error) = done {
        trouble(shared, &error);
    }
}

fn trouble<W: World>(shared: &Shared<W>, error: &StoreError) {
    let words = error.to_string();
    shared.projection.moves(false);
    shared.status.update(|status| {
        if status.projection.as_deref() != Some(&words) {
            tracing::warn!(%error, "the projection waits; counting goes on");
            status.projection = Some(words);
        }
    });
}

/// Tries until it is done. A permanent refusal is tried again, too, and said: the rows are
/// in the journal, nothing is lost.
async fn patiently<W: World, F: Future<Output = Result<(), StoreError>>>(
    shared: &Shared<W>,
    mut work: impl FnMut() -> F,
) {
    let mut waits = delays(&shared.runtime);
    while let Err(error) = work().await {
        trouble(shared, &error);
        shared.runtime.sleep(waits.next().unwrap_or_default()).await;
    }
    shared.status.update(|status| status.projection = None);
}

/// Tries rows again that were set aside.
async fn try_aside<W: World>(shared: &Shared<W>, projection: &W::Projection) {
    for (row, _) in shared.projection.aside() {
        if let Err(error) = projection.insert_events(std::slice::from_ref(&row)).await {
            if error.is_refusal() {
                continue;
            }
            return trouble(shared, &error);
        }
        shared.projection.take_back(&row);
        let Position { partition, offset, .. } = row.position;
        tracing::info!(partition, offset, "a row set aside is projected");
        let Some(reached) = shared.projection.reached(partition) else { continue };
        let progress = shared.projection.progress(partition, reached);
        patiently(shared, || shared.ledger.advance_projected(std::slice::from_ref(&progress))).await;
    }
}

/// The inserts of what waits.
struct Events {
    /// How long after the last one the next begins.
    rest: Duration,
    ended_at: Duration,
    /// How many rows waited when it was looked last.
    waited: usize,
}

impl Events {
    /// Inserts, unless it is time to rest: more rows have come, and there is room for others.
    async fn go_on<W: World>(&mut self, shared: &Shared<W>, projection: &W::Projection) {
        let (began, rows) = (shared.runtime.elapsed(), shared.projection.rows());
        let earlier = std::mem::replace(&mut self.waited, rows);
        if shared.since(self.ended_at) < self.rest && rows != earlier && rows < INSERT_ROWS_MAX {
            return;
        }
        write_waiting(shared, projection).await;
        self.rest = shared.since(began).min(EVENTS_REST_MAX);
        self.ended_at = shared.runtime.elapsed();
    }
}

async fn write_waiting<W: World>(shared: &Shared<W>, projection: &W::Projection) {
    let (rows, moved) = shared.projection.take();
    if moved.is_empty() {
        return;
    }
    shared.status.projecting(Some(("inserting events", None)));
    insert_events(shared, projection, &rows, |partition| moved.get(&partition).map(|moved| moved.from)).await;
    shared.projection.written();
    let progress = moved.iter().map(|(at, moved)| shared.projection.progress(*at, moved.reached));
    let progress: Vec<_> = progress.collect();
    patiently(shared, || shared.ledger.advance_projected(&progress)).await;
}

/// Inserts rows, patiently. What ClickHouse refuses for good is halved until one row is left,
/// which is set aside (invariant 11). `from` says where a batch of a partition begins, at or
/// before the first of its rows.
pub(super) async fn insert_events<W: World>(
    shared: &Shared<W>,
    projection: &W::Projection,
    rows: &[EventRow],
    from: impl Fn(Partition) -> Option<i64>,
) {
    let started = shared.runtime.elapsed();
    let mut parts = vec![rows];
    let mut waits = delays(&shared.runtime);
    while let Some(part) = parts.pop().filter(|part| !part.is_empty()) {
        shared.projection.asking(Some(shared.runtime.elapsed()));
        let inserted = projection.insert_events(part).await;
        shared.projection.asking(None);
        shared.projection.moves(inserted.is_ok());
        let Err(error) = inserted else { continue };
        match part {
            [row] if error.is_refusal() => {
                let Position { partition, offset, .. } = row.position;
                let begin = from(partition).unwrap_or(offset);
                if shared.projection.set_aside(row, begin, &error.to_string()) {
                    tracing::error!(partition, offset, %error, "a counted event is not projected");
                    continue;
                }
            }
            _ if error.is_refusal() => {
                let (head, tail) = part.split_at(part.len() / 2);
                parts.extend([tail, head]);
                continue;
            }
            _ => {}
        }
        trouble(shared, &error);
        shared.runtime.sleep(waits.next().unwrap_or_default()).await;
        // Without its table nothing can be inserted, however often.
        if !error.is_transient() {
            said(shared, look_after(shared, projection).await);
        }
        parts.push(part);
    }
    if !rows.is_empty() {
        shared.status.update(|status| status.projection = None);
        measured(shared, "events_raw", started, rows.len());
    }
}

fn measured<W: World>(shared: &Shared<W>, table: &str, started: Duration, rows: usize) {
    shared.metrics.insert_seconds.with_label_values(&[table]).observe(shared.since(started).as_secs_f64());
    shared.metrics.insert_rows.with_label_values(&[table]).inc_by(u64::try_from(rows).unwrap_or_default());
}

/// Writes the totals that the rollups lack.
async fn roll_up<W: World>(
    shared: &Shared<W>,
    projection: &W::Projection,
    partition: Partition,
) -> Result<(), StoreError> {
    let Some(reached) = shared.projection.reached(partition) else { return Ok(()) };
    if reached.purge_from.is_some() {
        return Ok(());
    }
    while let Some(mut pending) = shared.ledger.pending_rollup(partition).await? {
        let totals = std::mem::take(&mut pending.totals);
        let row = |total| RollupRow::of(&pending, total, reached.epoch);
        let rows: Vec<_> = totals.into_iter().map(row).collect();
        if !rows.is_empty() {
            let started = shared.runtime.elapsed();
            projection.insert_rollups(&rows).await?;
            measured(shared, "usage_hourly_raw", started, rows.len());
        }
        let progress = Progress { to: pending.to, ..whole(partition, reached) };
        if !shared.ledger.advance_rolled(&progress).await? {
            break;
        }
    }
    Ok(())
}
