//! A usage event out of an Avro datum, whatever schema wrote it: further fields are
//! skipped, promotions undone. Floats are refused by name, never turned into text.

use std::fmt;

use serde::de::{Deserialize, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess, Visitor};
use weir_metering::event::DATA_ENTRIES_MAX;

/// The fields of a usage event as they were written. `None` where the writer has no such field.
#[derive(Debug, Default)]
pub(crate) struct EventDatum {
    pub(crate) id: Option<String>,
    pub(crate) source: Option<String>,
    pub(crate) event_type: Option<String>,
    pub(crate) subject: Option<String>,
    /// In the writer's unit.
    pub(crate) time: Option<i64>,
    /// As written: unsorted, doubles kept, null for a value that is null; of too many
    /// entries the first, one more than are allowed.
    pub(crate) data: Vec<(String, Option<String>)>,
}

impl<'de> Deserialize<'de> for EventDatum {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EventVisitor)
    }
}

struct EventVisitor;

impl<'de> Visitor<'de> for EventVisitor {
    type Value = EventDatum;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a usage event")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<EventDatum, A::Error> {
        let mut datum = EventDatum::default();
        while let Some(name) = fields.next_key::<FieldName>()? {
            match name {
                FieldName::Id => datum.id = fields.next_value::<Scalar>()?.into_text()?,
                FieldName::Source => datum.source = fields.next_value::<Scalar>()?.into_text()?,
                FieldName::Type => datum.event_type = fields.next_value::<Scalar>()?.into_text()?,
                FieldName::Subject => datum.subject = fields.next_value::<Scalar>()?.into_text()?,
                FieldName::Time => datum.time = fields.next_value::<Scalar>()?.into_long()?,
                FieldName::Data => datum.data = fields.next_value::<DataMap>()?.0,
                FieldName::Other => {
                    fields.next_value::<Skipped>()?;
                }
            }
        }
        Ok(datum)
    }
}

enum FieldName {
    Id,
    Source,
    Type,
    Subject,
    Time,
    Data,
    Other,
}

impl<'de> Deserialize<'de> for FieldName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl Visitor<'_> for Names {
            type Value = FieldName;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a field's name")
            }
            fn visit_str<E: Error>(self, name: &str) -> Result<FieldName, E> {
                Ok(match name {
                    "id" => FieldName::Id,
                    "source" => FieldName::Source,
                    "type" => FieldName::Type,
                    "subject" => FieldName::Subject,
                    "time" => FieldName::Time,
                    "data" => FieldName::Data,
                    _ => FieldName::Other,
                })
            }
        }
        deserializer.deserialize_identifier(Names)
    }
}

/// A value without parts.
enum Scalar {
    Null,
    Text(String),
    Long(i64),
    Boolean(bool),
}

impl Scalar {
    /// Text for an attribute, which no number may stand for.
    fn into_text<E: Error>(self) -> Result<Option<String>, E> {
        match self {
            Self::Null => Ok(None),
            Self::Text(text) => Ok(Some(text)),
            Self::Long(_) | Self::Boolean(_) => {
                Err(E::custom("an attribute is a number where text is meant"))
            }
        }
    }

    fn into_long<E: Error>(self) -> Result<Option<i64>, E> {
        match self {
            Self::Null => Ok(None),
            Self::Long(number) => Ok(Some(number)),
            Self::Text(_) | Self::Boolean(_) => Err(E::custom("time is not a number")),
        }
    }

    /// Text for a member of `data`: whole numbers and booleans spelled as JSON does.
    fn into_value(self) -> Option<String> {
        match self {
            Self::Null => None,
            Self::Text(text) => Some(text),
            Self::Long(number) => Some(number.to_string()),
            Self::Boolean(truth) => Some(truth.to_string()),
        }
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, or a whole number (send decimals as text, never as a float or double)")
    }
    fn visit_unit<E: Error>(self) -> Result<Scalar, E> {
        Ok(Scalar::Null)
    }
    fn visit_string<E: Error>(self, text: String) -> Result<Scalar, E> {
        Ok(Scalar::Text(text))
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Scalar, E> {
        Ok(Scalar::Text(text.to_owned()))
    }
    fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Scalar, E> {
        String::from_utf8(bytes).map(Scalar::Text).map_err(|_| E::custom("bytes that are not UTF-8"))
    }
    fn visit_i32<E: Error>(self, number: i32) -> Result<Scalar, E> {
        Ok(Scalar::Long(i64::from(number)))
    }
    fn visit_i64<E: Error>(self, number: i64) -> Result<Scalar, E> {
        Ok(Scalar::Long(number))
    }
    fn visit_bool<E: Error>(self, truth: bool) -> Result<Scalar, E> {
        Ok(Scalar::Boolean(truth))
    }
}

struct DataMap(Vec<(String, Option<String>)>);

impl<'de> Deserialize<'de> for DataMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = DataMap;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of texts")
            }
            fn visit_unit<E: Error>(self) -> Result<DataMap, E> {
                Ok(DataMap(Vec::new()))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<DataMap, A::Error> {
                let mut entries = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, Scalar>()? {
                    // One too many is kept, so that it is refused where the rule is.
                    if entries.len() <= DATA_ENTRIES_MAX {
                        entries.push((name, value.into_value()));
                    }
                }
                Ok(DataMap(entries))
            }
        }
        deserializer.deserialize_any(Entries)
    }
}

/// A field that this version does not know. serde's `IgnoredAny` will not do: it ignores
/// names and takes an enum's symbol for a variant with content; apache-avro refuses both.
struct Skipped;

impl<'de> Deserialize<'de> for Skipped {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SkipVisitor)
    }
}

struct SkipVisitor;

impl<'de> Visitor<'de> for SkipVisitor {
    type Value = Skipped;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }
    fn visit_unit<E: Error>(self) -> Result<Skipped, E> {
        Ok(Skipped)
    }
    fn visit_bool<E: Error>(self, _: bool) -> Result<Skipped, E> {
        Ok(Skipped)
    }
    fn visit_i64<E: Error>(self, _: i64) -> Result<Skipped, E> {
        Ok(Skipped)
    }
    fn visit_f64<E: Error>(self, _: f64) -> Result<Skipped, E> {
        Ok(Skipped)
    }
    fn visit_str<E: Error>(self, _: &str) -> Result<Skipped, E> {
        Ok(Skipped)
    }
    fn visit_bytes<E: Error>(self, _: &[u8]) -> Result<Skipped, E> {
        Ok(Skipped)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Skipped, A::Error> {
        while items.next_element::<Skipped>()?.is_some() {}
        Ok(Skipped)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Skipped, A::Error> {
        while entries.next_entry::<FieldName, Skipped>()?.is_some() {}
        Ok(Skipped)
    }
    fn visit_enum<A: EnumAccess<'de>>(self, symbol: A) -> Result<Skipped, A::Error> {
        let (_, rest) = symbol.variant::<FieldName>()?;
        rest.unit_variant().map(|()| Skipped)
    }
}
