//! Adjustments as control records of the usage topic: JSON with the seal beside what it covers.
//! Whether the seal is right is for whoever has the key to say.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use weir_core::{Hash128, Position, Quantity, TenantId, Timestamp};
use weir_metering::adjustment::{Adjustment, Change, Entry};
use weir_metering::event::UsageEvent;
use weir_metering::meter::MeterKey;

use crate::problem::EventProblem;

/// The whole record. Instants are RFC 3339, quantities decimal texts.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    id: String,
    tenant: TenantId,
    who: String,
    why: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    entry: Option<EntryRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    void: Option<VoidRecord>,
    /// 32 hex digits.
    seal: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryRecord {
    meter: MeterKey,
    dimensions: BTreeMap<String, String>,
    at: Timestamp,
    quantity: Quantity,
    event_count: i64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct VoidRecord {
    generation: i32,
    partition: i32,
    offset: i64,
    source: String,
    id: String,
    r#type: String,
    time: Timestamp,
    data: BTreeMap<String, String>,
}

/// Writes the value of an adjustment's record.
pub fn encode(adjustment: &Adjustment, seal: Hash128) -> serde_json::Value {
    let Adjustment { id, tenant, who, why, change } = adjustment;
    let (entry, void) = match change {
        Change::Entry(entry) => (Some(EntryRecord::from(entry)), None),
        Change::Void { position, event } => (None, Some(VoidRecord::of(*position, event))),
    };
    let (id, tenant, who, why) = (id.clone(), tenant.clone(), who.clone(), why.clone());
    serde_json::json!(Record { id, tenant, who, why, entry, void, seal: seal.to_string() })
}

/// Reads what [`encode`] wrote: the adjustment, and the seal that it bears.
///
/// # Errors
/// In words; whether it obeys the rules of adjustments is not asked.
pub fn decode(payload: &[u8]) -> Result<(Adjustment, Hash128), EventProblem> {
    let malformed =
        |why: &dyn std::fmt::Display| EventProblem::malformed(format!("not an adjustment: {why}"));
    let record: Record = serde_json::from_slice(payload).map_err(|error| malformed(&error))?;
    let Record { id, tenant, who, why, entry, void, seal } = record;
    let hex = |seal: &String| seal.len() == 32 && seal.bytes().all(|byte| byte.is_ascii_hexdigit());
    let seal = Some(seal).filter(hex);
    let seal = seal.and_then(|seal| u128::from_str_radix(&seal, 16).ok());
    let seal = seal.ok_or_else(|| malformed(&"its seal is not 32 hex digits"))?;
    let change = match (entry, void) {
        (Some(entry), None) => Change::Entry(entry.into()),
        (None, Some(void)) => void.into_change(&tenant),
        _ => return Err(malformed(&"it must have an entry or a void")),
    };
    Ok((Adjustment { id, tenant, who, why, change }, Hash128(seal)))
}

impl From<&Entry> for EntryRecord {
    fn from(entry: &Entry) -> Self {
        Self {
            meter: entry.meter.clone(),
            dimensions: entry.dimensions.iter().cloned().collect(),
            at: entry.at,
            quantity: entry.quantity,
            event_count: entry.event_count,
        }
    }
}

impl From<EntryRecord> for Entry {
    fn from(record: EntryRecord) -> Self {
        let EntryRecord { meter, dimensions, at, quantity, event_count } = record;
        Self { meter, dimensions: dimensions.into_iter().collect(), at, quantity, event_count }
    }
}

impl VoidRecord {
    fn of(position: Position, event: &UsageEvent) -> Self {
        Self {
            generation: position.generation,
            partition: position.partition,
            offset: position.offset,
            source: event.source.clone(),
            id: event.id.clone(),
            r#type: event.event_type.clone(),
            time: event.time.unwrap_or_default(),
            data: event.data.iter().cloned().collect(),
        }
    }

    fn into_change(self, tenant: &TenantId) -> Change {
        let Self { generation, partition, offset, source, id, r#type, time, data } = self;
        let position = Position { generation, partition, offset };
        let event = UsageEvent {
            tenant: tenant.to_string(),
            source,
            id,
            event_type: r#type,
            time: Some(time),
            data: data.into_iter().collect(),
        };
        Change::Void { position, event }
    }
}
