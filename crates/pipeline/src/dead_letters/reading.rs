//! Reading the dead-letter topic, in two passes: the first notes each letter in about a hundred
//! bytes, so that a million of them fit; the second reads those again that are wanted.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

use tokio::sync::mpsc::Receiver;
use weir_backends::StoreError;
use weir_backends::config::KafkaConfig;
use weir_backends::journal::record_range::stream_range;
use weir_backends::journal::{OwnedRecord, topics};
use weir_core::{Partition, Position, Timestamp};
use weir_metering::outcome::RejectReason;
use weir_metering::record::RecordBody;
use weir_wire::dead_letter::reason_code;

use super::Reader;
use super::filter::Filter;
use super::letter::{Letter, Reading};

/// A letter, in short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where the record stood first; by this it is known.
    pub origin: Position,
    /// The broker's time of it there.
    pub arrived_at: Timestamp,
    /// Why it was rejected last, as a code.
    pub code: Box<str>,
    /// Whose it is, as far as that can be told.
    pub tenant: Option<Box<str>>,
    /// How many letters there are of it.
    pub letters: u64,
    /// Where the last of them stands: partition and offset of the dead-letter topic.
    pub place: (Partition, i64),
    /// When that was written.
    pub rejected_at: Timestamp,
}

/// The letters that were asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// By time of arrival.
    pub entries: Vec<Entry>,
    /// How many records the topic holds, those that were not asked for included.
    pub read: u64,
    /// Records that are none of Weir's letters.
    pub foreign: u64,
}

fn topic_of(kafka: &KafkaConfig) -> KafkaConfig {
    KafkaConfig { usage_topic: kafka.dead_letter_topic.clone(), ..kafka.clone() }
}

/// How far each partition of the dead-letter topic reaches now.
async fn spans(topic: &KafkaConfig) -> Result<Vec<(Partition, Range<i64>)>, StoreError> {
    let mut spans = Vec::new();
    for partition in 0..topics::partitions(topic).await? {
        let (low, high) = topics::watermarks(topic, partition).await?;
        spans.push((partition, low..high));
    }
    Ok(spans)
}

/// Finds the letters that the filter holds. `told` hears how many records were read.
///
/// # Errors
/// When Kafka, or a schema registry that is configured, does not answer.
pub async fn survey(
    reader: &Reader,
    filter: &Filter,
    mut told: impl FnMut(u64),
) -> Result<Survey, StoreError> {
    let topic = topic_of(&reader.kafka);
    let mut survey = Survey::default();
    let mut known: HashMap<Position, Entry> = HashMap::new();
    for (partition, span) in spans(&topic).await? {
        let mut records = stream_range(&topic, partition, span.start, span.end);
        while let Some(part) = records.recv().await {
            let part = part?;
            survey.read += u64::try_from(part.len()).unwrap_or(u64::MAX);
            let letters: Vec<_> = part.into_iter().map(|record| Letter::of(partition, record)).collect();
            survey.foreign += u64::try_from(letters.iter().filter(|one| one.is_err()).count()).unwrap_or(0);
            let meant = letters.into_iter().flatten();
            let meant = meant.filter(|one| filter.may_hold(one.origin, one.arrived_at)).collect();
            for entry in entries(reader, meant).await? {
                note(&mut known, entry);
            }
            told(survey.read);
        }
    }
    survey.entries = known.into_values().filter(|entry| filter.holds(entry)).collect();
    survey.entries.sort_by_key(|entry| (entry.arrived_at, entry.origin));
    Ok(survey)
}

/// Letters of a schema that nobody knew are not decoded here: each may name another number, and
/// each would be a question to the registry.
async fn entries(reader: &Reader, letters: Vec<Letter>) -> Result<Vec<Entry>, StoreError> {
    let unknown = reason_code(RejectReason::UnknownSchema);
    let readable: Vec<OwnedRecord> =
        letters.iter().filter(|one| one.info.code != unknown).map(Letter::original).collect();
    let mut bodies = reader.read(&readable).await?.into_iter();
    let entry = |letter: Letter| {
        let body: Option<RecordBody> = if letter.info.code == unknown { None } else { bodies.next() };
        Entry {
            origin: letter.origin,
            arrived_at: letter.arrived_at,
            tenant: letter.tenant(body.as_ref()).map(String::into_boxed_str),
            code: letter.info.code.into_boxed_str(),
            letters: 1,
            place: (letter.partition, letter.record.offset),
            rejected_at: Timestamp::clamped(letter.record.broker_time_ms),
        }
    };
    Ok(letters.into_iter().map(entry).collect())
}

