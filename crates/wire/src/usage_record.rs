//! Records of the usage topic, as bytes and headers, into what the shard applies.
//! Total: any bytes become a record, unreadable ones with a reason and words.

use weir_core::Timestamp;
use weir_metering::event::UsageEvent;
use weir_metering::outcome::RejectReason;
use weir_metering::quota::LimitSet;
use weir_metering::record::{Batch, JournalRecord, RecordBody};

use crate::adjustment;
use crate::avro::{
    Frame, SchemaId, SchemaSet, Unreadable, decode_frame, decode_shipped, parse_frame,
    parse_frame_with_header,
};
use crate::cloudevents::{CONTENT_TYPE, CONTENT_TYPE_BATCH, decode_binary, decode_structured};
use crate::problem::EventProblem;
use crate::replay::ReplayOrigin;

/// The header with the media type of the value.
pub const HEADER_CONTENT_TYPE: &str = "content-type";
/// The header that makes a record a control record, with [`CONTROL_LIMITS`],
/// [`CONTROL_ADJUSTMENT`] or [`CONTROL_TICK`].
pub const HEADER_CONTROL: &str = "weir-control";
/// The header of a forwarded record: how often it was forwarded, in decimal.
pub const HEADER_HOP: &str = "weir-hop";
/// The header with a schema id in Confluent's header form.
pub const HEADER_SCHEMA_ID: &str = "__value_schema_id";
/// The header with the W3C trace context; passes through.
pub const HEADER_TRACEPARENT: &str = "traceparent";
/// What the attributes of a CloudEvent in binary form begin with.
pub const ATTRIBUTE_PREFIX: &str = "ce_";
/// The attributes that are read; others are extensions.
const ATTRIBUTES: [&str; 6] = ["specversion", "id", "source", "type", "subject", "time"];
/// What makes a record a CloudEvent in binary form.
const SPECVERSION_HEADER: &str = "ce_specversion";
/// Limits of a tenant: the value is [`encode_limits`]'s.
pub const CONTROL_LIMITS: &str = "limits";
/// An adjustment of a tenant's usage: the value is [`crate::adjustment::encode`]'s.
pub const CONTROL_ADJUSTMENT: &str = "adjustment";
/// A tick: the value is empty.
pub const CONTROL_TICK: &str = "tick";
/// The largest value that is read unless the configuration says otherwise, in bytes.
pub const RECORD_BYTES_MAX: usize = 1_048_576;
/// The most that key and headers may have together, in bytes: forwarded and dead-lettered
/// records carry them and more, and must still fit into a topic.
pub const HEADERS_BYTES_MAX: usize = 65_536;

/// A record as the broker gave it.
#[derive(Clone, Copy, Debug)]
pub struct RawRecord<'a> {
    /// Its key; the partition follows from it, the tenant does not.
    pub key: Option<&'a [u8]>,
    /// Its value.
    pub payload: Option<&'a [u8]>,
    /// Its headers, in order.
    pub headers: &'a [(&'a str, &'a [u8])],
    /// Its offset.
    pub offset: i64,
    /// The broker's time in milliseconds since 1970; clamped to what stores can keep.
    pub broker_time_ms: i64,
}

