//! Usage events as a service would make them.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value, json};

/// An event; the tenant is its subject.
#[derive(Debug, Clone)]
pub struct Event {
    /// Unique with tenant and source.
    pub id: String,
    /// Who emits it.
    pub source: String,
    /// What meters choose it by.
    pub event_type: String,
    /// Whose usage it is.
    pub tenant: String,
    /// When; left out when it is `None`.
    pub time: Option<DateTime<Utc>>,
    /// Names and values.
    pub data: Vec<(String, String)>,
}

impl Event {
    /// An event that happens now.
    pub fn now(tenant: &str, event_type: &str, id: &str, data: &[(&str, &str)]) -> Self {
        Self {
            id: id.to_owned(),
            source: "//tests/service".to_owned(),
            event_type: event_type.to_owned(),
            tenant: tenant.to_owned(),
            time: Some(Utc::now()),
            data: data.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        }
    }

    /// The same at another time.
    pub fn at(self, time: DateTime<Utc>) -> Self {
        Self { time: Some(time), ..self }
    }

    /// As a structured CloudEvent.
    pub fn to_json(&self) -> Value {
        let data: Map<_, _> =
            self.data.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect();
        let mut event = json!({
            "specversion": "1.0",
            "id": self.id,
            "source": self.source,
            "type": self.event_type,
            "subject": self.tenant,
            "data": data,
        });
        if let Some(time) = self.time {
            event["time"] = time.to_rfc3339_opts(SecondsFormat::Millis, true).into();
        }
        event
    }
}
