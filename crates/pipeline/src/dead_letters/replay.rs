//! Sending letters again: into the usage topic, to the partition of the event's tenant whatever the
//! key was before, acknowledged by all replicas. What became of them is read from the ledger.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use futures::stream::{StreamExt, TryStreamExt};
use weir_backends::config::KafkaConfig;
use weir_backends::journal::{OutgoingRecord, OwnedRecord, Producer};
use weir_backends::ledger::partition;
use weir_backends::postgres::{self, Pool};
use weir_backends::{StoreError, catalog};
use weir_core::{Generation, Partition, Position, Timestamp};
use weir_metering::outcome::Verdict;
use weir_wire::dead_letter::verdict_code;

use super::Reader;
use super::judge::Judge;
use super::letter::Letter;
use super::reading::{Entry, Fetch};
use super::verdicts::{Counted, Verdicts};
use crate::settings::CountingSettings;

/// Records that wait for their acknowledgement at a time.
const IN_FLIGHT: usize = 1_000;
/// How often the ledger is asked how far counting is.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// How letters are sent again.
#[derive(Debug)]
pub struct Replay<'a> {
    /// The usage topic.
    pub kafka: &'a KafkaConfig,
    /// The ledger.
    pub pool: &'a Pool,
    /// What writes; without one nothing is sent, only said.
    pub producer: Option<&'a Producer>,
    /// The bounds that counting has.
    pub settings: &'a CountingSettings,
    /// What lateness is estimated by.
    pub now: Timestamp,
    /// Whether letters of earlier generations are sent too.
    pub earlier_generations: bool,
    /// How long counting is waited for after the last one was sent.
    pub wait: Duration,
}

/// What became of letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// Sent, and counted for the first time.
    Counted,
    /// Sent; its event was counted before.
    CountedBefore,
    /// Sent, and not counted so far.
    Waits,
    /// Sent, and rejected again.
    RejectedAgain,
    /// It would be sent.
    WouldBeSent,
    /// Not sent.
    NotSent,
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Counted => "counted",
            Self::CountedBefore => "counted before",
            Self::Waits => "not counted yet",
            Self::RejectedAgain => "rejected again",
            Self::WouldBeSent => "would be sent",
            Self::NotSent => "not sent",
        })
    }
}

/// Letters that fared alike.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    /// What became of them.
    pub fate: Fate,
    /// Why they had been rejected.
    pub code: Box<str>,
    /// Whose they are.
    pub tenant: Box<str>,
    /// Why, where something is to be said.
    pub why: String,
}

/// What became of all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// How many fared alike, and where one of them stood first.
    pub lines: BTreeMap<Line, (u64, Option<Position>)>,
}

impl Replayed {
    /// How many have this fate.
    pub fn count(&self, fate: Fate) -> u64 {
        self.lines.iter().filter(|(line, _)| line.fate == fate).map(|(_, (count, _))| count).sum()
    }

    fn add(&mut self, line: Line, origin: Position) {
        let (count, example) = self.lines.entry(line).or_default();
        *count += 1;
        example.get_or_insert(origin);
    }
}

/// Why a replay ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// Nothing was sent.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A part may have been sent.
    #[error("{sent} letters were sent before this failed, which is safe to repeat: {source}")]
    Partly {
        /// How many are known to be in the journal.
        sent: u64,
        /// What failed.
        source: StoreError,
    },
}

struct Sent {
    code: Box<str>,
    tenant: Box<str>,
    origin: Position,
    at: Position,
}

