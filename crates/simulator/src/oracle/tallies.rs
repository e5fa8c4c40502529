//! Usage as the oracle adds it up: of a key and hour, and of a meter and period.

use std::collections::BTreeSet;

use crate::scenario::Tally;

/// What events come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) events: i64,
    total: i128,
    latest: Option<(i64, i64)>,
    values: BTreeSet<String>,
}

/// What one event brings to a meter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Nothing,
    Number(i128),
    Text(String),
}

impl Sum {
    /// Adds an event that happened at `time_ms` and stands at `offset`.
    pub(super) fn add(&mut self, tally: Tally, part: &Part, (time_ms, offset): (i64, i64)) {
        let first = self.events == 0;
        self.events += 1;
        let number = if let Part::Number(number) = part { *number } else { 0 };
        match tally {
            Tally::Count => {}
            Tally::Sum => self.total += number,
            Tally::Max => self.total = if first { number } else { self.total.max(number) },
            Tally::Min => self.total = if first { number } else { self.total.min(number) },
            Tally::Latest => {
                if self.latest.is_none_or(|latest| (time_ms, offset) > latest) {
                    (self.total, self.latest) = (number, Some((time_ms, offset)));
                }
            }
            Tally::Unique => {
                if let Part::Text(text) = part {
                    self.values.insert(text.clone());
                }
            }
        }
    }

    /// Adds what an adjustment changes.
    pub(super) fn adjust(&mut self, events: i64, nanos: i128) {
        self.events += events;
        self.total += nanos;
    }

    /// The usage in thousand-millionths.
    pub(super) fn nanos(&self, tally: Tally) -> i128 {
        let units = |count: usize| i128::try_from(count).unwrap_or(0) * 1_000_000_000;
        match tally {
            Tally::Count => i128::from(self.events) * 1_000_000_000,
            Tally::Unique => units(self.values.len()),
            _ => self.total,
        }
    }
}
