//! Dead letters: the original record with headers that say where it stood and why it
//! was not counted. The same record may be written here more than once (a batch that
//! was applied again): readers keep one a source position.

use weir_core::{Position, Timestamp};
use weir_metering::outcome::{RejectReason, Verdict};

/// What every header of a dead letter begins with.
pub const PREFIX: &str = "weir-dlq-";
/// The topic it stood in.
pub const TOPIC: &str = "weir-dlq-topic";
/// That topic's generation.
pub const GENERATION: &str = "weir-dlq-generation";
/// The partition it stood in.
pub const PARTITION: &str = "weir-dlq-partition";
/// Its offset there.
pub const OFFSET: &str = "weir-dlq-offset";
/// The broker's time of it, RFC 3339.
pub const TIME: &str = "weir-dlq-time";
/// Why, as a code.
pub const CODE: &str = "weir-dlq-code";
/// Why, in words.
pub const MESSAGE: &str = "weir-dlq-message";
/// The version of this layout.
pub const VERSION: &str = "weir-dlq-version";
/// The value's length in bytes before it was cut; absent when it was not.
pub const TRUNCATED: &str = "weir-dlq-truncated";
/// How many of the record's own headers were left out; absent when none was.
pub const HEADERS_LEFT_OUT: &str = "weir-dlq-headers-left-out";

/// The longest message, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 1_024;
/// The longest value that is kept whole, in bytes.
pub const VALUE_BYTES_MAX: usize = 1_048_576;
/// The version that [`DeadLetterInfo::headers`] writes.
const LAYOUT_VERSION: u32 = 1;

/// What a dead letter says about the record that it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetterInfo {
    /// The topic that the record stood in.
    pub topic: String,
    /// Where; what readers collapse by.
    pub position: Position,
    /// The broker's time of it.
    pub broker_time: Timestamp,
    /// Why, as a code: see [`verdict_code`].
    pub code: String,
    /// Why, in words, at most [`MESSAGE_BYTES_MAX`].
    pub message: String,
    /// The value's original length in bytes, if it was cut.
    pub truncated_from: Option<u64>,
    /// How many of its own headers were left out, if any.
    pub headers_left_out: Option<u64>,
}

/// Headers that are not those of a dead letter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotADeadLetter {
    /// A header is missing.
    #[error("the header {0} is missing")]
    Missing(&'static str),
    /// A header that cannot be read.
    #[error("the header {0} cannot be read")]
    Unreadable(&'static str),
}

impl DeadLetterInfo {
    /// The headers to add beside the record's own, of which [`is_own_header`] ones are left out.
    pub fn headers(&self) -> Vec<(&'static str, Vec<u8>)> {
        let mut headers = vec![
            (TOPIC, self.topic.clone()),
            (GENERATION, self.position.generation.to_string()),
            (PARTITION, self.position.partition.to_string()),
            (OFFSET, self.position.offset.to_string()),
            (TIME, self.broker_time.to_string()),
            (CODE, self.code.clone()),
            (MESSAGE, cut_message(&self.message).to_owned()),
            (VERSION, LAYOUT_VERSION.to_string()),
        ];
        headers.extend(self.truncated_from.map(|length| (TRUNCATED, length.to_string())));
        headers.extend(self.headers_left_out.map(|count| (HEADERS_LEFT_OUT, count.to_string())));
        headers.into_iter().map(|(name, text)| (name, text.into_bytes())).collect()
    }

    /// Reads the headers of a dead letter; where one is doubled, the last counts. A layout of
    /// another version is not read.
    pub fn parse(headers: &[(&str, &[u8])]) -> Result<Self, NotADeadLetter> {
        let find = |name: &'static str| {
            let found = headers.iter().rev().find(|(header, _)| *header == name);
            found.map(|(_, bytes)| std::str::from_utf8(bytes).map_err(|_| NotADeadLetter::Unreadable(name)))
        };
        let text = |name| find(name).unwrap_or(Err(NotADeadLetter::Missing(name)));
        if number::<u32>(VERSION, text(VERSION)?)? != LAYOUT_VERSION {
            return Err(NotADeadLetter::Unreadable(VERSION));
        }
        let position = Position {
            generation: number(GENERATION, text(GENERATION)?)?,
            partition: number(PARTITION, text(PARTITION)?)?,
            offset: number(OFFSET, text(OFFSET)?)?,
        };
        Ok(Self {
            topic: text(TOPIC)?.to_owned(),
            position,
            broker_time: Timestamp::parse(text(TIME)?).map_err(|_| NotADeadLetter::Unreadable(TIME))?,
            code: text(CODE)?.to_owned(),
            message: text(MESSAGE)?.to_owned(),
            truncated_from: find(TRUNCATED).map(|length| number(TRUNCATED, length?)).transpose()?,
            headers_left_out: find(HEADERS_LEFT_OUT)
                .map(|count| number(HEADERS_LEFT_OUT, count?))
                .transpose()?,
        })
    }
}

