//! What every producer will send, from one seed: the usage of all tenants, and the mishaps mixed
//! into it. It sends nothing, and does not say what should become of anything: that is the
//! independent count's to work out.

use std::sync::Arc;

use anyhow::Result;
use chrono::{DateTime, Utc};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use crate::event::Event;
use crate::mishaps;
use crate::series::{READING_MINUTES, Series};
use crate::tenants::{Feed, Measure, PROFILES, Profile, Route};

/// What a record holds.
#[derive(Clone, Debug)]
pub enum Cargo {
    /// An event.
    Event(Arc<Event>),
    /// Bytes that are no event, under this key.
    Bytes {
        /// Key in Kafka.
        key: String,
        /// Value in Kafka.
        value: Vec<u8>,
        /// What is wrong with them, by the name that Weir's documentation gives it.
        wrong: &'static str,
    },
}

/// Everything that will be sent.
#[derive(Debug, Default)]
pub struct Script {
    /// In batches over HTTP.
    pub http: Vec<Cargo>,
    /// To Kafka, partitioned as Weir asks for.
    pub kafka: Vec<Cargo>,
    /// To Kafka with another partitioner.
    pub kafka_elsewhere: Vec<Cargo>,
    /// To Kafka when all of the above is acknowledged: events that come again with other facts.
    pub conflicts: Vec<Cargo>,
}

/// One event in so many is sent twice in a row by its producer.
const ONE_TWICE_IN: u32 = 80;
/// One event in so many is delivered again later, by another producer.
const ONE_AGAIN_IN: u32 = 60;
/// One event in so many comes long after its neighbours.
const ONE_LATER_IN: u32 = 40;
/// How many events come again with other facts.
const CONFLICTS: usize = 12;

impl Script {
    /// The script of a story that begins at `now`.
    pub fn write(seed: u64, now: DateTime<Utc>) -> Result<Self> {
        let mut random = StdRng::seed_from_u64(seed);
        let mut script = Self::default();
        for route in [Route::Http, Route::Kafka, Route::KafkaElsewhere] {
            let events = usage(route, now, &mut random)?;
            let events = disturbed(events, &mut random);
            script.of(route).extend(events.into_iter().map(Cargo::Event));
        }
        let again: Vec<Vec<Cargo>> = [&script.kafka_elsewhere, &script.http, &script.kafka]
            .map(|others| others.iter().filter(|_| random.random_ratio(1, ONE_AGAIN_IN)).cloned().collect())
            .into();
        script.conflicts = conflicts(&script.kafka, &mut random);
        for (route, again) in [Route::Http, Route::Kafka, Route::KafkaElsewhere].into_iter().zip(again) {
            script.of(route).extend(again);
        }
        mix(&mut script.kafka, mishaps::in_kafka(now)?, &mut random);
        mix(&mut script.kafka_elsewhere, mishaps::elsewhere(now), &mut random);
        mix(&mut script.http, mishaps::over_http(now), &mut random);
        Ok(script)
    }

    fn of(&mut self, route: Route) -> &mut Vec<Cargo> {
        match route {
            Route::Http => &mut self.http,
            Route::Kafka => &mut self.kafka,
            Route::KafkaElsewhere => &mut self.kafka_elsewhere,
        }
    }
}

/// All usage that travels one way, in the order of its time.
fn usage(route: Route, now: DateTime<Utc>, random: &mut StdRng) -> Result<Vec<Arc<Event>>> {
    let mut events = Vec::new();
    for profile in &PROFILES {
        for feed in profile.feeds.iter().filter(|feed| feed.route == route) {
            events.extend(readings(profile, feed, now, random)?);
        }
    }
    events.sort_by_key(|event| event.time_ms);
    Ok(events)
}

