//! Usage events as Avro in Confluent's framing: the writer's schema by id, then the
//! datum. The schemas that ship with Weir have ids 1 and 2; others are inserted by
//! whoever can ask a registry. Nothing here does.
//!
//! A datum must be consumed to its last byte; bytes cut short or left over are refused.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use weir_core::Timestamp;
use weir_metering::event::UsageEvent;
use weir_metering::outcome::RejectReason;

use crate::avro_datum::EventDatum;
pub use crate::avro_layout::UnusableSchema;
use crate::avro_layout::{TimeUnit, check};
use crate::json_members::sorted;
use crate::problem::EventProblem;

/// Version 1 of the usage event's schema; id 1 without a registry.
pub const SCHEMA_V1: &str = include_str!("../../../schemas/avro/usage_event.v1.avsc");
/// Version 2; id 2 without a registry.
pub const SCHEMA_V2: &str = include_str!("../../../schemas/avro/usage_event.v2.avsc");
/// The id under which [`encode_event`] writes.
pub const NEWEST_SHIPPED_ID: u32 = 2;

/// The most that apache-avro may allocate at once: as much as a whole record may hold.
const ALLOCATION_BYTES_MAX: usize = 1_048_576;
/// The most schemas that a set keeps. A schema lives as long as the process, so this
/// also bounds what a registry gone wrong could make it hold.
const SCHEMAS_MAX: usize = 1_000;

static SHIPPED: LazyLock<Vec<(u32, Schema)>> = LazyLock::new(|| {
    apache_avro::util::max_allocation_bytes(ALLOCATION_BYTES_MAX);
    let parsed = [(1, SCHEMA_V1), (2, SCHEMA_V2)].map(|(id, json)| (id, Schema::parse_str(json)));
    parsed.into_iter().filter_map(|(id, schema)| Some((id, schema.ok()?))).collect()
});

/// What names a writer's schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SchemaId {
    /// A registry's number, or one of the shipped ids.
    Number(u32),
    /// A registry's GUID, as the header form has it.
    Guid([u8; 16]),
}

impl From<u32> for SchemaId {
    fn from(number: u32) -> Self {
        Self::Number(number)
    }
}

impl fmt::Display for SchemaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Guid(guid) => {
                let hex = hex::encode(guid);
                let groups = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
                f.write_str(&groups.join("-"))
            }
        }
    }
}

/// Writers' schemas by id. Cloning is cheap.
#[derive(Clone)]
pub struct SchemaSet {
    writers: HashMap<SchemaId, Arc<Writer>>,
}

struct Writer {
    reader: GenericDatumReader<'static>,
    time_unit: TimeUnit,
}

impl fmt::Debug for SchemaSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.writers.keys()).finish()
    }
}

impl SchemaSet {
    /// No schemas: for use with a registry, whose numbers may mean anything.
    pub fn empty() -> Self {
        LazyLock::force(&SHIPPED);
        Self { writers: HashMap::new() }
    }

    /// The schemas that ship with Weir, under ids 1 and 2.
    pub fn shipped() -> Self {
        let mut set = Self::empty();
        for (id, schema) in SHIPPED.iter() {
            if let Ok(reader) = GenericDatumReader::builder(schema).build() {
                let writer = Writer { reader, time_unit: TimeUnit::Millis };
                set.writers.insert(SchemaId::Number(*id), Arc::new(writer));
            }
        }
        set
    }

    /// Adds the schema that a registry gave for an id, or says why it cannot be used.
    /// An id that is known already keeps its schema: registries never change one.
    pub fn insert(&mut self, id: impl Into<SchemaId>, json: &str) -> Result<(), UnusableSchema> {
        let id = id.into();
        if self.contains(id) {
            return Ok(());
        }
        if self.writers.len() >= SCHEMAS_MAX {
            return Err(UnusableSchema::TooMany { max: SCHEMAS_MAX });
        }
        let not_a_schema = |error| UnusableSchema::NotASchema(Box::new(error));
        let schema = Schema::parse_str(json).map_err(not_a_schema)?;
        let newest = SHIPPED.last().map_or(&Schema::Null, |(_, schema)| schema);
        let time_unit = check(&schema, newest)?;
        // The reader borrows the schema; it is kept for the life of the process, at most
        // SCHEMAS_MAX a set.
        let schema: &'static Schema = Box::leak(Box::new(schema));
        let reader = GenericDatumReader::builder(schema).build().map_err(not_a_schema)?;
        self.writers.insert(id, Arc::new(Writer { reader, time_unit }));
        Ok(())
    }

    /// Whether the schema of an id is known.
    pub fn contains(&self, id: impl Into<SchemaId>) -> bool {
        self.writers.contains_key(&id.into())
    }
}

/// A framed value, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Which schema wrote the datum.
    pub schema_id: SchemaId,
    /// The datum.
    pub datum: &'a [u8],
}

/// Why bytes are not in Confluent's framing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Fewer than the five bytes of a frame's head.
    #[error(
        "{0} bytes are too few for byte 0 and a schema id of four bytes; use the serializer of a schema registry client"
    )]
    TooShort(usize),
    /// The first byte is not 0.
    #[error(
        "the first byte is {0} where Confluent's framing has 0; use the serializer of a schema registry client"
    )]
    Magic(u8),
    /// A header that holds neither an id nor a GUID.
    #[error("the header __value_schema_id must hold byte 0 and an id, or byte 1 and a GUID")]
    Header,
}

