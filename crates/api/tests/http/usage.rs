//! Usage and alerts: what may be asked for, how long the ledger may take, and that invoices
//! are not seen by whoever may read usage.

use std::time::Duration;

use serde_json::json;
use sqlx::Executor;
use weir_backends::config::PostgresConfig;
use weir_backends::postgres;

use crate::support::{in_house, request};

#[test]
fn spans_are_bounded() {
    in_house(|house| async move {
        house.tenant("spans").await;
        let ask = |span: &str| {
            let path = format!("/api/v1/platform/tenants/spans/usage?{span}");
            async move { house.get(&path).await }
        };
        let year = "from=2025-01-01T00:00:00Z&to=2026-02-05T00:00:00Z";
        ask(year).await.expect(200);
        let longer = ask("from=2025-01-01T00:00:00Z&to=2026-02-05T00:00:00.001Z").await.expect(400);
        assert_eq!(longer.problem(), "malformed");
        let detail = "from 2025-01-01T00:00:00.000Z to 2026-02-05T00:00:00.001Z is longer than 400 days; \
                      ask for a part at a time";
        assert_eq!(longer.body["detail"], detail);
        ask(&format!("{year}&group_by=hour")).await.expect(400);
        ask("from=2026-01-01T00:00:00Z&to=2026-02-01T00:00:00Z&group_by=hour,dimensions").await.expect(200);
    });
}

#[test]
fn a_question_that_takes_the_ledger_too_long_is_ended_and_the_answer_is_503() {
    in_house(|house| async move {
        house.tenant("patient").await;
        let url = house.postgres_url.clone();
        let config = PostgresConfig { url, connections_max: 4 };
        let pool = postgres::connect_bounded(&config, 2, Duration::from_millis(200)).await.unwrap();
        let beside = house.beside_with(pool).await;
        let mut busy = house.state.pool.begin().await.unwrap();
        busy.execute("LOCK TABLE usage IN ACCESS EXCLUSIVE MODE").await.unwrap();
        let path = "/api/v1/platform/tenants/patient/usage";
        let answer = beside.get(path).await.expect(503);
        assert_eq!((answer.problem(), answer.header("retry-after")), ("unavailable", "2"));
        busy.rollback().await.unwrap();
        beside.get(path).await.expect(200);
    });
}

#[test]
fn alerts_are_no_invoices() {
    in_house(|house| async move {
        house.tenant("quiet").await;
        for (id, event_type) in [("msg_one", "quota.threshold.reached"), ("msg_two", "invoice.finalized")] {
            sqlx::query(
                "INSERT INTO outbox (id, kind, tenant, topic_key, body)
                VALUES ($1, 'alert_topic', 'quiet', 'quiet', $2)",
            )
            .bind(id)
            .bind(json!({ "type": event_type, "data": {} }))
            .execute(&house.state.pool)
            .await
            .unwrap();
        }
        let key = house.tenant_key("quiet", &["usage:read"], &[]).await;
        let bearer = format!("Bearer {key}");
        let asked = request("GET", "/api/v1/alerts", &[("authorization", &bearer)], "");
        let seen = house.send(asked).await.expect(200);
        let types: Vec<_> =
            seen.body["items"].as_array().unwrap().iter().map(|one| &one["event"]["type"]).collect();
        assert_eq!(types, ["quota.threshold.reached"]);
    });
}
