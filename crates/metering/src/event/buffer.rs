//! Many events in one buffer, so that reading and counting a batch allocates nothing an
//! event: the texts of all events stand behind one another, beside the ends of each.
//! It checks no rules; [`EventRef::validate`] does.

use weir_core::Timestamp;

use super::UsageEvent;

/// Tenant, source, id and type, before the names and values of `data`.
const FIXED_TEXTS: usize = 4;
/// Texts of an event for which room is made: those and three members.
const TEXTS_ABOUT: usize = FIXED_TEXTS + 6;

/// Events in the order in which they were added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventBuffer {
    text: String,
    /// Where each text ends, counted from the beginning of its event.
    ends: Vec<u32>,
    events: Vec<Entry>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    /// Where its texts begin.
    text_from: usize,
    /// Where their ends begin.
    ends_from: usize,
    time: Option<Timestamp>,
}

/// An event in a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventRef<'a> {
    /// Tenant, source, id, type, then name and value of each member of `data`.
    text: &'a str,
    /// Where each of them ends.
    ends: &'a [u32],
    /// CloudEvents `time`; `None` means the broker's time of its first arrival.
    pub time: Option<Timestamp>,
}

impl EventBuffer {
    /// A buffer of one event.
    pub fn of(event: &UsageEvent) -> Self {
        let mut buffer = Self::default();
        buffer.push(event);
        buffer
    }

    /// Adds an event.
    pub fn push(&mut self, event: &UsageEvent) {
        let data = event.data.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        self.push_parts([&event.tenant, &event.source, &event.id, &event.event_type], event.time, data);
    }

    /// Adds an event from its tenant, source, id and type, its time, and the members of
    /// `data`, sorted by name.
    pub fn push_parts<'t>(
        &mut self,
        texts: [&str; FIXED_TEXTS],
        time: Option<Timestamp>,
        data: impl Iterator<Item = (&'t str, &'t str)>,
    ) {
        self.events.push(Entry { text_from: self.text.len(), ends_from: self.ends.len(), time });
        texts.into_iter().for_each(|text| self.push_text(text));
        for (name, value) in data {
            self.push_text(name);
            self.push_text(value);
        }
    }

    fn push_text(&mut self, text: &str) {
        self.text.push_str(text);
        let from = self.events.last().map_or(0, |event| event.text_from);
        self.ends.push(u32::try_from(self.text.len() - from).unwrap_or(u32::MAX));
    }

    /// Adds an event of another buffer.
    pub fn push_ref(&mut self, event: EventRef<'_>) {
        self.events.push(Entry { text_from: self.text.len(), ends_from: self.ends.len(), time: event.time });
        self.text.push_str(event.text);
        self.ends.extend_from_slice(event.ends);
    }

    /// How many bytes of memory it holds, used or not.
    pub fn held_bytes(&self) -> usize {
        self.text.capacity() + 4 * self.ends.capacity() + size_of::<Entry>() * self.events.capacity()
    }

    /// Makes room for so many more events of so many bytes.
    pub fn reserve(&mut self, events: usize, bytes: usize) {
        self.text.reserve(bytes);
        self.ends.reserve(events * TEXTS_ABOUT);
        self.events.reserve(events);
    }

    /// How many events there are.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// An event.
    ///
    /// # Panics
    /// When there are not that many.
    pub fn get(&self, index: usize) -> EventRef<'_> {
        let Entry { text_from, ends_from, time } = self.events[index];
        let next = self.events.get(index + 1);
        let text = &self.text[text_from..next.map_or(self.text.len(), |next| next.text_from)];
        let ends = &self.ends[ends_from..next.map_or(self.ends.len(), |next| next.ends_from)];
        EventRef { text, ends, time }
    }
}

impl<'a> EventRef<'a> {
    /// CloudEvents `subject`: the tenant, not yet known to exist.
    pub fn tenant(&self) -> &'a str {
        self.between(0, self.end(0))
    }

    /// CloudEvents `source`.
    pub fn source(&self) -> &'a str {
        self.between(self.end(0), self.end(1))
    }

    /// CloudEvents `id`; unique with tenant and source.
    pub fn id(&self) -> &'a str {
        self.between(self.end(1), self.end(2))
    }

    /// CloudEvents `type`; meters choose events by it.
    pub fn event_type(&self) -> &'a str {
        self.between(self.end(2), self.end(3))
    }

    /// Names and values of the members of `data`, sorted by name.
    pub fn data(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let event = *self;
        let mut from = self.end(FIXED_TEXTS - 1);
        let (pairs, _) = self.ends[FIXED_TEXTS..].as_chunks::<2>();
        pairs.iter().map(move |[name_end, value_end]| {
            let (name_end, value_end) = (index(*name_end), index(*value_end));
            let name = event.between(from, name_end);
            from = value_end;
            (name, event.between(name_end, value_end))
        })
    }

    /// How many members `data` has.
    pub fn data_len(&self) -> usize {
        (self.ends.len() - FIXED_TEXTS) / 2
    }

    /// The value of a member of `data`.
    pub fn value(&self, name: &str) -> Option<&'a str> {
        self.data().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// When it is taken to have happened: the broker's time of its arrival stands in for
    /// a time that it does not have.
    pub fn time_or(&self, broker_time: Timestamp) -> Timestamp {
        self.time.unwrap_or(broker_time)
    }

    /// The event by itself.
    pub fn to_event(&self) -> UsageEvent {
        UsageEvent {
            tenant: self.tenant().to_owned(),
            source: self.source().to_owned(),
            id: self.id().to_owned(),
            event_type: self.event_type().to_owned(),
            time: self.time,
            data: self.data().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        }
    }

    /// How many bytes its texts have together.
    pub fn texts_len(&self) -> usize {
        self.text.len()
    }

    /// About how many bytes of memory it needs in a buffer.
    pub fn bytes(&self) -> usize {
        self.text.len() + 4 * self.ends.len() + size_of::<Entry>()
    }

    /// All texts behind one another, and where each ends.
    pub(crate) fn texts(&self) -> (&'a str, &'a [u32]) {
        (self.text, self.ends)
    }

    fn end(&self, text: usize) -> usize {
        index(self.ends[text])
    }

    fn between(&self, from: usize, to: usize) -> &'a str {
        &self.text[from..to]
    }
}

/// An end as an index.
pub(super) fn index(end: u32) -> usize {
    usize::try_from(end).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: &str, time: Option<Timestamp>, data: &[(&str, &str)]) -> UsageEvent {
        UsageEvent {
            tenant: "acme".into(),
            source: "gateway".into(),
            id: id.into(),
            event_type: "request".into(),
            time,
            data: data.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        }
    }

    #[test]
    fn events_come_back_as_they_went_in() {
        let events = [
            event("1", None, &[("bytes", "10"), ("region", "ü")]),
            event("", Some(Timestamp::clamped(7)), &[]),
            event("3", None, &[("a", ""), ("b", "x")]),
        ];
        let mut buffer = EventBuffer::default();
        events.iter().for_each(|event| buffer.push(event));
        assert_eq!(buffer.len(), 3);
        let found: Vec<_> = (0..3).map(|at| buffer.get(at).to_event()).collect();
        assert_eq!(found, events);
        assert_eq!(buffer.get(0).value("region"), Some("ü"));
        assert_eq!(buffer.get(0).value("regio"), None);
    }
}
