//! The independent count: usage worked out from the records that the demo produced, by rules
//! written here a second time. It shares no code with Weir; where both agree, neither slipped.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};

use crate::calendar::Period;
use crate::decimal::{self, Digits};
use crate::event::Event;
use crate::partition::home_of;
use crate::script::Cargo;
use crate::tenants::{Measure, PROFILES};

/// How far back an event may lie, and how far ahead.
const DAYS_BACK_MAX: i64 = 35;
const HOURS_AHEAD_MAX: i64 = 1;
/// The longest id, and the longest value in `data`, in bytes.
const ID_BYTES_MAX: usize = 256;
const VALUE_BYTES_MAX: usize = 4096;

/// A record that Kafka, or Weir over HTTP, has acknowledged.
#[derive(Clone, Debug)]
pub struct Produced {
    /// What it holds.
    pub cargo: Cargo,
    /// The partition in which Kafka put it; `None` over HTTP, where Weir chose.
    pub partition: Option<i32>,
}

/// Usage of a tenant on a meter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The sum in 10^-9 units, or how many different values there were.
    pub nanos: i128,
    /// How many events.
    pub events: u64,
    users: BTreeSet<String>,
}

/// What should have come out.
#[derive(Debug, Default)]
pub struct Tally {
    /// Events to be counted.
    pub accepted: u64,
    /// Further copies of those, conflicts included.
    pub duplicate: u64,
    /// Copies with other facts, counted in `duplicate` too.
    pub conflicts: u64,
    /// Whose those are.
    pub conflicting: BTreeSet<String>,
    /// Records for the dead letters, by reason.
    pub rejected: BTreeMap<String, u64>,
    /// Records that stand in a foreign partition.
    pub forwarded: u64,
    /// By tenant and meter, all of it.
    pub usage: BTreeMap<(String, String), Usage>,
    /// By tenant and meter, in the billing period that is over.
    pub closed: BTreeMap<(String, String), Usage>,
    /// By tenant and meter, in the billing period that runs.
    pub running: BTreeMap<(String, String), Usage>,
    seen: HashMap<(String, String, String), Event>,
}

impl Tally {
    /// Counts everything that was produced, in the order in which each producer was acknowledged.
    /// `now` is when the story began.
    pub fn of<'a>(
        produced: impl IntoIterator<Item = &'a Produced>,
        partitions: i32,
        now: DateTime<Utc>,
    ) -> Result<Self> {
        let mut tally = Self::default();
        let mut periods = HashMap::new();
        for profile in &PROFILES {
            periods.insert(profile.id, [profile.period(now, 0)?, profile.period(now, 1)?]);
        }
        for record in produced {
            match &record.cargo {
                Cargo::Bytes { wrong, .. } => tally.reject(wrong),
                Cargo::Event(event) => {
                    let home = home_of(event.tenant.as_bytes(), partitions);
                    let elsewhere = record.partition.is_some_and(|partition| partition != home);
                    tally.count(event, elsewhere, now, &periods)?;
                }
            }
        }
        Ok(tally)
    }

    /// Records that must be read, apart from Weir's own control records: each one once, those in
    /// a foreign partition twice.
    pub fn read(&self) -> u64 {
        self.ended() + self.forwarded
    }

    /// Records that must end as accepted, duplicate or rejected.
    pub fn ended(&self) -> u64 {
        self.accepted + self.duplicate + self.rejected.values().sum::<u64>()
    }

    fn reject(&mut self, reason: &str) {
        *self.rejected.entry(reason.to_owned()).or_default() += 1;
    }

    fn count(
        &mut self,
        event: &Event,
        elsewhere: bool,
        now: DateTime<Utc>,
        periods: &HashMap<&str, [Period; 2]>,
    ) -> Result<()> {
        if !is_well_formed(event) {
            self.reject("invalid_event");
            return Ok(());
        }
        if elsewhere {
            self.forwarded += 1;
        }
        let Some([closed, running]) = periods.get(event.tenant.as_str()) else {
            self.reject("unknown_tenant");
            return Ok(());
        };
        let identity = (event.tenant.clone(), event.source.clone(), event.id.clone());
        if let Some(first) = self.seen.get(&identity) {
            self.duplicate += 1;
            if first != event {
                self.conflicts += 1;
                self.conflicting.insert(event.tenant.clone());
            }
            return Ok(());
        }
        if event.time_ms < (now - chrono::Duration::days(DAYS_BACK_MAX)).timestamp_millis() {
            self.reject("too_late");
            return Ok(());
        }
        if event.time_ms > (now + chrono::Duration::hours(HOURS_AHEAD_MAX)).timestamp_millis() {
            self.reject("in_future");
            return Ok(());
        }
        let Some((meter, amount)) = measured(event) else {
            self.reject("invalid_value");
            return Ok(());
        };
        self.accepted += 1;
        self.seen.insert(identity, event.clone());
        let key = (event.tenant.clone(), meter.to_owned());
        add(self.usage.entry(key.clone()).or_default(), &amount)?;
        if closed.contains(event.time_ms) {
            add(self.closed.entry(key.clone()).or_default(), &amount)?;
        }
        if running.contains(event.time_ms) {
            add(self.running.entry(key).or_default(), &amount)?;
        }
        Ok(())
    }
}