impl<'a> RawRecord<'a> {
    /// The last header of a name.
    fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers
            .iter()
            .rev()
            .find(|(header, _)| header.eq_ignore_ascii_case(name))
            .map(|(_, value)| *value)
    }

    fn text_header(&self, name: &str) -> Option<&'a str> {
        self.header(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// The attributes of a CloudEvent in binary form that mean something here. A text that
    /// cannot be read, or two for one name, are refused: a time that is left out would count
    /// the event at another one.
    fn attributes(&self) -> Result<Attributes<'a>, EventProblem> {
        let mut found = ATTRIBUTES.map(|name| (name, None));
        for (header, value) in self.headers {
            let Some(name) = header.strip_prefix(ATTRIBUTE_PREFIX) else { continue };
            let Some((known, slot)) = found.iter_mut().find(|(known, _)| *known == name) else { continue };
            let text = std::str::from_utf8(value)
                .map_err(|_| EventProblem::invalid(format!("the header ce_{known} is not UTF-8")))?;
            if slot.replace(text).is_some() {
                return Err(EventProblem::invalid(format!("the header ce_{known} is given twice")));
            }
        }
        Ok(Attributes(found))
    }

    fn is_binary(&self) -> bool {
        self.headers.iter().any(|(header, _)| *header == SPECVERSION_HEADER)
    }

    fn frame(&self) -> Result<Frame<'a>, Unreadable> {
        let payload = self.payload.unwrap_or_default();
        let frame = match self.header(HEADER_SCHEMA_ID) {
            Some(header) => parse_frame_with_header(header, payload),
            None => parse_frame(payload),
        };
        frame.map_err(Unreadable::from)
    }
}

/// Attributes by their plain name.
struct Attributes<'a>([(&'static str, Option<&'a str>); 6]);

impl<'a> Attributes<'a> {
    fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(known, _)| *known == name).and_then(|(_, text)| *text)
    }
}

/// How a value is written, by its headers and first byte.
enum Format {
    Limits,
    Adjustment,
    Tick,
    UnknownControl,
    Structured,
    Batch,
    Binary,
    Avro,
    Empty,
    Zeros,
    Unknown,
}

fn format_of(record: &RawRecord<'_>) -> Format {
    let payload = record.payload.unwrap_or_default();
    if let Some(control) = record.header(HEADER_CONTROL) {
        return match control {
            b"limits" => Format::Limits,
            b"adjustment" => Format::Adjustment,
            b"tick" => Format::Tick,
            _ => Format::UnknownControl,
        };
    }
    let content_type = record.text_header(HEADER_CONTENT_TYPE).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case(CONTENT_TYPE_BATCH) {
        Format::Batch
    } else if essence.eq_ignore_ascii_case(CONTENT_TYPE) {
        Format::Structured
    } else if record.is_binary() {
        Format::Binary
    } else if payload.is_empty() {
        Format::Empty
    } else if record.header(HEADER_SCHEMA_ID).is_some() {
        Format::Avro
    } else if payload.iter().all(|byte| *byte == 0) {
        Format::Zeros
    } else if payload.starts_with(&[0]) {
        Format::Avro
    } else {
        Format::Unknown
    }
}

/// The schema that must be asked of a registry before the record can be read, if any.
pub fn needed_schema(schemas: &SchemaSet, record: &RawRecord<'_>, bytes_max: usize) -> Option<SchemaId> {
    if record.payload.is_none() || oversize(record, bytes_max).is_some() {
        return None;
    }
    match format_of(record) {
        Format::Avro => record.frame().ok().map(|frame| frame.schema_id).filter(|id| schemas.may_learn(*id)),
        _ => None,
    }
}

/// Reads a record into a batch: as [`decode_record`], but most events go into the batch's
/// buffer from where they stand.
pub fn decode_into(schemas: &SchemaSet, record: &RawRecord<'_>, bytes_max: usize, batch: &mut Batch) {
    let fits = record.payload.is_some() && oversize(record, bytes_max).is_none();
    let replayed = ReplayOrigin::parse(record.headers).is_some();
    let framed = fits && !replayed && matches!(format_of(record), Format::Avro);
    let broker_time = Timestamp::clamped(record.broker_time_ms);
    let read = framed
        && record.frame().is_ok_and(|frame| {
            batch.push_event(record.offset, broker_time, hops_of(record), |events| {
                decode_shipped(schemas, frame, events)
            })
        });
    if !read {
        batch.push(decode_record(schemas, record, bytes_max));
    }
}

/// Reads a record. Values longer than `bytes_max` are not looked into.
pub fn decode_record(schemas: &SchemaSet, record: &RawRecord<'_>, bytes_max: usize) -> JournalRecord {
    let body = decode_body(schemas, record, bytes_max)
        .unwrap_or_else(|problem| RecordBody::Unreadable { reason: problem.reason, detail: problem.detail });
    JournalRecord { offset: record.offset, broker_time: Timestamp::clamped(record.broker_time_ms), body }
}

