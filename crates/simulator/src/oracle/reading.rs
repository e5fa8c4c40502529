//! A record's bytes as the oracle reads them.

use std::collections::BTreeMap;

use serde_json::Value;
use weir_backends::journal::OwnedRecord;
use weir_core::Timestamp;

/// What a record holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Reading {
    Event(Event),
    /// With how often they were forwarded.
    Limits(Limits, u8),
    /// With how often it was forwarded.
    Adjustment(Adjustment, u8),
    Tick,
    /// Bytes that are no event.
    Garbage,
}

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) tenant: String,
    pub(super) source: String,
    pub(super) id: String,
    pub(super) event_type: String,
    pub(super) time_ms: Option<i64>,
    pub(super) data: BTreeMap<String, String>,
    /// How often it was forwarded.
    pub(super) hops: u8,
}

/// Limits of a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) tenant: String,
    pub(super) revision: i64,
    pub(super) by_meter: BTreeMap<String, Limit>,
}

/// A limit on a meter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Limit {
    /// In thousand-millionths.
    pub(super) nanos: i128,
    pub(super) percents: Vec<i128>,
}

/// Usage that someone decided.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Adjustment {
    pub(super) tenant: String,
    pub(super) id: String,
    pub(super) time_ms: i64,
    pub(super) change: Change,
}

/// What an adjustment changes.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Change {
    /// Usage of a meter: events and thousand-millionths.
    Entry { meter: String, dimensions: BTreeMap<String, String>, events: i64, nanos: i128 },
    /// An event is taken out.
    Void(Event),
}

/// Reads a record.
pub(super) fn read(record: &OwnedRecord) -> Reading {
    let header = |name: &str| {
        let found = record.headers.iter().find(|(header, _)| header == name);
        found.map(|(_, value)| value.as_slice())
    };
    let payload = record.payload.as_deref().unwrap_or_default();
    let hops = header("weir-hop").and_then(|text| std::str::from_utf8(text).ok()?.parse().ok()).unwrap_or(0);
    let read = match header("weir-control") {
        Some(b"tick") => Some(Reading::Tick),
        Some(b"adjustment") => adjustment(payload).map(|adjustment| Reading::Adjustment(adjustment, hops)),
        Some(_) => limits(payload).map(|limits| Reading::Limits(limits, hops)),
        None => event(payload, hops).map(Reading::Event),
    };
    read.unwrap_or(Reading::Garbage)
}

fn event(payload: &[u8], hops: u8) -> Option<Event> {
    let value: Value = serde_json::from_slice(payload).ok()?;
    let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let member = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let data = value.get("data")?.as_object()?;
    let time_ms = match text("time") {
        Some(time) => Some(Timestamp::parse(&time).ok()?.millis()),
        None => None,
    };
    Some(Event {
        tenant: text("subject")?,
        source: text("source")?,
        id: text("id")?,
        event_type: text("type")?,
        time_ms,
        data: data.iter().map(|(name, value)| (name.clone(), member(value))).collect(),
        hops,
    })
}

fn adjustment(payload: &[u8]) -> Option<Adjustment> {
    let value: Value = serde_json::from_slice(payload).ok()?;
    let text = |of: &Value, name: &str| of.get(name).and_then(Value::as_str).map(str::to_owned);
    let texts = |of: Option<&Value>| {
        let members = of?.as_object()?.iter();
        let texts = members.map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
        texts.collect::<Option<BTreeMap<_, _>>>()
    };
    let time_ms = |of: &Value, name: &str| Some(Timestamp::parse(&text(of, name)?).ok()?.millis());
    let tenant = text(&value, "tenant")?;
    let (time_ms, change) = match (value.get("entry"), value.get("void")) {
        (Some(entry), None) => {
            let change = Change::Entry {
                meter: text(entry, "meter")?,
                dimensions: texts(entry.get("dimensions"))?,
                events: entry.get("event_count")?.as_i64()?,
                nanos: nanos(&text(entry, "quantity")?)?,
            };
            (time_ms(entry, "at")?, change)
        }
        (None, Some(void)) => {
            let event = Event {
                tenant: tenant.clone(),
                source: text(void, "source")?,
                id: text(void, "id")?,
                event_type: text(void, "type")?,
                time_ms: time_ms(void, "time"),
                data: texts(void.get("data"))?,
                hops: 0,
            };
            (event.time_ms?, Change::Void(event))
        }
        _ => return None,
    };
    Some(Adjustment { id: text(&value, "id")?, tenant, time_ms, change })
}

fn limits(payload: &[u8]) -> Option<Limits> {
    let value: Value = serde_json::from_slice(payload).ok()?;
    let mut by_meter = BTreeMap::new();
    for limit in value.get("limits")?.as_array()? {
        let percents = limit.get("thresholds_percent")?.as_array()?;
        let percents = percents.iter().filter_map(Value::as_i64).map(i128::from).collect();
        let nanos = nanos(limit.get("limit")?.as_str()?)?;
        by_meter.insert(limit.get("meter")?.as_str()?.to_owned(), Limit { nanos, percents });
    }
    let tenant = value.get("tenant")?.as_str()?.to_owned();
    Some(Limits { tenant, revision: value.get("revision")?.as_i64()?, by_meter })
}

/// A plain decimal in thousand-millionths.
pub(super) fn nanos(text: &str) -> Option<i128> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let number = format!("{whole}{fraction:0<9}");
    let plain = !whole.is_empty() && fraction.len() <= 9 && number.bytes().all(|byte| byte.is_ascii_digit());
    let nanos: i128 = if plain { number.parse().ok()? } else { return None };
    Some(if negative { -nanos } else { nanos })
}

#[cfg(test)]
mod tests {
    use super::nanos;

    #[test]
    fn decimals_are_read_exactly() {
        for (text, expected) in [
            ("7", Some(7_000_000_000)),
            ("-0.5", Some(-500_000_000)),
            ("12.000000001", Some(12_000_000_001)),
            ("many", None),
            ("", None),
            (".5", None),
        ] {
            assert_eq!(nanos(text), expected, "{text}");
        }
    }
}
