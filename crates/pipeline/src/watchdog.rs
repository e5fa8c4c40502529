//! Looks whether every partition moves. Where records wait and the first offset that is not
//! committed stays where it is, it says which partition, at which step, since when: in the status,
//! in a metric, in the log. So is folding that hangs, and the projection, without which counting
//! goes on. Whoever hangs cannot say so, so this only looks at what they said before.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::MissedTickBehavior;
use weir_core::{Partition, Timestamp};

use crate::clock::Clock;
use crate::metrics::PipelineMetrics;
use crate::progress::{Step, Turn};
use crate::status::{PartitionStatus, PipelineStatus, StatusSnapshot};

/// How often it looks, and so how exact it is.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A moment: for measuring, and for people.
#[derive(Clone, Copy, Debug)]
struct Moment {
    at: Instant,
    shown: Timestamp,
}

impl Moment {
    fn lasted(self, now: Self) -> Duration {
        now.at.saturating_duration_since(self.at)
    }

    fn words(self, now: Self) -> String {
        format!("since {} ({} s)", self.shown, self.lasted(now).as_secs())
    }
}

/// Since when something is as it is.
#[derive(Clone, Copy, Debug)]
struct Since<T> {
    seen: T,
    began: Moment,
}

impl<T: PartialEq> Since<T> {
    fn new(seen: T, now: Moment) -> Self {
        Self { seen, began: now }
    }

    fn follow(&mut self, seen: T, now: Moment) {
        if self.seen != seen {
            *self = Self::new(seen, now);
        }
    }
}

/// What was seen of a partition.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// The next offset, and how much was done before it is counted from.
    moved_to: Since<(i64, u64)>,
    steps: Since<u64>,
}

/// What does not move, in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Standing {
    partitions: BTreeMap<Partition, String>,
    folding: Option<String>,
    projecting: Option<String>,
}

/// Looks whether every partition moves.
#[derive(Debug)]
pub(crate) struct Watchdog {
    bound: Duration,
    partitions: BTreeMap<Partition, Seen>,
    folding: Option<Since<u64>>,
    projecting: Option<Since<u64>>,
}

impl Watchdog {
    /// Something may stand still for as long as `bound`.
    pub(crate) fn new(bound: Duration) -> Self {
        Self { bound, partitions: BTreeMap::new(), folding: None, projecting: None }
    }