fn decode_body(
    schemas: &SchemaSet,
    record: &RawRecord<'_>,
    bytes_max: usize,
) -> Result<RecordBody, EventProblem> {
    let payload = record.payload.unwrap_or_default();
    if let Some(detail) = oversize(record, bytes_max) {
        return Err(EventProblem::of(RejectReason::Oversized, detail));
    }
    let mut event: UsageEvent = match format_of(record) {
        Format::Tick => return Ok(RecordBody::Tick),
        Format::Limits => {
            let set = decode_limits(payload)?;
            return Ok(RecordBody::Limits { set, hops: hops_of(record) });
        }
        Format::Adjustment => {
            let (adjustment, seal) = adjustment::decode(payload)?;
            return Ok(RecordBody::Adjustment { adjustment, seal, hops: hops_of(record) });
        }
        Format::Structured => decode_structured(payload)?,
        Format::Binary => {
            let content_type = record.text_header(HEADER_CONTENT_TYPE);
            let attributes = record.attributes()?;
            decode_binary(|name| attributes.get(name), content_type, payload)?
        }
        Format::Avro => record.frame().and_then(|frame| decode_frame(schemas, frame))?,
        Format::UnknownControl => {
            return Err(EventProblem::malformed(
                "the header weir-control holds none of limits, adjustment and tick",
            ));
        }
        Format::Batch => {
            return Err(EventProblem::malformed("a batch of CloudEvents; send one event a record"));
        }
        Format::Empty => return Err(EventProblem::malformed("the value is empty")),
        Format::Zeros => {
            return Err(EventProblem::malformed(format!("the value is {} zero bytes", payload.len())));
        }
        Format::Unknown => {
            return Err(EventProblem::malformed(
                "no known format: send Avro in Confluent's framing, a CloudEvent with the header content-type \
                 application/cloudevents+json, or one in binary form with ce_ headers",
            ));
        }
    };
    // A replayed event without a time of its own happened when the broker first had it.
    let arrived_at = || ReplayOrigin::parse(record.headers).map(|origin| origin.broker_time);
    event.time = event.time.or_else(arrived_at);
    Ok(RecordBody::Event { event, hops: hops_of(record) })
}

/// What of a record is too large, in words.
fn oversize(record: &RawRecord<'_>, bytes_max: usize) -> Option<String> {
    let value = record.payload.map_or(0, <[u8]>::len);
    if value > bytes_max {
        return Some(format!("the value has {value} bytes, more than the {bytes_max} that are read"));
    }
    let headers = record.headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
    let beside = headers + record.key.map_or(0, <[u8]>::len);
    (beside > HEADERS_BYTES_MAX).then(|| {
        format!("key and headers have {beside} bytes, more than the {HEADERS_BYTES_MAX} that are read")
    })
}

/// How often a record was forwarded. A header that cannot be read counts as once, so
/// that no record travels for ever.
fn hops_of(record: &RawRecord<'_>) -> u8 {
    match record.header(HEADER_HOP) {
        None => 0,
        Some(value) => std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).unwrap_or(1),
    }
}

/// Writes the value of a limits record.
pub fn encode_limits(limits: &LimitSet) -> Vec<u8> {
    serde_json::json!(limits).to_string().into_bytes()
}

fn decode_limits(payload: &[u8]) -> Result<LimitSet, EventProblem> {
    let limits: LimitSet = serde_json::from_slice(payload)
        .map_err(|error| EventProblem::malformed(format!("not a set of limits: {error}")))?;
    limits.validate().map_err(|error| EventProblem::invalid(error.to_string()))?;
    Ok(limits)
}

impl From<Unreadable> for EventProblem {
    fn from(unreadable: Unreadable) -> Self {
        Self::of(unreadable.reason, unreadable.detail)
    }
}
