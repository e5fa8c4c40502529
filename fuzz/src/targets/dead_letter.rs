//! A record of the dead-letter topic, as `weir dlq` reads it: its headers, the mark of an
//! earlier replay, and the record inside.

use weir_core::{Position, Timestamp};
use weir_metering::outcome::{RejectReason, Verdict};
use weir_wire::avro::encode_event;
use weir_wire::dead_letter::{DeadLetterInfo, MESSAGE_BYTES_MAX, cut_value, is_own_header, verdict_code};
use weir_wire::replay::{ReplayOrigin, is_replay_header};
use weir_wire::usage_record::RawRecord;

use crate::Seeds;
use crate::events::{SHIPPED, decode_both_ways, samples};
use crate::memory::{bound, within};
use crate::pieces::{Joined, Pieces};

const NAMES: [&str; 14] = [
    weir_wire::dead_letter::TOPIC,
    weir_wire::dead_letter::GENERATION,
    weir_wire::dead_letter::PARTITION,
    weir_wire::dead_letter::OFFSET,
    weir_wire::dead_letter::TIME,
    weir_wire::dead_letter::CODE,
    weir_wire::dead_letter::MESSAGE,
    weir_wire::dead_letter::VERSION,
    weir_wire::dead_letter::TRUNCATED,
    weir_wire::dead_letter::HEADERS_LEFT_OUT,
    weir_wire::replay::POSITION,
    weir_wire::replay::TIME,
    "content-type",
    "weir-hop",
];

/// Reads headers and the value.
pub fn check(input: &[u8]) {
    let mut pieces = Pieces(input);
    let mut headers = Vec::new();
    for _ in 0..pieces.byte() % 24 {
        let name = NAMES.get(usize::from(pieces.byte())).copied();
        headers.push((name.unwrap_or_else(|| pieces.text()), pieces.bytes()));
    }
    let memory_max = bound(3 << 20, 64, input);
    let origin = within(memory_max, || ReplayOrigin::parse(&headers));
    if let Some(origin) = origin {
        assert_eq!(ReplayOrigin::parse(&borrowed(&origin.headers())), Some(origin));
    }
    let Ok(info) = within(memory_max, || DeadLetterInfo::parse(&headers)) else { return };
    let written = info.headers();
    assert!(written.iter().all(|(name, _)| is_own_header(name) && !is_replay_header(name)));
    let again = DeadLetterInfo::parse(&borrowed(&written)).expect("what is written is read");
    assert!(again.message.len() <= MESSAGE_BYTES_MAX && info.message.starts_with(&again.message));
    assert_eq!(again, DeadLetterInfo { message: again.message.clone(), ..info.clone() });
    let (kept, cut_from) = cut_value(pieces.0);
    assert!(pieces.0.starts_with(kept) && cut_from.is_none() == (kept.len() == pieces.0.len()));
    let own: Vec<_> = headers.iter().filter(|(name, _)| !is_own_header(name)).copied().collect();
    let record = RawRecord {
        key: None,
        payload: Some(kept),
        headers: &own,
        offset: info.position.offset.min(i64::MAX - 1),
        broker_time_ms: info.broker_time.millis(),
    };
    decode_both_ways(&SHIPPED, &record, memory_max);
}

fn borrowed<'a>(headers: &'a [(&'static str, Vec<u8>)]) -> Vec<(&'a str, &'a [u8])> {
    headers.iter().map(|(name, value)| (*name, value.as_slice())).collect()
}

/// Letters as Weir writes them.
pub fn seeds() -> Seeds {
    let info = DeadLetterInfo {
        topic: "weir.usage.v1".to_owned(),
        position: Position { generation: 2, partition: 7, offset: 1_234_567 },
        broker_time: Timestamp::clamped(1_790_000_000_123),
        code: verdict_code(Verdict::Rejected(RejectReason::TooLate)).to_owned(),
        message: "36 days late".to_owned(),
        truncated_from: None,
        headers_left_out: None,
    };
    let cut = DeadLetterInfo {
        truncated_from: Some(2_000_000),
        headers_left_out: Some(3),
        message: "\u{fc}".repeat(600),
        ..info.clone()
    };
    let origin =
        ReplayOrigin { position: Position { offset: 3, ..info.position }, broker_time: info.broker_time };
    let value = encode_event(&samples()[0].1);
    let seed = |info: &DeadLetterInfo, replayed: bool| {
        let origin = origin.headers();
        let all = info.headers().into_iter().chain(origin.into_iter().filter(|_| replayed));
        let all: Vec<_> = all.collect();
        let joined = Joined::default().byte(u8::try_from(all.len()).expect("few headers"));
        let joined = all.iter().fold(joined, |joined, (name, value)| {
            let at = NAMES.iter().position(|known| known == name).expect("a name of a letter");
            joined.byte(u8::try_from(at).expect("few names")).bytes(value)
        });
        joined.raw(&value).0
    };
    vec![
        ("plain".to_owned(), seed(&info, false)),
        ("replayed".to_owned(), seed(&info, true)),
        ("cut".to_owned(), seed(&cut, false)),
    ]
}
