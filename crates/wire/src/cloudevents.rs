//! Usage events as CloudEvents 1.0: structured, batched and binary JSON. `subject` is
//! the tenant. Extension attributes are accepted and ignored. Numbers keep the digits
//! they were sent with; no value passes through a float.

use std::borrow::Cow;

use base64::Engine;
use serde_json::value::RawValue;
use weir_core::Timestamp;
use weir_metering::event::UsageEvent;

use crate::json_members::{Members, data_of, string_of};
pub use crate::problem::{EnvelopeProblem, EventProblem};

/// The content type of one structured event.
pub const CONTENT_TYPE: &str = "application/cloudevents+json";
/// The content type of a batch.
pub const CONTENT_TYPE_BATCH: &str = "application/cloudevents-batch+json";
/// The most events that one batch may hold.
pub const BATCH_EVENTS_MAX: usize = 10_000;

/// Reads a batch: a JSON array of structured events. Each is judged by itself.
pub fn decode_batch(bytes: &[u8]) -> Result<Vec<Result<UsageEvent, EventProblem>>, EnvelopeProblem> {
    let events: Vec<&RawValue> =
        serde_json::from_slice(bytes).map_err(|error| EnvelopeProblem::NotAnArray(error.to_string()))?;
    if events.len() > BATCH_EVENTS_MAX {
        return Err(EnvelopeProblem::TooManyEvents { max: BATCH_EVENTS_MAX });
    }
    let decode = |(index, raw): (usize, &&RawValue)| {
        decode_structured(raw.get().as_bytes())
            .map_err(|problem| EventProblem { index: Some(index), ..problem })
    };
    Ok(events.iter().enumerate().map(decode).collect())
}

/// Reads one structured event: a JSON object with the attributes and `data`.
pub fn decode_structured(bytes: &[u8]) -> Result<UsageEvent, EventProblem> {
    let members: Members<'_> = serde_json::from_slice(bytes)
        .map_err(|error| EventProblem::malformed(format!("not a CloudEvent as a JSON object: {error}")))?;
    let envelope = Envelope::read(&members)?;
    let named = |name| {
        envelope.raw(name).map(|raw| {
            string_of(raw).ok_or_else(|| EventProblem::invalid(format!("{name} must be a JSON string")))
        })
    };
    let id = named("id").transpose()?;
    let attribute = |name| Ok(named(name).transpose()?.map(Cow::Owned));
    let event = event_of(attribute, || envelope.data());
    event.map_err(|problem| problem.with_id(id.as_deref()))
}

/// Reads one event in binary form: attributes by their plain name (`id`, not `ce-id` or
/// `ce_id`), and the data as the body. For HTTP, undo [`http_attribute`]'s encoding first.
pub fn decode_binary<'a>(
    attributes: impl Fn(&str) -> Option<&'a str>,
    content_type: Option<&str>,
    body: &[u8],
) -> Result<UsageEvent, EventProblem> {
    let data = || match content_type {
        _ if body.is_empty() => Ok(Vec::new()),
        Some(other) if !is_json(other) => Err(EventProblem::invalid(format!(
            "content type {:?}: send data as a JSON object with content type application/json",
            short(other)
        ))),
        _ => object_of(body),
    };
    event_of(|name| Ok(attributes(name).map(Cow::Borrowed)), data)
        .map_err(|problem| problem.with_id(attributes("id")))
}

