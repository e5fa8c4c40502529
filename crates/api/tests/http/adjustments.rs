//! Adjustments that are asked for: of deleted tenants and of new ones, and answers that may be
//! another one later.

use serde_json::{Value, json};

use crate::support::{event, in_house};

const AT: &str = "2025-03-01T10:00:00Z";

fn entry(quantity: &str) -> Value {
    json!({ "meter": "bandwidth", "at": AT, "quantity": quantity, "why": "history" })
}

fn path(tenant: &str) -> String {
    format!("/api/v1/platform/tenants/{tenant}/adjustments")
}

#[test]
fn a_deleted_tenants_usage_no_longer_changes() {
    in_house(|house| async move {
        house.tenant("departed").await;
        house.json("POST", &path("departed"), &[("idempotency-key", "gone-1")], entry("1")).await.expect(202);
        let mut tx = house.state.pool.begin().await.unwrap();
        sqlx::query("UPDATE tenant SET status = 'deleted' WHERE id = 'departed'")
            .execute(&mut *tx)
            .await
            .unwrap();
        weir_backends::catalog::bump(&mut tx).await.unwrap();
        tx.commit().await.unwrap();
        let refused = house.json("POST", &path("departed"), &[("idempotency-key", "gone-2")], entry("1")).await;
        let refused = refused.expect(409);
        assert!(refused.body["detail"].as_str().unwrap().contains("is deleted"), "{}", refused.body);
        house.json("POST", &path("never"), &[("idempotency-key", "gone-3")], entry("1")).await.expect(404);
    });
}

#[test]
fn that_an_event_is_not_counted_yet_is_no_answer_for_a_day() {
    in_house(|house| async move {
        house.tenant("early").await;
        let headers = [("content-type", "application/cloudevents+json")];
        let sent = event("early", "e-1").to_string();
        house.send(crate::support::request("POST", "/api/v1/events", &headers, sent)).await.expect(204);
        let body = json!({ "source": "//gateway.eu", "id": "e-1", "why": "a test" });
        let void = "/api/v1/platform/tenants/early/events/void";
        let answer = house.json("POST", void, &[("idempotency-key", "early-1")], body).await.expect(503);
        assert_eq!(answer.header("retry-after"), "2");
        assert!(answer.body["detail"].as_str().unwrap().contains("try again"), "{}", answer.body);
        const KEPT: &str = "SELECT count(*) FROM idempotency_key WHERE key = 'early-1'";
        let kept: i64 = sqlx::query_scalar(KEPT).fetch_one(&house.state.pool).await.unwrap();
        assert_eq!(kept, 0);
    });
}
