//! What leaves for Kafka because of a batch: dead letters, forwards, ticks. Pure: it makes
//! records, it sends none.

use std::collections::BTreeMap;

use weir_backends::journal::{OutgoingRecord, OwnedRecord};
use weir_core::{Generation, Partition, Position, Timestamp};
use weir_metering::outcome::{DeadLetter, Forward, Outcome, Verdict};
use weir_wire::dead_letter::{DeadLetterInfo, cut_value, is_own_header, verdict_code};
use weir_wire::usage_record::{CONTROL_TICK, HEADER_CONTROL, HEADER_HOP};

/// The longest key that a dead letter keeps, in bytes.
const KEY_BYTES_MAX: usize = 1_024;
/// The most bytes of a record's own headers that a dead letter keeps.
const HEADER_BYTES_MAX: usize = 16_384;

/// Where a batch stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) usage_topic: &'a str,
    pub(crate) dead_letter_topic: &'a str,
    pub(crate) generation: Generation,
    pub(crate) partition: Partition,
}

/// Everything that must be acknowledged before the commit.
pub(crate) fn outgoing(place: Place<'_>, records: &[OwnedRecord], outcome: &Outcome) -> Vec<OutgoingRecord> {
    let letters =
        outcome.dead_letters.iter().map(|letter| dead_letter(place, &records[letter.index], letter));
    let forwards = outcome.forwards.iter().map(|one| forward(place.usage_topic, &records[one.index], *one));
    letters.chain(forwards).collect()
}

fn dead_letter(place: Place<'_>, record: &OwnedRecord, letter: &DeadLetter) -> OutgoingRecord {
    let cut = record.payload.as_deref().map(cut_value);
    let (mut headers, left_out) = own_headers(record);
    let info = DeadLetterInfo {
        topic: place.usage_topic.to_owned(),
        position: Position {
            generation: place.generation,
            partition: place.partition,
            offset: record.offset,
        },
        broker_time: Timestamp::clamped(record.broker_time_ms),
        code: verdict_code(letter.verdict).to_owned(),
        message: letter.detail.clone(),
        truncated_from: cut.and_then(|(_, length)| length),
        headers_left_out: (left_out > 0).then(|| u64::try_from(left_out).unwrap_or(u64::MAX)),
    };
    headers.extend(info.headers().into_iter().map(|(name, value)| (name.to_owned(), value)));
    OutgoingRecord {
        topic: place.dead_letter_topic.to_owned(),
        partition: None,
        key: record.key.as_ref().map(|key| key[..key.len().min(KEY_BYTES_MAX)].to_vec()),
        value: cut.map(|(value, _)| value.to_vec()),
        headers,
    }
}

/// The record's own headers that fit, and how many do not.
fn own_headers(record: &OwnedRecord) -> (Vec<(String, Vec<u8>)>, usize) {
    let own: Vec<_> = record.headers.iter().filter(|(name, _)| !is_own_header(name)).collect();
    let mut bytes = 0;
    let fit = own.iter().take_while(|(name, value)| {
        bytes += name.len() + value.len();
        bytes <= HEADER_BYTES_MAX
    });
    let kept: Vec<_> = fit.map(|header| (*header).clone()).collect();
    let left_out = own.len() - kept.len();
    (kept, left_out)
}

fn forward(topic: &str, record: &OwnedRecord, forward: Forward) -> OutgoingRecord {
    let mut headers = record.headers.clone();
    headers.retain(|(name, _)| name != HEADER_HOP);
    headers.push((HEADER_HOP.to_owned(), forward.hops.to_string().into_bytes()));
    OutgoingRecord {
        topic: topic.to_owned(),
        partition: Some(forward.to),
        key: record.key.as_ref().map(|key| key.to_vec()),
        value: record.payload.as_ref().map(|value| value.to_vec()),
        headers,
    }
}

/// The owner's sign that time has passed.
pub(crate) fn tick(topic: &str, partition: Partition) -> OutgoingRecord {
    OutgoingRecord {
        topic: topic.to_owned(),
        partition: Some(partition),
        key: None,
        value: Some(Vec::new()),
        headers: vec![(HEADER_CONTROL.to_owned(), CONTROL_TICK.as_bytes().to_vec())],
    }
}

/// Rejects and conflicts by reason.
pub(crate) fn rejected_by(outcome: &Outcome) -> BTreeMap<&'static str, u64> {
    let mut by_reason = BTreeMap::new();
    for exception in &outcome.exceptions {
        if matches!(exception.verdict, Verdict::Rejected(_) | Verdict::Conflict) {
            *by_reason.entry(verdict_code(exception.verdict)).or_default() += 1;
        }
    }
    by_reason
}
