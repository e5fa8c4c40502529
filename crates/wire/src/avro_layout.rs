//! Whether a writer's schema may be used: it reads as the newest usage event, and no
//! bytes written under it can make the reader recurse, loop or allocate without bound.
//! Schemas come from a registry, so they are input like any other.

use apache_avro::Schema;
use apache_avro::schema::{
    DecimalSchema, InnerDecimalSchema, NamesRef, RecordSchema, ResolvedSchema, UuidSchema,
};
use apache_avro::schema_compatibility::SchemaCompatibility;

/// How deep the types of a schema may nest. Usage events need four.
const DEPTH_MAX: usize = 32;
/// How many types a schema may consist of once its names are followed. Ours have 13.
const TYPES_MAX: usize = 2_000;
/// The largest `fixed`, in bytes: the reader allocates it before it looks at the input.
const FIXED_BYTES_MAX: usize = 65_536;

/// Why a writer's schema is not taken.
#[derive(Debug, thiserror::Error)]
pub enum UnusableSchema {
    /// Not an Avro schema.
    #[error("not an Avro schema")]
    NotASchema(#[source] Box<apache_avro::Error>),
    /// An attribute that bears the name of one of Avro's own and is none.
    #[error("its attribute {name:?} is not what Avro means by that name; leave it out, or name it otherwise")]
    Attribute {
        /// The attribute's name.
        name: &'static str,
    },
    /// It cannot be read as a usage event.
    #[error("events written with it cannot be read as dev.weir.UsageEvent: {0}")]
    Incompatible(String),
    /// Bytes written under it could not be read within bounds.
    #[error("events written with it cannot be read within bounds: {0}")]
    Unbounded(&'static str),
    /// As many schemas are known as are kept.
    #[error(
        "already {max} schemas are known; is every producer registering its own? restart Weir to forget them"
    )]
    TooMany {
        /// The bound.
        max: usize,
    },
}

/// What a writer's `time` counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimeUnit {
    Millis,
    Micros,
    Nanos,
}

impl TimeUnit {
    /// Milliseconds, finer digits cut off towards the past.
    pub(crate) fn to_millis(self, value: i64) -> i64 {
        match self {
            Self::Millis => value,
            Self::Micros => value.div_euclid(1_000),
            Self::Nanos => value.div_euclid(1_000_000),
        }
    }
}

/// Checks a writer's schema against the newest shipped one; tells what its `time` counts.
pub(crate) fn check(writer: &Schema, newest: &Schema) -> Result<TimeUnit, UnusableSchema> {
    let resolved =
        ResolvedSchema::try_from(writer).map_err(|error| UnusableSchema::NotASchema(Box::new(error)))?;
    let names = resolved.get_names();
    Walk { names, types_left: TYPES_MAX }.bytes_min(writer, 0)?;
    SchemaCompatibility::can_read(writer, newest)
        .map_err(|error| UnusableSchema::Incompatible(error.to_string()))?;
    let Schema::Record(record) = writer else {
        return Err(UnusableSchema::Incompatible("it is not a record".to_owned()));
    };
    for field in &record.fields {
        match (field.name.as_str(), &field.schema) {
            ("id" | "source" | "type" | "subject", schema) => text_only(schema, &field.name, names)?,
            ("data", Schema::Map(map)) => text_only(&map.types, "data", names)?,
            _ => {}
        }
    }
    time_unit(record)
}

/// Bytes that are no text must not be read as text: those of a decimal would be another
/// number. Avro itself promotes every kind of bytes to a string.
fn text_only(schema: &Schema, field: &str, names: &NamesRef<'_>) -> Result<(), UnusableSchema> {
    match schema {
        Schema::Decimal(_)
        | Schema::BigDecimal
        | Schema::Duration(_)
        | Schema::Fixed(_)
        | Schema::Uuid(UuidSchema::Bytes | UuidSchema::Fixed(_)) => Err(UnusableSchema::Incompatible(
            format!("{field} may hold bytes that are no text, such as a decimal; send text"),
        )),
        Schema::Union(union) => union.variants().iter().try_for_each(|one| text_only(one, field, names)),
        Schema::Ref { name } => names.get(name).map_or(Ok(()), |named| text_only(named, field, names)),
        _ => Ok(()),
    }
}

fn time_unit(record: &RecordSchema) -> Result<TimeUnit, UnusableSchema> {
    let Some(field) = record.fields.iter().find(|field| field.name == "time") else {
        return Ok(TimeUnit::Millis);
    };
    let types = match &field.schema {
        Schema::Union(union) => union.variants(),
        other => std::slice::from_ref(other),
    };
    let mut found = None;
    for unit in types.iter().filter(|one| !matches!(one, Schema::Null)) {
        let unit = match unit {
            Schema::Int | Schema::Long | Schema::TimestampMillis => TimeUnit::Millis,
            Schema::TimestampMicros => TimeUnit::Micros,
            Schema::TimestampNanos => TimeUnit::Nanos,
            _ => return Err(UnusableSchema::Incompatible("time is not a UTC timestamp".to_owned())),
        };
        if found.replace(unit).is_some_and(|before| before != unit) {
            return Err(UnusableSchema::Incompatible("time has two units".to_owned()));
        }
    }
    Ok(found.unwrap_or(TimeUnit::Millis))
}

struct Walk<'a> {
    names: &'a NamesRef<'a>,
    types_left: usize,
}

impl Walk<'_> {
    /// The fewest bytes that a value of this type takes.
    fn bytes_min(&mut self, schema: &Schema, depth: usize) -> Result<usize, UnusableSchema> {
        if depth > DEPTH_MAX {
            return Err(UnusableSchema::Unbounded("a type holds itself, or types nest too deep"));
        }
        self.types_left =
            self.types_left.checked_sub(1).ok_or(UnusableSchema::Unbounded("it has too many types"))?;
        let deeper = depth + 1;
        match schema {
            Schema::Null => Ok(0),
            Schema::Float => Ok(4),
            Schema::Double => Ok(8),
            Schema::Fixed(fixed)
            | Schema::Duration(fixed)
            | Schema::Uuid(UuidSchema::Fixed(fixed))
            | Schema::Decimal(DecimalSchema { inner: InnerDecimalSchema::Fixed(fixed), .. }) => {
                if fixed.size > FIXED_BYTES_MAX {
                    return Err(UnusableSchema::Unbounded("a fixed is larger than 64 KiB"));
                }
                Ok(fixed.size)
            }
            Schema::Array(array) => match self.bytes_min(&array.items, deeper)? {
                0 => Err(UnusableSchema::Unbounded("an array's items may take no bytes")),
                _ => Ok(1),
            },
            Schema::Map(map) => self.bytes_min(&map.types, deeper).map(|_| 1),
            Schema::Union(union) => {
                union.variants().iter().try_for_each(|one| self.bytes_min(one, deeper).map(drop))?;
                Ok(1)
            }
            Schema::Record(record) => record.fields.iter().try_fold(0_usize, |sum, field| {
                Ok(sum.saturating_add(self.bytes_min(&field.schema, deeper)?))
            }),
            Schema::Ref { name } => {
                let named = self.names.get(name).copied().ok_or(UnusableSchema::Unbounded(
                    "it names a type that it does not hold; register it without references",
                ))?;
                self.bytes_min(named, deeper)
            }
            _ => Ok(1),
        }
    }
}
