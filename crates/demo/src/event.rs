//! A usage event as the demo's services emit it, as CloudEvents JSON and as Avro in Confluent's
//! framing. The Avro layout is the published one, `schemas/avro/usage_event.v2.avsc`.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use anyhow::{Context, Result};
use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use chrono::{DateTime, SecondsFormat};
use serde::Deserialize;

/// The id that the second version of the schema has without a registry.
pub const SCHEMA_ID: u32 = 2;

static SCHEMA: LazyLock<Result<Schema, apache_avro::Error>> =
    LazyLock::new(|| Schema::parse_str(include_str!("../../../schemas/avro/usage_event.v2.avsc")));

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// CloudEvents `subject`, and the key in Kafka.
    pub tenant: String,
    /// CloudEvents `source`.
    pub source: String,
    /// CloudEvents `id`.
    pub id: String,
    /// CloudEvents `type`.
    pub event_type: String,
    /// CloudEvents `time`, in milliseconds since 1970.
    pub time_ms: i64,
    /// CloudEvents `data`; numbers are texts.
    pub data: Vec<(String, String)>,
}

impl Event {
    /// A member of `data`.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.data.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The same event with another value of a member.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        for (key, old) in &mut self.data {
            if key == name {
                value.clone_into(old);
            }
        }
        self
    }

    /// A structured CloudEvent.
    pub fn to_json(&self) -> serde_json::Value {
        let data: serde_json::Map<String, serde_json::Value> =
            self.data.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
        serde_json::json!({
            "specversion": "1.0",
            "id": self.id,
            "source": self.source,
            "type": self.event_type,
            "subject": self.tenant,
            "time": time_text(self.time_ms),
            "datacontenttype": "application/json",
            "data": data,
        })
    }

    /// Reads Avro in Confluent's framing, whatever the schema's id; the members of `data` by their
    /// names. `None` when the bytes are not exactly one event.
    pub fn from_avro(bytes: &[u8]) -> Option<Self> {
        let (Some(0), Some(mut datum)) = (bytes.first(), bytes.get(5..)) else { return None };
        let reader = GenericDatumReader::builder(SCHEMA.as_ref().ok()?).build().ok()?;
        // Into a struct: the way through `Value` takes a datum that was cut short for a whole one.
        let read: UsageEvent = reader.read_deser(&mut datum).ok()?;
        datum.is_empty().then_some(())?;
        Some(Self {
            tenant: read.subject,
            source: read.source,
            id: read.id,
            event_type: read.event_type,
            time_ms: read.time?,
            data: read.data.into_iter().collect(),
        })
    }

    /// Avro in Confluent's framing: a zero byte, the schema's id, the datum.
    pub fn to_avro(&self) -> Result<Vec<u8>> {
        let schema = SCHEMA.as_ref().map_err(|error| anyhow::anyhow!("read the Avro schema: {error}"))?;
        let data = self.data.iter().map(|(name, value)| (name.clone(), Value::String(value.clone())));
        let value = Value::Record(vec![
            ("id".to_owned(), Value::String(self.id.clone())),
            ("source".to_owned(), Value::String(self.source.clone())),
            ("type".to_owned(), Value::String(self.event_type.clone())),
            ("subject".to_owned(), Value::String(self.tenant.clone())),
            ("time".to_owned(), Value::Union(1, Box::new(Value::TimestampMillis(self.time_ms)))),
            ("data".to_owned(), Value::Map(data.collect())),
            ("traceparent".to_owned(), Value::Union(0, Box::new(Value::Null))),
        ]);
        let datum = GenericDatumWriter::builder(schema).build().and_then(|w| w.write_value_to_vec(value));
        Ok(framed(SCHEMA_ID, &datum.context("write an event as Avro")?))
    }
}

/// The record of the published schema, whose name it must have.
#[derive(Deserialize)]
struct UsageEvent {
    id: String,
    source: String,
    #[serde(rename = "type")]
    event_type: String,
    subject: String,
    time: Option<i64>,
    data: BTreeMap<String, String>,
}

/// A datum with Confluent's five bytes before it.
pub fn framed(schema_id: u32, datum: &[u8]) -> Vec<u8> {
    [&[0], &schema_id.to_be_bytes()[..], datum].concat()
}

/// RFC 3339 with milliseconds.
pub fn time_text(time_ms: i64) -> String {
    DateTime::from_timestamp_millis(time_ms).unwrap_or_default().to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_hold_all_of_it() {
        let event = Event {
            tenant: "acme".into(),
            source: "//gateway".into(),
            id: "1".into(),
            event_type: "api.requests".into(),
            time_ms: 1_700_000_000_123,
            data: vec![("calls".into(), "94.0".into())],
        };
        let json = event.to_json();
        assert_eq!(json["time"], "2023-11-14T22:13:20.123Z");
        assert_eq!(json["data"]["calls"], "94.0");
        let avro = event.to_avro().unwrap();
        assert_eq!(avro[..5], [0, 0, 0, 0, 2]);
        assert_eq!(Event::from_avro(&avro), Some(event));
        assert_eq!(Event::from_avro(&avro[..avro.len() - 1]), None);
        assert_eq!(Event::from_avro(&[&avro[..], b"left over"].concat()), None);
    }
}
