//! The headers of a replayed record: where the record stood that was not counted then, and
//! when the broker had it. They stay through every further replay, so that a record is known
//! by one position for ever, and an event without `time` happened when it first arrived
//! (invariant 10).

use weir_core::{Position, Timestamp};

/// What every header of a replayed record begins with.
const PREFIX: &str = "weir-replay-";
/// Where it stood first, as generation/partition/offset.
pub const POSITION: &str = "weir-replay-position";
/// The broker's time of it there, RFC 3339.
pub const TIME: &str = "weir-replay-time";

/// Where a replayed record came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayOrigin {
    /// Where it stood first.
    pub position: Position,
    /// The broker's time of it there.
    pub broker_time: Timestamp,
}

impl ReplayOrigin {
    /// The headers to add to the record's own, of which [`is_replay_header`] ones are left out.
    pub fn headers(&self) -> [(&'static str, Vec<u8>); 2] {
        [
            (POSITION, self.position.to_string().into_bytes()),
            (TIME, self.broker_time.to_string().into_bytes()),
        ]
    }

    /// Reads the headers; where one is doubled, the last counts. A record whose headers cannot
    /// be read is not a replayed one: it is judged as any other.
    pub fn parse(headers: &[(&str, &[u8])]) -> Option<Self> {
        let find = |name: &str| {
            let found = headers.iter().rev().find(|(header, _)| *header == name);
            found.and_then(|(_, bytes)| std::str::from_utf8(bytes).ok())
        };
        // Almost no record has them: one look at each name is all that they cost.
        let time = find(TIME)?;
        Some(Self { position: find(POSITION)?.parse().ok()?, broker_time: Timestamp::parse(time).ok()? })
    }
}

/// Whether a header is one of a replayed record's own.
pub fn is_replay_header(name: &str) -> bool {
    name.starts_with(PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_back_and_others_are_none() {
        let origin = ReplayOrigin {
            position: Position { generation: 1, partition: 3, offset: 4_711 },
            broker_time: Timestamp::parse("2026-11-24T08:00:00.123Z").unwrap(),
        };
        let [position, time] = origin.headers();
        let borrow = |one: &'static str, bytes: &'static [u8]| (one, bytes);
        let parse = |headers: &[(&str, &[u8])]| ReplayOrigin::parse(headers);
        let whole = [(position.0, position.1.as_slice()), (time.0, time.1.as_slice())];
        assert_eq!(parse(&whole), Some(origin));
        assert_eq!(parse(&whole[..1]), None);
        assert_eq!(parse(&whole[1..]), None);
        assert_eq!(parse(&[whole[0], borrow(TIME, b"yesterday")]), None);
        assert_eq!(parse(&[whole[1], borrow(POSITION, b"1/3")]), None);
        assert!(whole.iter().all(|(name, _)| is_replay_header(name)) && !is_replay_header("weir-hop"));
    }
}