    /// Looks and tells, for ever.
    pub(crate) async fn run(
        mut self,
        status: Arc<PipelineStatus>,
        metrics: Arc<PipelineMetrics>,
        clock: Clock,
    ) -> Infallible {
        let mut every = tokio::time::interval(LOOK_EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut measured = BTreeSet::new();
        loop {
            every.tick().await;
            let now = Moment { at: Instant::now(), shown: clock.now() };
            let seen = status.snapshot();
            let standing = self.look(now, &seen);
            measure(&metrics, &mut measured, &seen, &standing);
            tell(&status, standing);
        }
    }

    fn look(&mut self, now: Moment, status: &StatusSnapshot) -> Standing {
        self.partitions.retain(|partition, _| status.partitions.contains_key(partition));
        let mut standing = Standing::default();
        for (partition, status) in &status.partitions {
            if let Some(words) = self.look_at(*partition, status, now) {
                standing.partitions.insert(*partition, words);
            }
        }
        standing.folding = look_at_turn(&mut self.folding, self.bound, status.folding, now);
        standing.projecting = look_at_turn(&mut self.projecting, self.bound, status.projecting, now);
        standing
    }

    fn look_at(&mut self, partition: Partition, status: &PartitionStatus, now: Moment) -> Option<String> {
        let PartitionStatus { next_offset, step, steps, prepared, .. } = *status;
        let moved_to = (next_offset, prepared);
        let seen = self
            .partitions
            .entry(partition)
            .or_insert(Seen { moved_to: Since::new(moved_to, now), steps: Since::new(steps, now) });
        seen.moved_to.follow(moved_to, now);
        seen.steps.follow(steps, now);
        if !waits(status) {
            seen.moved_to.began = now;
        }
        let stands = seen.moved_to.began;
        (stands.lasted(now) >= self.bound).then(|| {
            format!(
                "partition {partition} stands at offset {next_offset} {}, though records wait: it has been {} {}",
                stands.words(now),
                step.words(),
                seen.steps.began.words(now)
            )
        })
    }
}

/// Whether records wait, as far as is known: what is at any other step than fetching has some, or
/// cannot know.
fn waits(status: &PartitionStatus) -> bool {
    status.step != Step::Fetching || status.lag_records() > 0
}

fn look_at_turn(seen: &mut Option<Since<u64>>, bound: Duration, turn: Turn, now: Moment) -> Option<String> {
    let seen = seen.get_or_insert(Since::new(turn.begun, now));
    seen.follow(turn.begun, now);
    let (work, partition) = turn.work?;
    let of = partition.map(|partition| format!(" of partition {partition}")).unwrap_or_default();
    (seen.began.lasted(now) >= bound).then(|| format!("{work}{of} {}", seen.began.words(now)))
}

/// 1 for what stands still, 0 for the partitions that move; nothing of those that are elsewhere.
fn measure(
    metrics: &PipelineMetrics,
    measured: &mut BTreeSet<String>,
    seen: &StatusSnapshot,
    standing: &Standing,
) {
    let now: BTreeSet<String> = seen.partitions.keys().map(ToString::to_string).collect();
    for gone in measured.difference(&now) {
        // A label that is gone already is no error here.
        drop(metrics.stalled.remove_label_values(&["counting", gone]));
    }
    for partition in seen.partitions.keys() {
        let stands = standing.partitions.contains_key(partition);
        metrics.stalled.with_label_values(&["counting", &partition.to_string()]).set(i64::from(stands));
    }
    for (part, words) in [("folding", &standing.folding), ("projecting", &standing.projecting)] {
        metrics.stalled.with_label_values(&[part, ""]).set(i64::from(words.is_some()));
    }
    *measured = now;
}

/// In the status; in the log when it begins and when it is over.
fn tell(status: &PipelineStatus, standing: Standing) {
    status.update(|status| {
        for (partition, words) in &standing.partitions {
            if !status.stalled.contains_key(partition) {
                tracing::error!(partition, words, "a partition does not move");
            }
        }
        for partition in status.stalled.keys() {
            if !standing.partitions.contains_key(partition) {
                tracing::info!(partition, "the partition moves again, or is elsewhere");
            }
        }
        if status.folding_stalled.is_none()
            && let Some(words) = &standing.folding
        {
            tracing::error!(words, "folding does not move");
        }
        if status.projecting_stalled.is_none()
            && let Some(words) = &standing.projecting
        {
            tracing::warn!(words, "the projection does not move; counting goes on");
        }
        status.stalled = standing.partitions;
        status.folding_stalled = standing.folding;
        status.projecting_stalled = standing.projecting;
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A partition as it is seen: its next offset, the end, its step, how many steps it has begun.
    type Look = (i64, i64, Step, u64);

    /// Looks at a partition every ten seconds; where it is said to stand still, the seconds since.
    fn check(looks: &[Look], expected: &[Option<&str>]) {
        let mut watchdog = Watchdog::new(Duration::from_secs(60));
        let began = Instant::now();
        let mut told = Vec::new();
        for (nth, (next_offset, high_watermark, step, steps)) in (0_u32..).zip(looks) {
            let shown = Timestamp::EPOCH.plus_millis(i64::from(nth) * 10_000);
            let now = Moment { at: began + Duration::from_secs(10) * nth, shown };
            let one = PartitionStatus {
                next_offset: *next_offset,
                high_watermark: *high_watermark,
                step: *step,
                steps: *steps,
                ..PartitionStatus::default()
            };
            let status = StatusSnapshot { partitions: [(3, one)].into(), ..StatusSnapshot::default() };
            told.push(watchdog.look(now, &status).partitions.get(&3).cloned());
        }
        for (told, expected) in told.iter().zip(expected) {
            match (told, expected) {
                (None, None) => {}
                (Some(told), Some(words)) => assert!(told.contains(words), "{words} is not in {told}"),
                _ => panic!("{told:?}, not {expected:?}"),
            }
        }
        assert_eq!(told.len(), expected.len());
    }

    #[test]
    fn what_is_idle_never_stands_still_and_what_waits_does_after_the_bound() {
        use Step::{Committing, Fetching};
        check(&[(7, 7, Fetching, 1); 12], &[None; 12]);
        let mut expected = [None; 9];
        expected[6] = Some("stands at offset 7 since 1970-01-01T00:00:00");
        expected[7] = Some("(70 s), though records wait: it has been fetching records since");
        expected[8] = Some("(80 s)");
        check(&[(7, 9, Fetching, 1); 9], &expected);
        check(
            &[(7, 7, Committing, 1); 9],
            &expected[..7].iter().copied().chain([Some("committing a batch"); 2]).collect::<Vec<_>>(),
        );
    }

    #[test]
    fn what_moves_or_was_idle_before_begins_anew() {
        use Step::{Committing, Fetching};
        let moving: Vec<Look> = (0..12).map(|nth| (nth, 100, Fetching, 1)).collect();
        check(&moving, &[None; 12]);
        let mut idle_first = vec![(7, 7, Fetching, 1); 6];
        idle_first.extend([(7, 7, Committing, 2); 7]);
        let mut expected = vec![None; 12];
        // Ten seconds before it was seen at another step it was idle.
        expected[11] =
            Some("(60 s), though records wait: it has been committing a batch since 1970-01-01T00:01:00");
        expected.push(Some("(70 s)"));
        check(&idle_first, &expected);
    }

    #[test]
    fn a_step_that_is_begun_again_and_again_does_not_move_the_partition() {
        let looks: Vec<Look> = (0..8).map(|nth| (7, 9, Step::Committing, nth)).collect();
        let mut expected = vec![None; 6];
        expected.extend([
            Some("(60 s), though records wait: it has been committing a batch since"),
            Some("(0 s)"),
        ]);
        check(&looks, &expected);
    }

    #[test]
    fn a_partition_whose_ids_are_read_again_moves_until_no_more_are_read() {
        let mut watchdog = Watchdog::new(Duration::from_secs(60));
        let began = Instant::now();
        let mut look = |seconds: u64, prepared| {
            let now = Moment { at: began + Duration::from_secs(seconds), shown: Timestamp::EPOCH };
            let one = PartitionStatus { step: Step::RecallingIds, prepared, ..PartitionStatus::default() };
            let status = StatusSnapshot { partitions: [(3, one)].into(), ..StatusSnapshot::default() };
            watchdog.look(now, &status).partitions.get(&3).cloned()
        };
        for tens in 0..12 {
            assert_eq!(look(tens * 10, tens), None);
        }
        assert_eq!(look(169, 11), None);
        assert!(look(170, 11).unwrap().contains("reading event ids again"));
    }

    #[test]
    fn a_service_that_hangs_is_told_and_one_that_waits_for_its_turn_is_not() {
        let mut watchdog = Watchdog::new(Duration::from_secs(60));
        let began = Instant::now();
        let mut look = |seconds: u64, work, begun| {
            let now = Moment { at: began + Duration::from_secs(seconds), shown: Timestamp::EPOCH };
            let folding = Turn { work, begun };
            watchdog.look(now, &StatusSnapshot { folding, ..StatusSnapshot::default() }).folding
        };
        let folding = Some(("folding usage", Some(2)));
        assert_eq!(look(0, None, 1), None);
        assert_eq!(look(100, None, 1), None);
        assert_eq!(look(101, folding, 2), None);
        assert_eq!(look(160, folding, 2), None);
        assert!(look(161, folding, 2).unwrap().starts_with("folding usage of partition 2 since"));
        assert_eq!(look(162, folding, 3), None);
    }
}