/// The events of one feed, from the tenant's anchor until now.
fn readings(
    profile: &Profile,
    feed: &Feed,
    now: DateTime<Utc>,
    random: &mut StdRng,
) -> Result<Vec<Arc<Event>>> {
    let start_ms = profile.period(now, 0)?.start.timestamp_millis();
    let end_ms = now.timestamp_millis();
    let series = feed.recording.map(Series::load).transpose()?;
    let mut events = Vec::new();
    for (index, time_ms) in times(start_ms, feed.one_in).take_while(|(_, time_ms)| *time_ms < end_ms) {
        let value = match &series {
            Some(series) => series.at(profile.first_reading + index).to_owned(),
            // Few users come often and many rarely.
            None => {
                let most = random.random_range(1..160_u32);
                format!("user-{:03}", random.random_range(0..=most))
            }
        };
        events.push(Arc::new(reading(profile, feed, index, time_ms, value)));
    }
    Ok(events)
}

fn times(start_ms: i64, one_in: usize) -> impl Iterator<Item = (usize, i64)> {
    let apart_ms = READING_MINUTES * 60_000;
    let time = move |index: usize| i64::try_from(index).ok().map(|index| start_ms + index * apart_ms);
    (0..).step_by(one_in).map_while(move |index| Some((index, time(index)?)))
}

/// One reading as an event.
pub fn reading(profile: &Profile, feed: &Feed, index: usize, time_ms: i64, value: String) -> Event {
    let series = feed.recording.map_or("sessions", |recording| recording.name());
    let mut data = vec![(feed.measure.property().to_owned(), value)];
    match feed.measure {
        Measure::Calls => data.push(("region".to_owned(), profile.region.to_owned())),
        Measure::Bandwidth => {
            data.push(("direction".to_owned(), "in".to_owned()));
            data.push(("region".to_owned(), profile.region.to_owned()));
        }
        Measure::Storage | Measure::Compute | Measure::Users => {}
    }
    Event {
        tenant: profile.id.to_owned(),
        source: format!("//{}/{series}", profile.region),
        id: format!("{index}"),
        event_type: feed.measure.event_type().to_owned(),
        time_ms,
        data,
    }
}

/// The same events as a lossy producer sends them: some twice, some long after their time.
fn disturbed(events: Vec<Arc<Event>>, random: &mut StdRng) -> Vec<Arc<Event>> {
    let mut sent = Vec::with_capacity(events.len());
    let mut later = Vec::new();
    for event in events {
        if random.random_ratio(1, ONE_LATER_IN) {
            later.push(event);
            continue;
        }
        if random.random_ratio(1, ONE_TWICE_IN) {
            sent.push(Arc::clone(&event));
        }
        sent.push(event);
    }
    later.shuffle(random);
    sent.extend(later);
    sent
}

/// Events that came before, with another value. The originals stand in their own partition, so
/// the second ones, sent later, stand behind them.
fn conflicts(sent: &[Cargo], random: &mut StdRng) -> Vec<Cargo> {
    let events: Vec<&Arc<Event>> = sent
        .iter()
        .filter_map(|cargo| match cargo {
            Cargo::Event(event) if event.event_type == "api.requests" => Some(event),
            _ => None,
        })
        .collect();
    let chosen = (0..CONFLICTS).filter_map(|_| events.get(random.random_range(0..events.len().max(1))));
    chosen.map(|event| Cargo::Event(Arc::new(Event::clone(event).with("calls", "1000000")))).collect()
}

/// Puts each mishap somewhere among the others.
fn mix(into: &mut Vec<Cargo>, mishaps: Vec<Cargo>, random: &mut StdRng) {
    for mishap in mishaps {
        let at = random.random_range(0..=into.len());
        into.insert(at, mishap);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_says_everything() {
        let now = "2026-11-24T10:20:30Z".parse().unwrap();
        let (one, other) = (Script::write(7, now).unwrap(), Script::write(7, now).unwrap());
        assert_eq!(format!("{one:?}"), format!("{other:?}"));
        let total = one.http.len() + one.kafka.len() + one.kafka_elsewhere.len() + one.conflicts.len();
        assert!((20_000..=40_000).contains(&total), "{total} records");
        assert_eq!(one.conflicts.len(), CONFLICTS);
    }
}
