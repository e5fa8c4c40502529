//! Quota answers from memory: what a level becomes, stale or fresh, suspended or not.

use serde_json::{Value, json};
use weir_api::ApiSettings;
use weir_core::{Position, Quantity, Span, TenantId, Timestamp};
use weir_metering::meter::MeterKey;
use weir_metering::quota::{Enforcement, Limit, QuotaLevel, WhenStale};

use crate::support::in_house;

fn level(enforcement: Enforcement, when_stale: WhenStale, used: i64, age_ms: i64, offset: i64) -> QuotaLevel {
    let now = Timestamp::from(chrono::Utc::now());
    let meter = MeterKey::new("bandwidth").unwrap();
    let thresholds_percent = vec![80, 100];
    let limit = Limit {
        meter: meter.clone(),
        limit: Quantity::from_units(10),
        enforcement,
        thresholds_percent,
        when_stale,
    };
    QuotaLevel {
        tenant: TenantId::new("levels").unwrap(),
        limit: Some(limit),
        meter,
        period: Span { start: now.plus_millis(-3_600_000), end: now.plus_millis(3_600_000) },
        used: Quantity::from_units(used),
        position: Position { generation: 1, partition: 0, offset },
        as_of: now.plus_millis(-age_ms),
    }
}

#[test]
fn what_a_level_becomes() {
    use {Enforcement::*, WhenStale::*};
    in_house(|house| async move {
        house.tenant("levels").await;
        let beside = house.beside(&house.kafka, ApiSettings::default()).await;
        // enforcement, when stale, used, age in ms; allowed, remaining, stale
        let rows = [
            (Hard, Deny, 4, 0, true, "6", false),
            (Hard, Deny, 10, 0, false, "0", false),
            (Soft, Deny, 12, 0, true, "0", false),
            (Hard, Deny, 4, 600_000, false, "6", true),
            (Hard, Allow, 12, 600_000, true, "0", true),
        ];
        for (offset, (enforcement, when_stale, used, age_ms, allowed, remaining, stale)) in (1..).zip(rows) {
            beside.state.quota.put(level(enforcement, when_stale, used, age_ms, offset));
            let body = beside.get("/api/v1/quota/levels/bandwidth").await.expect(200).body;
            assert_eq!(
                (&body["allowed"], &body["remaining"], &body["stale"]),
                (&json!(allowed), &json!(remaining), &json!(stale)),
                "{body}"
            );
            assert_eq!((&body["used"], &body["limit"]), (&json!(used.to_string()), &json!("10")));
        }
        beside.json("POST", "/api/v1/platform/tenants/levels/suspend", &[], Value::Null).await.expect(422);
        beside.json("POST", "/api/v1/platform/tenants/levels/suspend", &[], json!({})).await.expect(200);
        let body = beside.get("/api/v1/quota/levels/bandwidth").await.expect(200).body;
        assert_eq!((&body["allowed"], &body["reason"]), (&json!(false), &json!("suspended")));
    });
}
