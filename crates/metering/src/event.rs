//! A usage event as the services emit it, and the rules that every accepted one obeys.
//! The rules imply every store's limits (invariant 11). They do not ask whether the tenant
//! exists, or whether a meter can take the values: that is the catalogue's to say.

mod buffer;
mod hashes;

use weir_core::tenant::InvalidTenantId;
use weir_core::{TenantId, Timestamp};

pub use buffer::{EventBuffer, EventRef};
pub use hashes::{EventHasher, EventHashes, content_hash};

/// The longest `id`, `source`, `type`, dimension name and dimension value, in bytes.
pub const TEXT_BYTES_MAX: usize = 256;
/// The most entries in `data`.
pub const DATA_ENTRIES_MAX: usize = 64;
/// The longest `data` value that no meter uses as a dimension, in bytes.
pub const DATA_VALUE_BYTES_MAX: usize = 4096;

/// A usage event. Whatever format it came in, it has become this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageEvent {
    /// CloudEvents `subject`: the tenant, not yet known to exist.
    pub tenant: String,
    /// CloudEvents `source`.
    pub source: String,
    /// CloudEvents `id`; unique with tenant and source.
    pub id: String,
    /// CloudEvents `type`; meters choose events by it.
    pub event_type: String,
    /// CloudEvents `time`; `None` means the broker's time of its first arrival.
    pub time: Option<Timestamp>,
    /// The top-level members of `data`, sorted by name, each once: texts as they are,
    /// numbers and booleans in their JSON spelling, objects and arrays as compact JSON;
    /// nulls are left out.
    pub data: Vec<(String, String)>,
}

/// Which rule an event breaks, naming the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEvent {
    /// The subject is no tenant's name.
    #[error("subject: {0}")]
    Tenant(InvalidTenantId),
    /// A field that must not be empty is.
    #[error("{field} is empty")]
    Empty {
        /// Which field.
        field: String,
    },
    /// A field is longer than the stores keep.
    #[error("{field} has {bytes} bytes, more than {bytes_max}")]
    TooLong {
        /// Which field.
        field: String,
        /// Its length.
        bytes: usize,
        /// The most that is taken.
        bytes_max: usize,
    },
    /// A field holds a character that no store should.
    #[error("{field} holds a control character (U+0000 to U+001F or U+007F to U+009F)")]
    ControlCharacter {
        /// Which field.
        field: String,
    },
    /// Too many members of `data`.
    #[error("data has {entries} members, more than {DATA_ENTRIES_MAX}")]
    TooManyEntries {
        /// How many.
        entries: usize,
    },
    /// A member of `data` is there twice, or the members are not sorted.
    #[error("data names {name:?} twice, or is not sorted by name")]
    DoubledName {
        /// The member's name, cut to 64 characters.
        name: String,
    },
}

impl UsageEvent {
    /// An event from its parts, with `data` in any order.
    ///
    /// # Errors
    /// [`InvalidEvent::DoubledName`]. The other rules are [`validate`]'s.
    pub fn new(
        (tenant, source, id): (String, String, String),
        event_type: String,
        time: Option<Timestamp>,
        mut data: Vec<(String, String)>,
    ) -> Result<Self, InvalidEvent> {
        data.sort_by(|a, b| a.0.cmp(&b.0));
        check_rising(data.iter().map(|(name, _)| name.as_str()))?;
        Ok(Self { tenant, source, id, event_type, time, data })
    }

    /// When it is taken to have happened: the broker's time of its arrival stands in for
    /// a time that it does not have.
    pub fn time_or(&self, broker_time: Timestamp) -> Timestamp {
        self.time.unwrap_or(broker_time)
    }

    /// The value of a member of `data`.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.data.binary_search_by(|(key, _)| key.as_str().cmp(name)).ok().map(|at| self.data[at].1.as_str())
    }
}

/// Whether an event obeys every rule that needs no catalogue.
///
/// # Errors
/// As [`EventRef::validate`].
pub fn validate(event: &UsageEvent) -> Result<(), InvalidEvent> {
    EventBuffer::of(event).get(0).validate()
}

impl EventRef<'_> {
    /// Whether it obeys every rule that needs no catalogue.
    ///
    /// # Errors
    /// The first rule that is broken, in the order of the fields.
    pub fn validate(&self) -> Result<(), InvalidEvent> {
        if !TenantId::is_valid(self.tenant()) {
            return Err(InvalidEvent::Tenant(InvalidTenantId));
        }
        self.validate_facts()
    }

    /// [`EventRef::validate`] for an event whose tenant is known to be one.
    pub(crate) fn validate_facts(&self) -> Result<(), InvalidEvent> {
        // One look at all texts at once: almost no event has a suspicious byte.
        let plain = !may_have_control(self.texts().0);
        check_text(self.source(), 1, TEXT_BYTES_MAX, plain, || "source".to_owned())?;
        check_text(self.id(), 1, TEXT_BYTES_MAX, plain, || "id".to_owned())?;
        check_text(self.event_type(), 1, TEXT_BYTES_MAX, plain, || "type".to_owned())?;
        if self.data_len() > DATA_ENTRIES_MAX {
            return Err(InvalidEvent::TooManyEntries { entries: self.data_len() });
        }
        for (name, value) in self.data() {
            check_text(name, 1, TEXT_BYTES_MAX, plain, || format!("the name {:?} in data", shown(name)))?;
            check_text(value, 0, DATA_VALUE_BYTES_MAX, plain, || format!("data member {:?}", shown(name)))?;
        }
        check_rising(self.data().map(|(name, _)| name))
    }
}