/// The text of an attribute out of an HTTP header's value, where CloudEvents has it
/// percent-encoded and perhaps quoted, with escapes. `None` if the outcome is not UTF-8.
/// Kafka's headers hold the text as it is.
pub fn http_attribute(value: &str) -> Option<String> {
    let value = value.trim();
    let quoted = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let inner = quoted.map_or(Cow::Borrowed(value), |inner| Cow::Owned(unescaped(inner)));
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let decoded = match (first, tail) {
            (b'%', [high, low, ..]) => hex::decode([*high, *low]).ok(),
            _ => None,
        };
        match decoded {
            Some(byte) => {
                bytes.extend(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

/// A quoted string's text: a backslash stands before what it escapes.
fn unescaped(inner: &str) -> String {
    let mut text = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        text.push(if c == '\\' { chars.next().unwrap_or(c) } else { c });
    }
    text
}

/// Writes an event in structured form; every value of `data` as a JSON string.
pub fn encode_structured(event: &UsageEvent) -> Vec<u8> {
    let mut json = serde_json::Map::new();
    let texts = [
        ("specversion", "1.0"),
        ("id", &event.id),
        ("source", &event.source),
        ("type", &event.event_type),
        ("subject", &event.tenant),
    ];
    for (name, text) in texts {
        json.insert(name.to_owned(), text.into());
    }
    if let Some(time) = event.time {
        json.insert("time".to_owned(), time.to_string().into());
    }
    if !event.data.is_empty() {
        let data: serde_json::Map<_, _> =
            event.data.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
        json.insert("datacontenttype".to_owned(), "application/json".into());
        json.insert("data".to_owned(), data.into());
    }
    serde_json::Value::Object(json).to_string().into_bytes()
}

/// The members of a structured event that mean something here.
struct Envelope<'a>([(&'static str, Option<&'a RawValue>); 9]);

impl<'a> Envelope<'a> {
    fn read(members: &Members<'a>) -> Result<Self, EventProblem> {
        let names = [
            "specversion",
            "id",
            "source",
            "type",
            "subject",
            "time",
            "datacontenttype",
            "data",
            "data_base64",
        ];
        let mut found = names.map(|name| (name, None));
        for (name, raw) in &members.0 {
            if let Some((known, slot)) = found.iter_mut().find(|(known, _)| known == name)
                && slot.replace(*raw).is_some()
            {
                return Err(EventProblem::invalid(format!("{known} is given twice; send each member once")));
            }
        }
        Ok(Self(found))
    }

    /// A member that is there and not null.
    fn raw(&self, name: &str) -> Option<&'a RawValue> {
        let (_, raw) = self.0.iter().find(|(known, _)| *known == name)?;
        raw.filter(|raw| raw.get() != "null")
    }

    fn data(&self) -> Result<Vec<(String, String)>, EventProblem> {
        match (self.raw("data"), self.raw("data_base64")) {
            (Some(_), Some(_)) => {
                Err(EventProblem::invalid("data and data_base64 are both given; send data alone"))
            }
            (Some(data), None) => object_of(data.get().as_bytes()),
            (None, Some(encoded)) => {
                let content_type = self.raw("datacontenttype").and_then(string_of);
                if !content_type.as_deref().is_some_and(is_json) {
                    return Err(EventProblem::invalid(
                        "data_base64 is taken only with datacontenttype application/json; send data as a JSON object",
                    ));
                }
                let decoded = string_of(encoded)
                    .and_then(|text| base64::engine::general_purpose::STANDARD.decode(text).ok())
                    .ok_or_else(|| {
                        EventProblem::invalid("data_base64 is not Base64; send data as a JSON object")
                    })?;
                object_of(&decoded)
            }
            (None, None) => Ok(Vec::new()),
        }
    }
}

/// Builds the event from its attributes and data, by the rules that all forms share.
fn event_of<'a>(
    attribute: impl Fn(&'static str) -> Result<Option<Cow<'a, str>>, EventProblem>,
    data: impl FnOnce() -> Result<Vec<(String, String)>, EventProblem>,
) -> Result<UsageEvent, EventProblem> {
    match attribute("specversion")?.as_deref() {
        Some("1.0") => {}
        Some(other) => {
            let other = short(other);
            return Err(EventProblem::invalid(format!("specversion is {other:?}; send specversion \"1.0\"")));
        }
        None => return Err(EventProblem::invalid("specversion is missing; send specversion \"1.0\"")),
    }
    let required = |name, meaning| match attribute(name)? {
        Some(text) if !text.is_empty() => Ok(text.into_owned()),
        Some(_) => Err(EventProblem::invalid(format!("{name} is empty; send {meaning}"))),
        None => Err(EventProblem::invalid(format!("{name} is missing; send {meaning}"))),
    };
    let id = required("id", "an id that is unique for its source, the same when the event is sent again")?;
    let source = required("source", "who emitted the event, such as \"//gateway.eu\"")?;
    let event_type = required("type", "the event type that meters choose by, such as \"api.request\"")?;
    let tenant = required("subject", "the tenant's id as subject")?;
    let time = attribute("time")?
        .map(|text| Timestamp::parse(&text))
        .transpose()
        .map_err(|error| EventProblem::invalid(format!("time: {error}")))?;
    Ok(UsageEvent { tenant, source, id, event_type, time, data: data()? })
}

fn object_of(json: &[u8]) -> Result<Vec<(String, String)>, EventProblem> {
    let members: Members<'_> = serde_json::from_slice(json).map_err(|error| {
        let detail = format!("data must be a JSON object such as {{\"bytes\": \"12.5\"}}: {error}");
        if error.is_data() { EventProblem::invalid(detail) } else { EventProblem::malformed(detail) }
    })?;
    data_of(&members)
}

/// Whether a media type means JSON: `application/json`, `text/json`, `…/…+json`.
fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence.split_once('/').is_some_and(|(_, subtype)| subtype == "json" || subtype.ends_with("+json"))
}

fn short(text: &str) -> String {
    text.chars().take(64).collect()
}
