//! Usage events as Avro in Confluent's framing: which schema wrote it, then the datum.
//! Weir ships two versions of the schema; others are inserted by whoever can ask a
//! registry. Nothing here does.
//!
//! What [`encode_event`] writes is readable by every [`SchemaSet`]. A datum must be
//! consumed to its last byte; bytes cut short or left over are refused.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use weir_core::Timestamp;
use weir_metering::event::{EventBuffer, UsageEvent};
use weir_metering::outcome::RejectReason;

use crate::avro_datum::EventDatum;
use crate::avro_frame::shipped_head;
pub use crate::avro_frame::{Frame, FrameError, OWN_NUMBERS, SchemaId, parse_frame, parse_frame_with_header};
pub use crate::avro_layout::UnusableSchema;
use crate::avro_layout::{TimeUnit, check};
use crate::avro_schema_text::check_attributes;
use crate::avro_shipped::{Shipped, read_into};
use crate::json_members::sorted;
use crate::problem::EventProblem;

/// Version 1 of the usage event's schema.
pub const SCHEMA_V1: &str = include_str!("../../../schemas/avro/usage_event.v1.avsc");
/// Version 2.
pub const SCHEMA_V2: &str = include_str!("../../../schemas/avro/usage_event.v2.avsc");
/// The version that [`encode_event`] writes.
pub const NEWEST_SHIPPED: u32 = 2;

/// The most that apache-avro may allocate at once: as much as a whole record may hold.
const ALLOCATION_BYTES_MAX: usize = 1_048_576;
/// The most schemas that a set keeps. A schema lives as long as the process, so this
/// also bounds what a registry gone wrong could make it hold.
const SCHEMAS_MAX: usize = 10_000;

static SHIPPED: LazyLock<Vec<(u32, Schema)>> = LazyLock::new(|| {
    apache_avro::util::max_allocation_bytes(ALLOCATION_BYTES_MAX);
    let parsed = [(1, SCHEMA_V1), (2, SCHEMA_V2)].map(|(id, json)| (id, Schema::parse_str(json)));
    parsed.into_iter().filter_map(|(id, schema)| Some((id, schema.ok()?))).collect()
});

/// What every set begins with. To compare a schema with the shipped ones takes a while.
static SHIPPED_WRITERS: LazyLock<Arc<HashMap<SchemaId, Known>>> = LazyLock::new(|| {
    let writers = SHIPPED.iter().filter_map(|(version, schema)| {
        let reader = GenericDatumReader::builder(schema).build().ok()?;
        let writer = Writer { reader, time_unit: TimeUnit::Millis, shipped: shipped_of(schema) };
        Some((SchemaId::Shipped(*version), Known::Writer(Arc::new(writer))))
    });
    Arc::new(writers.collect())
});

/// Writers' schemas by id. Cloning is cheap.
#[derive(Clone)]
pub struct SchemaSet {
    known: Arc<HashMap<SchemaId, Known>>,
    /// Whether a registry gives the numbers; without one they are versions of our schema.
    of_registry: bool,
}

#[derive(Clone)]
enum Known {
    Writer(Arc<Writer>),
    /// A schema that cannot be used, and why.
    Refused(Arc<str>),
}

struct Writer {
    reader: GenericDatumReader<'static>,
    time_unit: TimeUnit,
    /// Which version of our schema it is in all but name, if any.
    shipped: Option<Shipped>,
}

impl fmt::Debug for SchemaSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.known.keys()).finish()
    }
}

impl SchemaSet {
    /// The schemas that ship with Weir. The numbers 1 and 2 mean them as well.
    pub fn shipped() -> Self {
        Self { of_registry: false, ..Self::of_registry() }
    }

    /// The schemas that ship with Weir, under their own numbers only: all others mean what
    /// the registry says.
    pub fn of_registry() -> Self {
        Self { known: Arc::clone(&SHIPPED_WRITERS), of_registry: true }
    }

    /// Adds the schema that a registry gave for an id. One that cannot be used is kept as
    /// refused: its records are rejected with the reason. An id that is known already keeps
    /// its schema: registries never change one.
    pub fn insert(&mut self, id: impl Into<SchemaId>, json: &str) -> Result<(), UnusableSchema> {
        let id = id.into();
        if self.contains(id) {
            return Ok(());
        }
        self.has_room()?;
        let made = writer_of(json);
        let known = match &made {
            Ok(writer) => Known::Writer(Arc::clone(writer)),
            Err(error) => Known::Refused(error.to_string().into()),
        };
        Arc::make_mut(&mut self.known).insert(id, known);
        made.map(drop)
    }