impl Replay<'_> {
    /// Sends the letters of these entries, as far as that makes sense; `told` hears how many
    /// were looked at.
    ///
    /// # Errors
    /// When a server does not answer; what was sent until then may be sent again.
    pub async fn run(
        &self,
        reader: &Reader,
        entries: &[Entry],
        told: impl FnMut(u64),
    ) -> Result<Replayed, ReplayError> {
        let mut replayed = Replayed::default();
        let mut sent = Vec::new();
        let ended = self.send_all(reader, entries, (&mut replayed, &mut sent), told).await;
        let after = async {
            ended?;
            self.follow(&sent, &mut replayed).await
        };
        let count = u64::try_from(sent.len()).unwrap_or(u64::MAX);
        match after.await {
            Ok(()) => Ok(replayed),
            Err(source) if count == 0 => Err(source.into()),
            Err(source) => Err(ReplayError::Partly { sent: count, source }),
        }
    }

    async fn send_all(
        &self,
        reader: &Reader,
        entries: &[Entry],
        (replayed, sent): (&mut Replayed, &mut Vec<Sent>),
        mut told: impl FnMut(u64),
    ) -> Result<(), StoreError> {
        let generation = postgres::installation(self.pool, self.kafka).await?.generation;
        let catalogue = catalog::load(self.pool).await?;
        let judge = Judge {
            catalogue: &catalogue,
            topic: &self.kafka.usage_topic,
            generation,
            now: self.now,
            window_ms: self.settings.window_ms,
            future_ms: self.settings.future_ms,
            earlier_generations: self.earlier_generations,
        };
        let mut fetch = Fetch::new(reader, entries);
        let mut looked_at = 0;
        while let Some(letters) = fetch.next().await? {
            looked_at += u64::try_from(letters.len()).unwrap_or(u64::MAX);
            let chosen = self.choose(reader, &judge, letters, replayed).await?;
            self.send(chosen, generation, sent).await?;
            told(looked_at);
        }
        Ok(())
    }

    /// Those that are sent, with the record to send.
    async fn choose(
        &self,
        reader: &Reader,
        judge: &Judge<'_>,
        mut letters: Vec<Letter>,
        replayed: &mut Replayed,
    ) -> Result<Vec<(Letter, OutgoingRecord)>, StoreError> {
        letters.sort_by_key(|letter| letter.info.position);
        let again: Vec<_> = letters.iter().map(|one| one.again(&self.kafka.usage_topic)).collect();
        let arriving: Vec<_> = again.iter().map(|record| arriving(record, self.now)).collect();
        let bodies = reader.read(&arriving).await?;
        let mut verdicts = Verdicts::new(self.pool);
        let mut chosen = Vec::new();
        for ((letter, mut record), body) in letters.into_iter().zip(again).zip(bodies) {
            let counted = verdicts.of(letter.info.position).await?;
            let tenant = letter.tenant(Some(&body)).unwrap_or_default().into_boxed_str();
            let code = letter.info.code.clone().into_boxed_str();
            let (fate, why) = match judge.judge(&letter, counted, &body) {
                Err(why) => (Fate::NotSent, why),
                Ok(key) if self.producer.is_some() => {
                    record.key = Some(key.as_str().as_bytes().to_vec());
                    record.partition = Some(judge.catalogue.homes.of(key.as_str()));
                    chosen.push((letter, record));
                    continue;
                }
                Ok(_) => (Fate::WouldBeSent, String::new()),
            };
            replayed.add(Line { fate, code, tenant, why }, letter.origin);
        }
        Ok(chosen)
    }

    async fn send(
        &self,
        chosen: Vec<(Letter, OutgoingRecord)>,
        generation: Generation,
        sent: &mut Vec<Sent>,
    ) -> Result<(), StoreError> {
        let Some(producer) = self.producer else { return Ok(()) };
        let sending = futures::stream::iter(chosen).map(|(letter, record)| async move {
            let tenant = String::from_utf8_lossy(record.key.as_deref().unwrap_or_default()).into();
            let (partition, offset) = producer.send(record).await?;
            let at = Position { generation, partition, offset };
            Ok::<_, StoreError>(Sent { code: letter.info.code.into(), tenant, origin: letter.origin, at })
        });
        let mut sending = sending.buffer_unordered(IN_FLIGHT);
        while let Some(one) = sending.try_next().await? {
            sent.push(one);
        }
        Ok(())
    }

    /// Waits until all that was sent is counted, or the time is up; says what became of it.
    async fn follow(&self, sent: &[Sent], replayed: &mut Replayed) -> Result<(), StoreError> {
        let mut ends: BTreeMap<Partition, i64> = BTreeMap::new();
        for one in sent {
            let end = ends.entry(one.at.partition).or_default();
            *end = (*end).max(one.at.offset + 1);
        }
        let begun = Instant::now();
        while !ends.is_empty() && begun.elapsed() < self.wait {
            for row in partition::all(self.pool).await? {
                if ends.get(&row.partition).is_some_and(|end| *end <= row.next_offset) {
                    ends.remove(&row.partition);
                }
            }
            if !ends.is_empty() {
                tokio::time::sleep(ASK_EVERY).await;
            }
        }
        let mut by_position: Vec<&Sent> = sent.iter().collect();
        by_position.sort_by_key(|one| one.at);
        let mut verdicts = Verdicts::new(self.pool);
        for one in by_position {
            let (fate, why) = match verdicts.of(one.at).await? {
                Counted::NotYet | Counted::Not(Verdict::Forwarded) => (Fate::Waits, String::new()),
                Counted::Accepted => (Fate::Counted, String::new()),
                Counted::Not(Verdict::Duplicate) => (Fate::CountedBefore, String::new()),
                Counted::Not(verdict) => (Fate::RejectedAgain, verdict_code(verdict).to_owned()),
            };
            let line = Line { fate, code: one.code.clone(), tenant: one.tenant.clone(), why };
            replayed.add(line, one.origin);
        }
        Ok(())
    }
}

/// The record as it will be read.
fn arriving(record: &OutgoingRecord, now: Timestamp) -> OwnedRecord {
    OwnedRecord {
        offset: 0,
        broker_time_ms: now.millis(),
        key: None,
        payload: record.value.clone().map(Into::into),
        headers: record.headers.clone(),
    }
}