/// What an event adds.
enum Amount {
    Nanos(i128),
    User(String),
}

fn is_well_formed(event: &Event) -> bool {
    let text = |text: &str, least: usize| {
        (least..=ID_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control)
    };
    let values = event.data.iter().map(|(_, value)| value);
    [&event.id, &event.source, &event.event_type].into_iter().all(|field| text(field, 1))
        && values.clone().all(|value| value.len() <= VALUE_BYTES_MAX && !value.chars().any(char::is_control))
}

/// The meter that takes the event, and what it adds; `None` when the value is none.
fn measured(event: &Event) -> Option<(&'static str, Amount)> {
    let (meter, measure, digits) = match event.event_type.as_str() {
        "api.requests" => ("api_calls", Measure::Calls, Digits::Exact),
        "network.bytes" => ("bandwidth", Measure::Bandwidth, Digits::Exact),
        "disk.write" => ("storage", Measure::Storage, Digits::Exact),
        "cpu.reading" => ("compute", Measure::Compute, Digits::Round),
        "user.seen" => return Some(("users", Amount::User(event.value("user")?.to_owned()))),
        _ => return None,
    };
    let nanos = decimal::parse(event.value(measure.property())?, digits)?;
    (nanos >= 0).then_some((meter, Amount::Nanos(nanos)))
}

fn add(usage: &mut Usage, amount: &Amount) -> Result<()> {
    usage.events += 1;
    match amount {
        Amount::Nanos(nanos) => {
            usage.nanos = usage.nanos.checked_add(*nanos).context("a total beyond 128 bits")?;
        }
        Amount::User(user) => {
            if usage.users.insert(user.clone()) {
                usage.nanos += 1_000_000_000;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn event(id: &str, value: &str) -> Event {
        Event {
            tenant: "nimbus-labs".into(),
            source: "s".into(),
            id: id.into(),
            event_type: "disk.write".into(),
            time_ms: now().timestamp_millis(),
            data: vec![("bytes".into(), value.into())],
        }
    }

    fn now() -> DateTime<Utc> {
        "2026-11-24T10:00:00Z".parse().unwrap()
    }

    #[test]
    fn everything_ends_once() {
        let home = home_of(b"nimbus-labs", 8);
        let days = |event: Event, days: i64| Event { time_ms: event.time_ms + days * 86_400_000, ..event };
        let records: Vec<(Event, i32)> = vec![
            (event("1", "10.5"), home),
            (event("1", "10.5"), home + 1),
            (event("1", "11"), home),
            (event("2", "1e-07"), home + 1),
            (event("3", "NaN"), home),
            (days(event("4", "1"), -36), home),
            (days(event("5", "1"), 1), home),
            (days(event("6", "1"), -20), home),
            (Event { tenant: "nobody".into(), ..event("7", "1") }, home_of(b"nobody", 8)),
        ];
        let produced: Vec<Produced> = records
            .into_iter()
            .map(|(event, partition)| Produced {
                cargo: Cargo::Event(Arc::new(event)),
                partition: Some(partition),
            })
            .collect();
        let tally = Tally::of(&produced, 8, now()).unwrap();
        assert_eq!((tally.accepted, tally.duplicate, tally.conflicts, tally.forwarded), (3, 2, 1, 2));
        let rejected: Vec<_> = tally.rejected.into_iter().collect();
        let expected = ["in_future", "invalid_value", "too_late", "unknown_tenant"];
        assert_eq!(rejected, expected.map(|reason| (reason.to_owned(), 1)));
        let key = ("nimbus-labs".to_owned(), "storage".to_owned());
        assert_eq!(decimal::plain(tally.usage[&key].nanos), "11.5000001");
        assert_eq!(decimal::plain(tally.closed[&key].nanos), "1");
    }
}
