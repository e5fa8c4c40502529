//! Adjustments that are asked for: counted once however often they are sent, and answers that
//! may be another one later.

use serde_json::{Value, json};

use crate::support::{House, event, in_house};

const AT: &str = "2025-03-01T10:00:00Z";

fn entry(quantity: &str) -> Value {
    json!({ "meter": "bandwidth", "at": AT, "quantity": quantity, "why": "history" })
}

fn path(tenant: &str) -> String {
    format!("/api/v1/platform/tenants/{tenant}/adjustments")
}

/// As after a failure of the answer's keeping, or after a day.
async fn forget(house: &House, idempotency_key: &str) {
    const FORGET: &str = "DELETE FROM idempotency_key WHERE key = $1";
    let forgotten = sqlx::query(FORGET).bind(idempotency_key).execute(&house.state.pool).await.unwrap();
    assert_eq!(forgotten.rows_affected(), 1);
}

async fn listed(house: &House, tenant: &str) -> usize {
    house.get(&path(tenant)).await.expect(200).body["items"].as_array().unwrap().len()
}

#[test]
fn sent_again_under_a_key_that_was_forgotten_it_is_one_adjustment() {
    in_house(|house| async move {
        house.tenant("again").await;
        let send = |key: &'static str, quantity: &'static str| async move {
            house.json("POST", &path("again"), &[("idempotency-key", key)], entry(quantity)).await
        };
        let first = send("again-1", "12.5").await.expect(202);
        forget(house, "again-1").await;
        let second = send("again-1", "12.5").await.expect(202);
        assert_eq!(second.header("idempotency-replayed"), "");
        assert_eq!((&second.body["id"], &second.body["usage"]), (&first.body["id"], &first.body["usage"]));
        assert_eq!(listed(house, "again").await, 1);
        // Another request under it is refused, and another key makes another adjustment.
        forget(house, "again-1").await;
        let other = send("again-1", "13").await.expect(409);
        assert!(other.body["detail"].as_str().unwrap().contains("another adjustment"), "{}", other.body);
        send("again-2", "12.5").await.expect(202);
        assert_eq!(listed(house, "again").await, 2);
    });
}

#[test]
fn without_an_id_and_a_key_it_is_refused_with_what_to_do() {
    in_house(|house| async move {
        house.tenant("unnamed").await;
        let refused = house.json("POST", &path("unnamed"), &[], entry("1")).await.expect(422);
        assert_eq!(refused.body["errors"][0]["pointer"], "/id");
        assert!(
            refused.body["detail"].as_str().unwrap().contains("send an Idempotency-Key"),
            "{}",
            refused.body
        );
        let mut named = entry("1");
        named["id"] = json!("import-1");
        house.json("POST", &path("unnamed"), &[], named.clone()).await.expect(202);
        house.json("POST", &path("unnamed"), &[], named).await.expect(202);
        assert_eq!(listed(house, "unnamed").await, 1);
    });
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
        let refused =
            house.json("POST", &path("departed"), &[("idempotency-key", "gone-2")], entry("1")).await;
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