/// Of the letters of one record the last one says how it is.
fn note(known: &mut HashMap<Position, Entry>, entry: Entry) {
    let Some(earlier) = known.get_mut(&entry.origin) else {
        known.insert(entry.origin, entry);
        return;
    };
    let letters = earlier.letters + 1;
    if (earlier.rejected_at, earlier.place) < (entry.rejected_at, entry.place) {
        *earlier = entry;
    }
    earlier.letters = letters;
}

/// The letters of some entries, read again, with what they hold.
///
/// # Errors
/// As [`survey`]; and when Kafka has deleted one meanwhile.
pub async fn fetch_all(reader: &Reader, entries: &[Entry]) -> Result<Vec<(Letter, Reading)>, StoreError> {
    let mut fetch = Fetch::new(reader, entries);
    let mut all = Vec::with_capacity(entries.len());
    while let Some(letters) = fetch.next().await? {
        let records: Vec<_> = letters.iter().map(Letter::original).collect();
        let bodies = reader.read(&records).await?;
        all.extend(letters.into_iter().zip(bodies.into_iter().map(Reading::from)));
    }
    all.sort_by_key(|(letter, _)| (letter.arrived_at, letter.origin));
    Ok(all)
}

/// Reads chosen letters again, a part at a time.
pub(super) struct Fetch {
    topic: KafkaConfig,
    wanted: BTreeMap<Partition, BTreeSet<i64>>,
    under_way: Option<UnderWay>,
}

/// A partition that is being read.
struct UnderWay {
    partition: Partition,
    offsets: BTreeSet<i64>,
    records: Receiver<Result<Vec<OwnedRecord>, StoreError>>,
}

impl Fetch {
    pub(super) fn new(reader: &Reader, entries: &[Entry]) -> Self {
        let mut wanted: BTreeMap<Partition, BTreeSet<i64>> = BTreeMap::new();
        for entry in entries {
            wanted.entry(entry.place.0).or_default().insert(entry.place.1);
        }
        Self { topic: topic_of(&reader.kafka), wanted, under_way: None }
    }

    /// The next letters; `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Letter>>, StoreError> {
        loop {
            let Some(UnderWay { partition, offsets, records }) = &mut self.under_way else {
                let Some((partition, offsets)) = self.wanted.pop_first() else { return Ok(None) };
                let (first, last) = (offsets.first().copied(), offsets.last().copied());
                let (from, to) = (first.unwrap_or_default(), last.map_or(0, |last| last + 1));
                let records = stream_range(&self.topic, partition, from, to);
                self.under_way = Some(UnderWay { partition, offsets, records });
                continue;
            };
            let Some(part) = records.recv().await else {
                self.under_way = None;
                continue;
            };
            let chosen = part?.into_iter().filter(|record| offsets.contains(&record.offset));
            let letters: Vec<_> = chosen.flat_map(|record| Letter::of(*partition, record)).collect();
            if !letters.is_empty() {
                return Ok(Some(letters));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_letters_of_one_record_the_last_says_how_it_is() {
        let entry = |code: &str, rejected_at: i64, place| Entry {
            origin: Position { generation: 1, partition: 0, offset: 7 },
            arrived_at: Timestamp::clamped(1),
            code: code.into(),
            tenant: None,
            letters: 1,
            place,
            rejected_at: Timestamp::clamped(rejected_at),
        };
        let all =
            [entry("unknown_tenant", 5, (3, 9)), entry("invalid_value", 8, (0, 1)), entry("x", 7, (3, 10))];
        for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
            let mut known = HashMap::new();
            for at in order {
                note(&mut known, all[at].clone());
            }
            let found: Vec<_> = known.into_values().collect();
            assert_eq!(found, [Entry { letters: 3, ..all[1].clone() }]);
        }
    }
}
