//! The load: everything of a script over HTTP and to Kafka, from several producers, spread over a
//! time. A producer that is refused or hears nothing sends the same again, as real ones do, so
//! events come more than once; it goes on until everything was acknowledged.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use tokio::time::Instant;
use weir_demo::api::Api;
use weir_demo::event::Event;
use weir_demo::producers::{self, Partitioner};
use weir_demo::script::{Cargo, Script};
use weir_demo::tally::{Produced, Tally};

/// Events of one HTTP request, records of one hand-over to Kafka.
const BATCH: usize = 50;
/// How long after the end a producer may still try.
const LATE_MAX: Duration = Duration::from_secs(120);
const AGAIN_AFTER: Duration = Duration::from_millis(200);

/// What will be sent.
#[derive(Debug)]
pub(crate) struct Load {
    parts: Vec<(Way, Vec<Cargo>)>,
    /// Sent when all else was acknowledged: known ids with other facts.
    conflicts: Vec<Cargo>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Http,
    Kafka(Partitioner),
}

/// What was sent.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    /// Acknowledged with 2xx.
    pub(crate) over_http: Vec<Cargo>,
    /// Acknowledged by Kafka.
    pub(crate) to_kafka: Vec<Cargo>,
    /// How often a batch was sent again.
    pub(crate) again: u64,
}

impl Load {
    /// One part in `thin` of the demo's usage, duplicates and bad input included, in an order that
    /// has nothing to do with time. Each lap has ids of its own.
    pub(crate) fn write(seed: u64, now: DateTime<Utc>, thin: usize, lap: u64) -> Result<Self> {
        let script = Script::write(seed, now)?;
        let mut random = StdRng::seed_from_u64(seed);
        let mut shuffled = |mut cargo: Vec<Cargo>| {
            cargo.shuffle(&mut random);
            cargo.truncate(cargo.len() / thin.max(1));
            cargo.into_iter().map(|one| of_lap(one, lap)).collect::<Vec<_>>()
        };
        let (http, kafka) = (shuffled(script.http), shuffled(script.kafka));
        let elsewhere = shuffled(script.kafka_elsewhere);
        let murmur2 = Way::Kafka(Partitioner::Murmur2);
        let mut parts = vec![(Way::Kafka(Partitioner::LibrdkafkaDefault), elsewhere)];
        for (way, cargo) in [(Way::Http, http), (murmur2, kafka)] {
            let (one, other) = cargo.split_at(cargo.len() / 2);
            parts.extend([(way, one.to_vec()), (way, other.to_vec())]);
        }
        let conflicts = script.conflicts.into_iter().map(|one| of_lap(one, lap)).collect();
        Ok(Self { parts, conflicts })
    }

    /// Everything, in no order.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Cargo> {
        self.parts.iter().flat_map(|(_, cargo)| cargo).chain(&self.conflicts)
    }

    /// The count of what will be sent, conflicts apart.
    pub(crate) fn planned(&self, now: DateTime<Utc>, partitions: i32) -> Result<Tally> {
        let all = self.parts.iter().flat_map(|(_, cargo)| cargo);
        let produced: Vec<Produced> =
            all.map(|cargo| Produced { cargo: cargo.clone(), partition: None }).collect();
        Tally::of(&produced, partitions, now)
    }

    /// Sends everything in about `time`.
    pub(crate) async fn send(self, target: &Target, time: Duration) -> Result<Sent> {
        let again = Arc::new(AtomicU64::new(0));
        let mut parts = tokio::task::JoinSet::new();
        for (way, cargo) in self.parts {
            let (target, again) = (target.clone(), Arc::clone(&again));
            parts.spawn(async move { (way, target.part(way, cargo, time, &again).await) });
        }
        let mut sent = Sent::default();
        while let Some(part) = parts.join_next().await {
            let (way, taken) = part.context("a producer stopped")?;
            match way {
                Way::Http => sent.over_http.extend(taken?),
                Way::Kafka(_) => sent.to_kafka.extend(taken?),
            }
        }
        let way = Way::Kafka(Partitioner::Murmur2);
        sent.to_kafka.extend(target.part(way, self.conflicts, Duration::ZERO, &again).await?);
        sent.again = again.load(Ordering::SeqCst);
        Ok(sent)
    }
}

/// The same cargo under an id of the lap's own.
fn of_lap(cargo: Cargo, lap: u64) -> Cargo {
    match cargo {
        Cargo::Event(event) if lap > 0 => {
            let mut event = Event::clone(&event);
            event.id = format!("{}.{lap}", event.id);
            Cargo::Event(Arc::new(event))
        }
        other => other,
    }
}

/// Where to send.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) api: Api,
    pub(crate) bootstrap: String,
    pub(crate) topic: String,
}

impl Target {
    async fn part(
        &self,
        way: Way,
        cargo: Vec<Cargo>,
        time: Duration,
        again: &AtomicU64,
    ) -> Result<Vec<Cargo>> {
        let begin = Instant::now();
        let batches = u32::try_from(cargo.len().div_ceil(BATCH)).unwrap_or(1).max(1);
        let mut acknowledged = Vec::with_capacity(cargo.len());
        for (nth, batch) in (0_u32..).zip(cargo.chunks(BATCH)) {
            tokio::time::sleep_until(begin + time * nth / batches).await;
            loop {
                match self.once(way, batch).await {
                    Ok(taken) => {
                        acknowledged.extend(taken);
                        break;
                    }
                    Err(error) if begin.elapsed() > time + LATE_MAX => {
                        return Err(error.context("a producer gave up"));
                    }
                    Err(_) => {
                        again.fetch_add(1, Ordering::SeqCst);
                        tokio::time::sleep(AGAIN_AFTER).await;
                    }
                }
            }
        }
        Ok(acknowledged)
    }

    async fn once(&self, way: Way, batch: &[Cargo]) -> Result<Vec<Cargo>> {
        let taken = match way {
            Way::Http => producers::over_http(&self.api, batch).await?.taken,
            Way::Kafka(partitioner) => {
                producers::to_kafka(&self.bootstrap, &self.topic, partitioner, batch).await?
            }
        };
        Ok(taken.into_iter().map(|produced| produced.cargo).collect())
    }
}
