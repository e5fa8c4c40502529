//! Alerts and other events as they leave the house: the body of a Standard Webhook,
//! which is also the value on weir.alerts.v1. Decimals are texts.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use weir_core::Timestamp;
use weir_metering::outcome::{Alert, AlertKind, Direction};
use weir_metering::quota::Enforcement;

/// A quota's threshold was reached.
pub const THRESHOLD_REACHED: &str = "quota.threshold.reached";
/// Usage is below the threshold again, the limit changed, or the period ended.
pub const THRESHOLD_RESOLVED: &str = "quota.threshold.resolved";
/// An id came again with other facts.
pub const USAGE_CONFLICT: &str = "usage.conflict";
/// A meter's further series are counted under `other`.
pub const SERIES_BOUNDED: &str = "usage.series.bounded";

/// A document was finalized.
pub const INVOICE_FINALIZED: &str = "invoice.finalized";
/// Everything that a webhook can be told.
pub const EVENT_TYPES: [&str; 5] =
    [THRESHOLD_REACHED, THRESHOLD_RESOLVED, USAGE_CONFLICT, SERIES_BOUNDED, INVOICE_FINALIZED];

/// The body of a Standard Webhook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookEvent {
    /// What happened, such as `quota.threshold.reached` or `invoice.finalized`.
    #[serde(rename = "type")]
    pub event_type: String,
    /// When it happened (not when it is sent).
    pub timestamp: Timestamp,
    /// The rest, by type.
    pub data: Value,
}

impl WebhookEvent {
    /// The bytes to sign and send: compact JSON, the members in this order.
    pub fn to_bytes(&self) -> Vec<u8> {
        let event_type = Value::from(self.event_type.as_str());
        let timestamp = Value::from(self.timestamp.to_string());
        format!(r#"{{"type":{event_type},"timestamp":{timestamp},"data":{}}}"#, self.data).into_bytes()
    }
}

/// The message id under which an alert is delivered, however often.
pub fn message_id(alert: &Alert) -> String {
    format!("msg_{}", alert.id)
}

/// The body of an alert.
pub fn webhook_event(alert: &Alert) -> WebhookEvent {
    let position = &alert.position;
    let mut data = json!({
        "alert_id": alert.id.to_string(),
        "tenant": alert.tenant.as_str(),
        "position": {
            "generation": position.generation,
            "partition": position.partition,
            "offset": position.offset,
        },
    });
    let (event_type, more) = match &alert.kind {
        AlertKind::Quota { meter, period, threshold_percent, limit, enforcement, used, direction } => {
            let event_type = match direction {
                Direction::Reached => THRESHOLD_REACHED,
                Direction::Resolved => THRESHOLD_RESOLVED,
            };
            let more = json!({
                "meter": meter.as_str(),
                "period": { "start": period.start.to_string(), "end": period.end.to_string() },
                "threshold_percent": threshold_percent,
                "limit": limit.to_string(),
                "enforcement": enforcement_word(*enforcement),
                "used": used.to_string(),
            });
            (event_type, more)
        }
        AlertKind::Conflict { source, event_id } => {
            (USAGE_CONFLICT, json!({ "source": source, "event_id": event_id }))
        }
        AlertKind::SeriesBound { meter, series_max } => {
            (SERIES_BOUNDED, json!({ "meter": meter.as_str(), "series_max": series_max }))
        }
    };
    if let (Value::Object(data), Value::Object(more)) = (&mut data, more) {
        data.extend(more);
    }
    WebhookEvent { event_type: event_type.to_owned(), timestamp: alert.at, data }
}

fn enforcement_word(enforcement: Enforcement) -> &'static str {
    match enforcement {
        Enforcement::Soft => "soft",
        Enforcement::Hard => "hard",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_core::{Hash128, Position, Quantity, Span, TenantId};
    use weir_metering::meter::MeterKey;

    fn alert(kind: AlertKind) -> Alert {
        Alert {
            id: Hash128(0xabc),
            tenant: TenantId::new("acme").unwrap(),
            position: Position { generation: 1, partition: 3, offset: 42 },
            at: Timestamp::parse("2026-11-24T08:00:00Z").unwrap(),
            kind,
        }
    }

    fn check(kind: AlertKind, expected: &str) {
        let alert = alert(kind);
        assert_eq!(message_id(&alert), "msg_00000000000000000000000000000abc");
        let event = webhook_event(&alert);
        let bytes = event.to_bytes();
        assert_eq!(serde_json::from_slice::<WebhookEvent>(&bytes).unwrap(), event);
        assert!(bytes.starts_with(br#"{"type":""#));
        let mut found: Value = serde_json::from_slice(&bytes).unwrap();
        let data = found["data"].as_object_mut().unwrap();
        assert_eq!(data.remove("alert_id").unwrap(), "00000000000000000000000000000abc");
        assert_eq!(data.remove("tenant").unwrap(), "acme");
        assert_eq!(data.remove("position").unwrap(), json!({"generation": 1, "partition": 3, "offset": 42}));
        assert_eq!(found["timestamp"], "2026-11-24T08:00:00.000Z");
        let found = json!([found["type"], found["data"]]);
        assert_eq!(found, serde_json::from_str::<Value>(expected).unwrap());
    }

    fn quota(direction: Direction) -> AlertKind {
        AlertKind::Quota {
            meter: MeterKey::new("bandwidth").unwrap(),
            period: Span {
                start: Timestamp::parse("2026-11-01T00:00:00Z").unwrap(),
                end: Timestamp::parse("2026-12-01T00:00:00Z").unwrap(),
            },
            threshold_percent: 80,
            limit: Quantity::from_units(1_000),
            enforcement: Enforcement::Hard,
            used: Quantity::parse("800.000000001").unwrap(),
            direction,
        }
    }

    #[test]
    fn each_kind_has_its_type_and_data() {
        let data = r#"{"meter": "bandwidth", "enforcement": "hard", "limit": "1000", "threshold_percent": 80,
            "used": "800.000000001",
            "period": {"start": "2026-11-01T00:00:00.000Z", "end": "2026-12-01T00:00:00.000Z"}}"#;
        check(quota(Direction::Reached), &format!(r#"["quota.threshold.reached", {data}]"#));
        check(quota(Direction::Resolved), &format!(r#"["quota.threshold.resolved", {data}]"#));
        check(
            AlertKind::Conflict { source: "//gw".to_owned(), event_id: "e \"1\"".to_owned() },
            r#"["usage.conflict", {"source": "//gw", "event_id": "e \"1\""}]"#,
        );
        check(
            AlertKind::SeriesBound { meter: MeterKey::new("calls").unwrap(), series_max: 10_000 },
            r#"["usage.series.bounded", {"meter": "calls", "series_max": 10000}]"#,
        );
    }
}
