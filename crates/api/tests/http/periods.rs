//! Periods and subscriptions as rows: written ahead, extended, changed plans, ended for good.

use serde_json::json;
use weir_backends::tenants;
use weir_core::Timestamp;
use weir_core::time::DAY_MS;

use crate::support::in_house;

const TENANTS: &str = "/api/v1/platform/tenants";

#[test]
fn periods_are_extended_before_they_run_out() {
    in_house(|house| async move {
        house.tenant("ahead").await;
        let count = || async {
            let count = sqlx::query_scalar("SELECT count(*) FROM billing_period WHERE tenant = 'ahead'");
            count.fetch_one(&house.state.pool).await.unwrap()
        };
        let first: i64 = count().await;
        assert!(first >= 13, "{first}");
        let now = Timestamp::from(chrono::Utc::now());
        tenants::extend_periods(&house.state.pool, now).await.unwrap();
        assert_eq!(count().await, first);
        tenants::extend_periods(&house.state.pool, now.plus_millis(200 * DAY_MS)).await.unwrap();
        let later: i64 = count().await;
        assert!(later > first, "{later}");
        let gaps: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM billing_period a JOIN billing_period b
                ON b.tenant = a.tenant AND b.number = a.number + 1
            WHERE a.tenant = 'ahead' AND a.ends_at <> b.starts_at",
        )
        .fetch_one(&house.state.pool)
        .await
        .unwrap();
        assert_eq!(gaps, 0);
    });
}

#[test]
fn periods_follow_each_other_whatever_the_zone_data_says_later() {
    in_house(|house| async move {
        house.tenant("paraguay").await;
        // As if the rules in force then had ended the last stored period an hour later.
        let pool = &house.state.pool;
        let moved = "UPDATE billing_period SET ends_at = ends_at + interval '1 hour'
            WHERE tenant = 'paraguay' AND number = (SELECT max(number) FROM billing_period WHERE tenant = 'paraguay')
            RETURNING number, ends_at";
        let (number, end): (i32, chrono::DateTime<chrono::Utc>) =
            sqlx::query_as(moved).fetch_one(pool).await.unwrap();
        let now = Timestamp::from(chrono::Utc::now());
        tenants::extend_periods(pool, now.plus_millis(200 * DAY_MS)).await.unwrap();
        let start: chrono::DateTime<chrono::Utc> = sqlx::query_scalar(
            "SELECT starts_at FROM billing_period WHERE tenant = 'paraguay' AND number = $1",
        )
        .bind(number + 1)
        .fetch_one(pool)
        .await
        .unwrap();
        assert_eq!(start, end);
        let apart = "INSERT INTO billing_period (tenant, number, starts_at, ends_at)
            SELECT tenant, number + 1, ends_at - interval '1 hour', ends_at + interval '30 days'
            FROM billing_period WHERE tenant = 'paraguay' ORDER BY number DESC LIMIT 1";
        let error = sqlx::query(apart).execute(pool).await.unwrap_err().to_string();
        assert!(error.contains("billing_period_chain"), "{error}");
    });
}

#[test]
fn another_plan_holds_from_the_next_period() {
    in_house(|house| async move {
        house.tenant("switch").await;
        sqlx::query(
            "INSERT INTO plan_version (key, version, definition, content_hash, applied_at)
            SELECT 'starter-two', 1, jsonb_set(definition, '{key}', '\"starter-two\"'), 'x', now()
            FROM plan_version WHERE key = 'starter'",
        )
        .execute(&house.state.pool)
        .await
        .unwrap();
        for plan in ["starter-two", "starter", "starter-two"] {
            let body = json!({
                "name": "s", "domain": "switch.example.com", "plan": plan, "adminEmail": "a@switch.example.com",
            });
            let path = format!("{TENANTS}/switch");
            let changed = house.json("PUT", &path, &[("if-match", "*")], body).await.expect(200);
            assert_eq!(changed.body["plan"], plan);
        }
        let fits: Vec<bool> = sqlx::query_scalar(
            "SELECT s.plan = 'starter' AND s.ends_at = p.ends_at
                OR s.plan = 'starter-two' AND s.starts_at = p.ends_at AND s.ends_at IS NULL
            FROM subscription s JOIN billing_period p ON p.tenant = s.tenant AND p.number = 0
            WHERE s.tenant = 'switch'",
        )
        .fetch_all(&house.state.pool)
        .await
        .unwrap();
        assert_eq!(fits, [true, true]);
    });
}