fn check_text(
    text: &str,
    bytes_min: usize,
    bytes_max: usize,
    plain: bool,
    field: impl Fn() -> String,
) -> Result<(), InvalidEvent> {
    if text.len() < bytes_min {
        return Err(InvalidEvent::Empty { field: field() });
    }
    if text.len() > bytes_max {
        return Err(InvalidEvent::TooLong { field: field(), bytes: text.len(), bytes_max });
    }
    if !plain && has_control(text) {
        return Err(InvalidEvent::ControlCharacter { field: field() });
    }
    Ok(())
}

/// Whether a text holds a character of U+0000 to U+001F or U+007F to U+009F.
pub(crate) fn has_control(text: &str) -> bool {
    may_have_control(text) && text.chars().any(char::is_control)
}

/// False only where there is surely none: U+0080 to U+009F begin with the byte 0xC2 in
/// UTF-8. Looks at every byte without a branch, so that many are compared at once.
fn may_have_control(text: &str) -> bool {
    text.bytes().fold(false, |found, b| found | (b < 0x20) | (b == 0x7f) | (b == 0xc2))
}

fn check_rising<'a>(mut names: impl Iterator<Item = &'a str>) -> Result<(), InvalidEvent> {
    let Some(mut before) = names.next() else { return Ok(()) };
    for name in names {
        if before >= name {
            return Err(InvalidEvent::DoubledName { name: shown(name) });
        }
        before = name;
    }
    Ok(())
}

/// A name or id as it may stand in an error: its first 64 characters.
pub(crate) fn shown(name: &str) -> String {
    name.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(change: impl Fn(&mut UsageEvent)) -> UsageEvent {
        let mut event = UsageEvent {
            tenant: "acme".into(),
            source: "gateway".into(),
            id: "1".into(),
            event_type: "request".into(),
            time: None,
            data: vec![("bytes".into(), "10".into()), ("region".into(), "eu".into())],
        };
        change(&mut event);
        event
    }

    fn check(change: impl Fn(&mut UsageEvent), expected: &str) {
        let found = match validate(&event(change)) {
            Ok(()) => "ok".to_owned(),
            Err(error) => error.to_string(),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn rules() {
        check(|_| {}, "ok");
        check(|e| e.tenant = "a/b".into(), &format!("subject: {InvalidTenantId}"));
        check(|e| e.id.clear(), "id is empty");
        check(|e| e.source = "ü".repeat(128), "ok");
        check(|e| e.source = "ü".repeat(129), "source has 258 bytes, more than 256");
        let control = "holds a control character (U+0000 to U+001F or U+007F to U+009F)";
        check(|e| e.id = "a\0".into(), &format!("id {control}"));
        check(|e| e.event_type = "a\u{85}".into(), &format!("type {control}"));
        check(|e| e.source = "a\u{a0}".into(), "ok");
        check(|e| e.data[0].1 = "\u{7f}".into(), &format!("data member \"bytes\" {control}"));
        check(|e| e.data[0].0 = "\n".into(), &format!("the name \"\\n\" in data {control}"));
        check(|e| e.data[1].1 = "x".repeat(4096), "ok");
        check(|e| e.data[1].1 = "x".repeat(4097), "data member \"region\" has 4097 bytes, more than 4096");
        check(|e| e.data[1].0 = "bytes".into(), "data names \"bytes\" twice, or is not sorted by name");
        let many = |n: usize| (100..100 + n).map(|i| (i.to_string(), String::new())).collect::<Vec<_>>();
        check(|e| e.data = many(64), "ok");
        check(|e| e.data = many(65), "data has 65 members, more than 64");
    }

    #[test]
    fn new_sorts_and_refuses_doubles() {
        let of = |names: &[&str]| {
            let data = names.iter().map(|n| ((*n).to_owned(), "1".to_owned())).collect();
            UsageEvent::new(("acme".into(), "s".into(), "1".into()), "t".into(), None, data)
        };
        assert_eq!(of(&["b", "a"]).unwrap().value("b"), Some("1"));
        assert!(of(&["b", "a", "b"]).is_err());
    }
}
