//! Adjustments that are asked for: answers that may be another one later.

use serde_json::json;

use crate::support::{event, in_house};

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