    /// Keeps an id as one whose schema cannot be used, with the reason in words.
    pub fn refuse(&mut self, id: impl Into<SchemaId>, reason: &str) -> Result<(), UnusableSchema> {
        self.has_room()?;
        Arc::make_mut(&mut self.known).entry(id.into()).or_insert_with(|| Known::Refused(reason.into()));
        Ok(())
    }

    /// Whether an id is known, be its schema usable or not.
    pub fn contains(&self, id: impl Into<SchemaId>) -> bool {
        self.find(id.into()).is_some()
    }

    /// Whether an id may become known: a registry has its schema.
    pub fn may_learn(&self, id: SchemaId) -> bool {
        self.of_registry && !matches!(id, SchemaId::Shipped(_)) && !self.contains(id)
    }

    fn has_room(&self) -> Result<(), UnusableSchema> {
        if self.known.len() < SCHEMAS_MAX {
            Ok(())
        } else {
            Err(UnusableSchema::TooMany { max: SCHEMAS_MAX })
        }
    }

    fn find(&self, id: SchemaId) -> Option<&Known> {
        self.known.get(&id).or_else(|| match id {
            SchemaId::Number(number) if !self.of_registry => self.known.get(&SchemaId::Shipped(number)),
            _ => None,
        })
    }

    fn writer(&self, id: SchemaId) -> Result<&Writer, String> {
        match (self.find(id), id) {
            (Some(Known::Writer(writer)), _) => Ok(writer),
            (Some(Known::Refused(why)), _) => Err(format!("schema {id} cannot be used: {why}")),
            (None, SchemaId::Number(_) | SchemaId::Guid(_)) if self.of_registry => {
                Err(format!("the schema registry has no schema {id}"))
            }
            (None, _) => Err(format!("no schema is known for id {id}; Weir ships versions 1 and 2")),
        }
    }
}

fn writer_of(json: &str) -> Result<Arc<Writer>, UnusableSchema> {
    check_attributes(json)?;
    let not_a_schema = |error| UnusableSchema::NotASchema(Box::new(error));
    let schema = Schema::parse_str(json).map_err(not_a_schema)?;
    let newest = SHIPPED.last().map_or(&Schema::Null, |(_, schema)| schema);
    let time_unit = check(&schema, newest)?;
    // The reader borrows the schema; it is kept for the life of the process, at most
    // SCHEMAS_MAX a set.
    let schema: &'static Schema = Box::leak(Box::new(schema));
    let reader = GenericDatumReader::builder(schema).build().map_err(not_a_schema)?;
    Ok(Arc::new(Writer { reader, time_unit, shipped: shipped_of(schema) }))
}

/// Which version of our schema writes the same bytes as this one.
fn shipped_of(schema: &Schema) -> Option<Shipped> {
    let form = schema.canonical_form();
    let versions = SHIPPED.iter().zip([Shipped::V1, Shipped::V2]);
    versions.into_iter().find(|((_, ours), _)| ours.canonical_form() == form).map(|(_, version)| version)
}

/// Why a value could not be read as a usage event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Unreadable {
    /// Malformed, of an unknown schema, or breaking a rule of events.
    pub reason: RejectReason,
    /// Why, in words.
    pub detail: String,
    /// The schema that the frame names.
    pub schema_id: Option<SchemaId>,
}

/// Reads a usage event in the prefix form.
pub fn decode_event(schemas: &SchemaSet, bytes: &[u8]) -> Result<UsageEvent, Unreadable> {
    let frame = parse_frame(bytes).map_err(Unreadable::from)?;
    decode_frame(schemas, frame)
}

/// Reads the usage event of a frame.
pub fn decode_frame(schemas: &SchemaSet, frame: Frame<'_>) -> Result<UsageEvent, Unreadable> {
    let unreadable = |reason, detail: String| Unreadable { reason, detail, schema_id: Some(frame.schema_id) };
    let writer =
        schemas.writer(frame.schema_id).map_err(|detail| unreadable(RejectReason::UnknownSchema, detail))?;
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

/// Reads the event of a frame into a buffer, as [`decode_frame`] would, if it is in order and
/// written with one of our schemas; false, and nothing is added, otherwise.
pub(crate) fn decode_shipped(schemas: &SchemaSet, frame: Frame<'_>, events: &mut EventBuffer) -> bool {
    match schemas.writer(frame.schema_id) {
        Ok(Writer { shipped: Some(version), time_unit, .. }) => {
            read_into(*version, *time_unit, frame.datum, events)
        }
        _ => false,
    }
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

/// Writes an event in the prefix form, with the newest shipped schema under its own
/// number, which no registry gives to another.
pub fn encode_event(event: &UsageEvent) -> Vec<u8> {
    let mut out = shipped_head(NEWEST_SHIPPED).to_vec();
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