/// Splits the prefix form: byte 0, the id (big-endian), the datum.
pub fn parse_frame(bytes: &[u8]) -> Result<Frame<'_>, FrameError> {
    match bytes {
        [0, a, b, c, d, datum @ ..] => {
            Ok(Frame { schema_id: SchemaId::Number(u32::from_be_bytes([*a, *b, *c, *d])), datum })
        }
        [0, ..] | [] => Err(FrameError::TooShort(bytes.len())),
        [other, ..] => Err(FrameError::Magic(*other)),
    }
}

/// Reads the header form: the value of `__value_schema_id` beside the bare datum.
pub fn parse_frame_with_header<'a>(header: &[u8], datum: &'a [u8]) -> Result<Frame<'a>, FrameError> {
    let schema_id = match header {
        [0, number @ ..] => number.try_into().ok().map(|number| SchemaId::Number(u32::from_be_bytes(number))),
        [1, guid @ ..] => guid.try_into().ok().map(SchemaId::Guid),
        _ => None,
    };
    schema_id.map(|schema_id| Frame { schema_id, datum }).ok_or(FrameError::Header)
}

/// Why a value could not be read as a usage event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Unreadable {
    /// Malformed, of an unknown schema, or breaking a rule of events.
    pub reason: RejectReason,
    /// Why, in words.
    pub detail: String,
    /// The schema that the frame names; with [`RejectReason::UnknownSchema`] the one to
    /// insert before trying again.
    pub schema_id: Option<SchemaId>,
}

/// The id that must be inserted before the bytes (prefix form) can be read, if any.
pub fn needed_schema(schemas: &SchemaSet, bytes: &[u8]) -> Option<u32> {
    match parse_frame(bytes).ok()?.schema_id {
        SchemaId::Number(number) if !schemas.contains(number) => Some(number),
        _ => None,
    }
}

/// Reads a usage event in the prefix form.
pub fn decode_event(schemas: &SchemaSet, bytes: &[u8]) -> Result<UsageEvent, Unreadable> {
    let frame = parse_frame(bytes).map_err(Unreadable::from)?;
    decode_frame(schemas, frame)
}

/// Reads the usage event of a frame.
pub fn decode_frame(schemas: &SchemaSet, frame: Frame<'_>) -> Result<UsageEvent, Unreadable> {
    let unreadable = |reason, detail: String| Unreadable { reason, detail, schema_id: Some(frame.schema_id) };
    let Some(writer) = schemas.writers.get(&frame.schema_id) else {
        let detail = format!("no schema is known for id {}", frame.schema_id);
        return Err(unreadable(RejectReason::UnknownSchema, detail));
    };
    let mut rest = frame.datum;
    let datum = writer.reader.read_deser::<EventDatum>(&mut rest).map_err(|error| {
        let detail = format!("the value is not an event written with schema {}: {error}", frame.schema_id);
        unreadable(RejectReason::Malformed, detail)
    })?;
    if !rest.is_empty() {
        let detail = format!(
            "{} bytes are left over after an event written with schema {}",
            rest.len(),
            frame.schema_id
        );
        return Err(unreadable(RejectReason::Malformed, detail));
    }
    event_of(datum, writer.time_unit).map_err(|problem| unreadable(problem.reason, problem.detail))
}

fn event_of(datum: EventDatum, time_unit: TimeUnit) -> Result<UsageEvent, EventProblem> {
    let required = |text: Option<String>, name: &str| {
        text.filter(|text| !text.is_empty())
            .ok_or_else(|| EventProblem::invalid(format!("{name} is empty; every event needs one")))
    };
    let time = datum
        .time
        .map(|time| Timestamp::from_millis(time_unit.to_millis(time)))
        .transpose()
        .map_err(|error| EventProblem::invalid(error.to_string()))?;
    Ok(UsageEvent {
        id: required(datum.id, "id")?,
        source: required(datum.source, "source")?,
        event_type: required(datum.event_type, "type")?,
        tenant: required(datum.subject, "subject (the tenant)")?,
        time,
        data: sorted(datum.data)?,
    })
}

impl From<FrameError> for Unreadable {
    fn from(error: FrameError) -> Self {
        Self { reason: RejectReason::Malformed, detail: error.to_string(), schema_id: None }
    }
}

/// Writes an event in the prefix form, with the newest shipped schema.
pub fn encode_event(event: &UsageEvent) -> Vec<u8> {
    let mut out = vec![0];
    out.extend_from_slice(&NEWEST_SHIPPED_ID.to_be_bytes());
    for text in [&event.id, &event.source, &event.event_type, &event.tenant] {
        put_text(&mut out, text);
    }
    match event.time {
        None => put_long(&mut out, 0),
        Some(time) => {
            put_long(&mut out, 1);
            put_long(&mut out, time.millis());
        }
    }
    if !event.data.is_empty() {
        put_length(&mut out, event.data.len());
        for (name, value) in &event.data {
            put_text(&mut out, name);
            put_text(&mut out, value);
        }
    }
    put_long(&mut out, 0); // the map's end
    put_long(&mut out, 0); // traceparent: null, it travels as a header
    out
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_length(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

fn put_length(out: &mut Vec<u8>, length: usize) {
    put_long(out, i64::try_from(length).unwrap_or(i64::MAX));
}

/// Avro's long: zigzag in seven bits a byte.
fn put_long(out: &mut Vec<u8>, value: i64) {
    crate::varint::put_signed(out, i128::from(value));
}
