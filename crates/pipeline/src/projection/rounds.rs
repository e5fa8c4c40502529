//! Work that goes round and round the partitions beside the inserts of events: a turn ends early,
//! so that events do not wait for it, and between rounds it rests in proportion to its work.

use std::collections::VecDeque;
use std::time::Duration;

/// Events that wait are written after so long, though not every partition had its turn.
const TURN_MAX: Duration = Duration::from_millis(150);

/// How often rounds begin.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// A round is followed by so many times what it took.
    pub(super) rest: u32,
    /// But at least by this.
    pub(super) least: Duration,
    /// And at most by this.
    pub(super) most: Duration,
}

/// Rounds of one kind of work.
#[derive(Debug)]
pub(super) struct Rounds<T> {
    pace: Pace,
    /// What has not had its turn in this round.
    due: VecDeque<T>,
    /// How long after the last round the next one begins.
    rest: Duration,
    ended_at: Duration,
    /// How long this round has worked, the turn under way left out.
    took: Duration,
    turn_began: Option<Duration>,
}

impl<T> Rounds<T> {
    /// None has begun; the first will after the least rest.
    pub(super) fn new(pace: Pace, now: Duration) -> Self {
        Self {
            pace,
            due: VecDeque::new(),
            rest: pace.least,
            ended_at: now,
            took: Duration::ZERO,
            turn_began: None,
        }
    }

    /// Whether a round is under way.
    pub(super) fn goes_on(&self) -> bool {
        !self.due.is_empty()
    }

    /// Whether the rest after the last round is over.
    pub(super) fn has_rested(&self, now: Duration) -> bool {
        now.saturating_sub(self.ended_at) >= self.rest
    }

    /// Begins a round.
    pub(super) fn begin(&mut self, due: impl IntoIterator<Item = T>) {
        (self.due, self.took) = (due.into_iter().collect(), Duration::ZERO);
    }

    /// What is to be done next in this turn; `None` when the turn is over.
    pub(super) fn next(&mut self, now: Duration) -> Option<T> {
        let worked = now.saturating_sub(*self.turn_began.get_or_insert(now));
        if worked < TURN_MAX
            && let Some(next) = self.due.pop_front()
        {
            return Some(next);
        }
        self.turn_began = None;
        self.took += worked;
        if self.due.is_empty() {
            let Pace { rest, least, most } = self.pace;
            self.rest = (self.took * rest).clamp(least, most);
            self.ended_at = now;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_ends_early_and_a_round_rests_in_proportion() {
        let at = Duration::from_millis;
        let mut rounds = Rounds::new(Pace { rest: 3, least: at(500), most: at(2_000) }, at(0));
        assert!(!rounds.has_rested(at(499)) && rounds.has_rested(at(500)));
        rounds.begin(["a", "b", "c"]);
        assert_eq!([500, 600, 700].map(|now| rounds.next(at(now))), [Some("a"), Some("b"), None]);
        assert!(rounds.goes_on(), "c has its turn later");
        assert_eq!([1_000, 1_100].map(|now| rounds.next(at(now))), [Some("c"), None]);
        assert!(!rounds.goes_on());
        // It has worked for 300 ms, and rests for 900.
        assert!(!rounds.has_rested(at(1_999)) && rounds.has_rested(at(2_000)));
    }
}
