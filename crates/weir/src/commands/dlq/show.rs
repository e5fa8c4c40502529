//! One dead letter in words: where it stood, why it was not counted, its headers, and the event
//! that it holds or, where none can be read, its bytes.

use std::fmt::Write;

use weir_core::Position;
use weir_metering::event::UsageEvent;
use weir_metering::outcome::Verdict;
use weir_pipeline::dead_letters::{Counted, Entry, Letter, Reading};
use weir_wire::dead_letter::verdict_code;

use super::plain;

/// Bytes that are shown of a value that cannot be read.
const DUMPED_BYTES_MAX: usize = 4_096;
/// Bytes in a line of a dump.
const LINE_BYTES: usize = 16;

/// Source and id of the event, where there is one.
pub(super) fn identity(reading: &Reading) -> (&str, &str) {
    match reading {
        Reading::Event(event) => (&event.source, &event.id),
        Reading::Control | Reading::Unreadable(_) => ("", ""),
    }
}

/// The whole letter.
pub(super) fn letter(entry: &Entry, letter: &Letter, reading: &Reading, counted: Counted) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name:<14}{}", plain(value));
    };
    line("position", &entry.origin.to_string());
    line("arrived_at", &entry.arrived_at.to_string());
    line("reason", &letter.info.code);
    line("message", &letter.info.message);
    line("topic", &letter.info.topic);
    if letter.origin != letter.info.position {
        line("replayed_to", &letter.info.position.to_string());
    }
    line("ledger", &ledger_words(letter.info.position, counted));
    line("letters", &format!("{}, the last of {}", entry.letters, entry.rejected_at));
    line("tenant", entry.tenant.as_deref().unwrap_or("cannot be told"));
    line("key", &letter.record.key.as_deref().map_or_else(|| "none".to_owned(), shown));
    for (at, (name, value)) in letter.own_headers().enumerate() {
        line(if at == 0 { "headers" } else { "" }, &format!("{name}: {}", shown(value)));
    }
    if let Some(count) = letter.info.headers_left_out {
        line("", &format!("{count} further headers were not kept"));
    }
    match reading {
        Reading::Event(event) => text.push_str(&event_words(event)),
        Reading::Control => text.push_str("a control record\n"),
        Reading::Unreadable(why) => {
            let _ = writeln!(text, "{:<14}{}", "unreadable", plain(why));
            text.push_str(&dump(letter));
        }
    }
    text
}

fn ledger_words(position: Position, counted: Counted) -> String {
    match counted {
        Counted::NotYet => format!("{position} is not committed"),
        Counted::Accepted => format!("{position} was counted after all"),
        Counted::Not(Verdict::Rejected(reason)) => {
            format!("{position} was rejected: {}", verdict_code(Verdict::Rejected(reason)))
        }
        Counted::Not(verdict) => format!("{position} was not counted: {}", verdict_code(verdict)),
    }
}

fn event_words(event: &UsageEvent) -> String {
    let mut text = String::new();
    let time =
        event.time.map_or_else(|| "none; the broker's stands for it".to_owned(), |time| time.to_string());
    let fields = [
        ("subject", event.tenant.as_str()),
        ("source", &event.source),
        ("id", &event.id),
        ("type", &event.event_type),
        ("time", &time),
    ];
    let data = event.data.iter().map(|(name, value)| format!("{name} = {value}"));
    let data: Vec<String> = data.collect();
    let fields = fields.into_iter().map(|(name, value)| (name, value.to_owned()));
    for (name, value) in fields.chain(data.into_iter().map(|member| ("data", member))) {
        let _ = writeln!(text, "event {name:<8}{}", plain(&value));
    }
    text
}

/// Bytes as text where they are one, otherwise as hexadecimal numbers.
fn shown(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" "),
    }
}

fn dump(letter: &Letter) -> String {
    let bytes = letter.record.payload.as_deref().unwrap_or_default();
    let mut text = String::new();
    for (at, line) in bytes[..bytes.len().min(DUMPED_BYTES_MAX)].chunks(LINE_BYTES).enumerate() {
        let numbers: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        let visible =
            |byte: &u8| if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '.' };
        let letters: String = line.iter().map(visible).collect();
        let _ = writeln!(text, "{:08x}  {:<47}  |{letters}|", at * LINE_BYTES, numbers.join(" "));
    }
    let rest = bytes.len().saturating_sub(DUMPED_BYTES_MAX);
    if rest > 0 {
        let _ = writeln!(text, "{rest} further bytes are not shown");
    }
    if let Some(length) = letter.info.truncated_from {
        let _ = writeln!(text, "the value had {length} bytes, of which the letter keeps {}", bytes.len());
    }
    text
}