#[test]
fn a_tenant_is_deleted_once_all_is_billed_and_paid() {
    in_house(|house| async move {
        house.tenant("gone").await;
        let path = format!("{TENANTS}/gone");
        house.json("DELETE", &path, &[], json!(null)).await.expect(202);
        let key = json!({"name": "late", "tenant": "gone", "scopes": ["events:write"]});
        assert_eq!(house.json("POST", "/api/v1/keys", &[], key).await.expect(409).problem(), "conflict");
        let bill = || {
            sqlx::query(
                "INSERT INTO invoice (id, document_type, status, number, legal_entity, tenant, subscription,
                    period_start, period_end, sequence, currency, total, cut_generation, cut_partition,
                    cut_offset, document, hash, created_at, finalized_at)
                SELECT 'inv_gone', 'invoice', 'finalized', 'GONE-1', 'acme-de', 'gone', s.id, p.starts_at, p.ends_at,
                    0, 'EUR', 29, 1, 0, 0, '{\"n\":1}', 'h', now(), now()
                FROM subscription s JOIN billing_period p ON p.tenant = s.tenant AND p.number = 0
                WHERE s.tenant = 'gone'",
            )
            .execute(&house.state.pool)
        };
        bill().await.unwrap();
        // A correction over nothing is owed by nobody.
        sqlx::query(
            "INSERT INTO invoice (id, document_type, status, number, legal_entity, tenant, subscription,
                period_start, period_end, sequence, currency, total, cut_generation, cut_partition,
                cut_offset, document, hash, created_at, finalized_at)
            SELECT 'inv_gone_2', 'correction', status, 'GONE-2', legal_entity, tenant, subscription,
                period_start, period_end, 1, currency, 0, 1, 0, 0, document, hash, created_at, created_at
            FROM invoice WHERE id = 'inv_gone'",
        )
        .execute(&house.state.pool)
        .await
        .unwrap();
        let left = house.json("DELETE", &path, &[], json!(null)).await.expect(202);
        assert_eq!(left.body["remaining"], json!(["1 invoice(s) not paid"]));
        let invoice = house.get("/api/v1/invoices/GONE-1").await.expect(200);
        assert_eq!(
            (&invoice.body["total"], &invoice.body["document"]["n"]),
            (&json!({"amount": "29", "currency": "EUR"}), &json!(1))
        );
        let pay = |reference: &'static str| {
            let body = json!({"paid_at": "2026-11-24T09:30:00Z", "reference": reference});
            house.json("PUT", "/api/v1/invoices/GONE-1/payment", &[], body)
        };
        pay("").await.expect(422);
        for _ in 0..2 {
            let paid = pay("SEPA 4711").await.expect(200);
            assert_eq!(
                (&paid.body["status"], &paid.body["payment"]["reference"]),
                (&json!("paid"), &json!("SEPA 4711"))
            );
        }
        pay("SEPA 4712").await.expect(409);
        let left = house.json("DELETE", &path, &[], json!(null)).await.expect(200);
        assert_eq!(
            (&left.body["tenant"]["status"], &left.body["remaining"]),
            (&json!("deleted"), &json!([]))
        );
        let again = house.json("DELETE", &path, &[], json!(null)).await.expect(200);
        assert_eq!(again.body["tenant"]["status"], "deleted");
    });
}