fn number<N: std::str::FromStr>(name: &'static str, text: &str) -> Result<N, NotADeadLetter> {
    text.parse().map_err(|_| NotADeadLetter::Unreadable(name))
}

/// Whether a header is one of a dead letter's own; replaying leaves these out.
pub fn is_own_header(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// The part of a value that a dead letter keeps, and its length when it was cut.
pub fn cut_value(value: &[u8]) -> (&[u8], Option<u64>) {
    match value.get(..VALUE_BYTES_MAX) {
        Some(kept) if value.len() > VALUE_BYTES_MAX => (kept, u64::try_from(value.len()).ok()),
        _ => (value, None),
    }
}

/// The part of a message that a dead letter keeps.
pub(crate) fn cut_message(message: &str) -> &str {
    &message[..message.floor_char_boundary(MESSAGE_BYTES_MAX)]
}

/// The code of a reason, as dead letters, answers and metrics spell it.
pub fn reason_code(reason: RejectReason) -> &'static str {
    match reason {
        RejectReason::Malformed => "malformed",
        RejectReason::UnknownSchema => "unknown_schema",
        RejectReason::InvalidEvent => "invalid_event",
        RejectReason::InvalidValue => "invalid_value",
        RejectReason::UnknownTenant => "unknown_tenant",
        RejectReason::TooLate => "too_late",
        RejectReason::InFuture => "in_future",
        RejectReason::Misrouted => "misrouted",
        RejectReason::Oversized => "oversized",
        RejectReason::RefusedByStore => "refused_by_store",
    }
}

/// The code of what became of a record. Dead letters carry `conflict` and the reasons.
pub fn verdict_code(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Duplicate => "duplicate",
        Verdict::Conflict => "conflict",
        Verdict::Rejected(reason) => reason_code(reason),
        Verdict::Forwarded => "forwarded",
        Verdict::Control => "control",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info() -> DeadLetterInfo {
        DeadLetterInfo {
            topic: "weir.usage.v1".to_owned(),
            position: Position { generation: 2, partition: 7, offset: 1_234_567 },
            broker_time: Timestamp::parse("2026-11-24T08:00:00.123Z").unwrap(),
            code: verdict_code(Verdict::Rejected(RejectReason::TooLate)).to_owned(),
            message: "36 days late".to_owned(),
            truncated_from: None,
            headers_left_out: None,
        }
    }

    fn parse(headers: &[(&'static str, Vec<u8>)]) -> Result<DeadLetterInfo, NotADeadLetter> {
        let borrowed: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_slice())).collect();
        DeadLetterInfo::parse(&borrowed)
    }

    #[test]
    fn headers_come_back() {
        for truncated_from in [None, Some(10_485_760)] {
            let headers_left_out = truncated_from.map(|_| 3);
            let info = DeadLetterInfo { truncated_from, headers_left_out, ..info() };
            assert_eq!(parse(&info.headers()), Ok(info));
        }
    }

    #[test]
    fn a_missing_header_and_a_bad_one_are_named() {
        for at in 0..8 {
            let mut headers = info().headers();
            let (name, _) = headers.remove(at);
            assert_eq!(parse(&headers), Err(NotADeadLetter::Missing(name)));
        }
        for name in [GENERATION, PARTITION, OFFSET, TIME, VERSION] {
            let mut headers = info().headers();
            headers.push((name, b"later".to_vec()));
            assert_eq!(parse(&headers), Err(NotADeadLetter::Unreadable(name)));
        }
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let headers = DeadLetterInfo { message: "ü".repeat(600) + "x", ..info() }.headers();
        let message = parse(&headers).unwrap().message;
        assert_eq!(message, "ü".repeat(512));
        let odd = DeadLetterInfo { message: "x".to_owned() + &"ü".repeat(600), ..info() }.headers();
        assert_eq!(parse(&odd).unwrap().message.len(), 1_023);
    }

    #[test]
    fn a_value_is_kept_whole_up_to_a_mebibyte() {
        let value = vec![0_u8; VALUE_BYTES_MAX + 1];
        assert_eq!(cut_value(&value[1..]), (&value[1..], None));
        assert_eq!(cut_value(&value), (&value[1..], Some(1_048_577)));
    }

    #[test]
    fn own_headers_are_known_by_their_prefix() {
        assert!(info().headers().iter().all(|(name, _)| is_own_header(name)));
        assert!(!is_own_header("traceparent"));
    }
}
