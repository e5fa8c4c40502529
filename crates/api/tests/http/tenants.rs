//! A tenant's life over the API: made, read, listed, changed, limited, suspended, offboarded.

use serde_json::{Value, json};

use crate::support::{event, in_house};

const TENANTS: &str = "/api/v1/platform/tenants";

#[test]
fn a_life() {
    in_house(|house| async move {
        let body = json!({
            "name": "Life Ltd", "domain": "Life.example.com", "plan": "desi",
            "adminEmail": "ops@life.example.com", "id": "life", "timezone": "Asia/Kolkata",
        });
        let made = house.json("POST", TENANTS, &[], body).await.expect(201);
        assert_eq!(made.header("location"), "/api/v1/platform/tenants/life");
        assert_eq!((made.header("etag"), &made.body["currency"]), ("\"1\"", &json!("INR")));
        assert_eq!(
            (&made.body["domain"], &made.body["status"]),
            (&json!("life.example.com"), &json!("active"))
        );

        let path = format!("{TENANTS}/life");
        let change = json!({
            "name": "Life Limited", "domain": "life.example.com", "plan": "desi", "adminEmail": "new@life.example.com",
        });
        let stale = house.json("PUT", &path, &[("if-match", "\"7\"")], change.clone()).await.expect(412);
        assert_eq!(stale.problem(), "precondition-failed");
        let changed = house.json("PUT", &path, &[("if-match", "\"1\"")], change.clone()).await.expect(200);
        assert_eq!(
            (changed.header("etag"), &changed.body["adminEmail"]),
            ("\"2\"", &json!("new@life.example.com"))
        );
        house.json("PUT", &path, &[("if-match", "\"1\"")], change.clone()).await.expect(412);
        let mut foreign = change;
        foreign["plan"] = json!("pro");
        let refused = house.json("PUT", &path, &[("if-match", "*")], foreign).await.expect(422);
        assert_eq!(refused.body["errors"][0]["pointer"], "/plan");

        let send = |id: &'static str| house.json("POST", "/api/v1/events", &[], json!([event("life", id)]));
        send("1").await.expect(204);
        let suspended =
            house.json("POST", &format!("{path}/suspend"), &[], json!({"reason": "unpaid"})).await;
        assert_eq!(
            (&suspended.body["status"], &suspended.body["statusReason"]),
            (&json!("suspended"), &json!("unpaid"))
        );
        // Another reason takes its place; none, or the same, changes nothing.
        for (body, revision) in
            [(json!({"reason": "fraud"}), 1), (json!({}), 0), (json!({"reason": "fraud"}), 0)]
        {
            let before = house.get(&path).await.expect(200).body;
            let again = house.json("POST", &format!("{path}/suspend"), &[], body).await.expect(200).body;
            let revisions = |body: &Value| body["revision"].as_i64().unwrap();
            assert_eq!(
                (&again["statusReason"], revisions(&again)),
                (&json!("fraud"), revisions(&before) + revision)
            );
        }
        assert_eq!(send("2").await.expect(403).problem(), "tenant-suspended");
        house.json("POST", &format!("{path}/reactivate"), &[], json!({})).await.expect(200);
        send("2").await.expect(204);

        let left = house.json("DELETE", &path, &[], json!(null)).await.expect(202);
        assert_eq!(left.body["tenant"]["status"], "offboarding");
        assert_eq!(left.body["remaining"], json!(["1 billing period(s) not billed"]));
        assert_eq!(send("3").await.expect(403).problem(), "tenant-offboarding");
        assert_eq!(
            house.json("POST", &format!("{path}/reactivate"), &[], json!({})).await.expect(409).problem(),
            "conflict"
        );
        assert_eq!(house.records_of("life").len(), 2);
    });
}

#[test]
fn limits_in_both_forms() {
    in_house(|house| async move {
        house.tenant("limited").await;
        let path = format!("{TENANTS}/limited/limits");
        let none = house.get(&path).await.expect(200);
        assert_eq!((none.header("etag"), &none.body["limits"]), ("\"0\"", &json!([])));
        let short = json!({ "storage": 100, "bandwidth": "1000000.5" });
        let put = house.json("PUT", &path, &[("if-match", "\"0\"")], short.clone()).await.expect(200);
        assert_eq!(
            (&put.body["limits"][0]["limit"], &put.body["limits"][0]["enforcement"]),
            (&json!("1000000.5"), &json!("hard"))
        );
        house.json("PUT", &path, &[("if-match", "\"0\"")], short).await.expect(412);
        let long = json!({ "limits": [{ "meter": "api_calls", "limit": 5, "enforcement": "soft", "thresholds_percent": [50, 100] }] });
        let first = put.body["revision"].as_i64().unwrap();
        assert_eq!(put.header("etag"), format!("\"{first}\""));
        let seen = format!("\"{first}\"");
        let put = house.json("PUT", &path, &[("if-match", &seen)], long).await.expect(200);
        let second = put.body["revision"].as_i64().unwrap();
        assert!(second > first && put.body["limits"].as_array().unwrap().len() == 1, "{}", put.body);
        // A ledger restored to before them; the journal still holds the second revision.
        sqlx::query("DELETE FROM tenant_limits WHERE tenant = 'limited'")
            .execute(&house.state.pool)
            .await
            .unwrap();
        let again = json!({ "storage": 7 });
        let put = house.json("PUT", &path, &[("if-match", "*")], again).await.expect(200);
        let third = put.body["revision"].as_i64().unwrap();
        assert!(third > second, "{}", put.body);
        for (body, pointer) in [
            (json!({ "moonlight": 1 }), "/moonlight"),
            (json!({ "storage": -1 }), "/storage"),
            (json!({ "storage": true }), "/storage"),
            (json!({ "limits": [{ "meter": "storage" }] }), "/limits/0/limit"),
        ] {
            let refused = house.json("PUT", &path, &[("if-match", "*")], body).await.expect(422);
            assert_eq!(refused.body["errors"][0]["pointer"], pointer, "{}", refused.body);
        }
        let controls: Vec<(String, String)> = sqlx::query_as(
            "SELECT id, topic_key FROM outbox WHERE kind = 'control' AND tenant = 'limited' ORDER BY id",
        )
        .fetch_all(&house.state.pool)
        .await
        .unwrap();
        let expected = [first, second, third]
            .map(|revision| (format!("limits/limited/{revision}"), "limited".to_owned()));
        assert_eq!(controls, expected);
    });
}

#[test]
fn pages_and_narrowing() {
    in_house(|house| async move {
        for id in ["page-a", "page-b", "page-c"] {
            house.tenant(id).await;
        }
        let mut path = format!("{TENANTS}?limit=2");
        let mut seen = Vec::new();
        loop {
            let page = house.get(&path).await.expect(200);
            let items = page.body["items"].as_array().unwrap();
            assert!(items.len() <= 2);
            seen.extend(items.iter().map(|item| item["id"].as_str().unwrap().to_owned()));
            let link = page.header("link");
            if link.is_empty() {
                assert!(page.body["next_cursor"].is_null());
                break;
            }
            path = link.trim_start_matches('<').split('>').next().unwrap().to_owned();
        }
        let mut sorted = seen.clone();
        sorted.sort();
        sorted.dedup();
        assert_eq!(seen.len(), sorted.len());
        assert!(["page-a", "page-b", "page-c"].iter().all(|id| seen.iter().any(|s| s == id)), "{seen:?}");

        let key = house.tenant_key("page-b", &["tenants:read", "tenants:write"], &[]).await;
        let bearer = format!("Bearer {key}");
        let own = |path: String| {
            let request = crate::support::request("GET", &path, &[("authorization", &bearer)], String::new());
            house.send(request)
        };
        let listed = own(TENANTS.to_owned()).await.expect(200);
        assert_eq!(listed.body["items"].as_array().unwrap().len(), 1);
        own(format!("{TENANTS}/page-b")).await.expect(200);
        assert_eq!(own(format!("{TENANTS}/page-a")).await.expect(403).problem(), "other-tenant");
        let usage = house.get(&format!("{TENANTS}/page-b/usage?group_by=hour,dimensions")).await.expect(200);
        assert_eq!(usage.body["usage"], json!([]));
    });
}

#[test]
fn usage_is_merged_as_the_meter_says() {
    in_house(|house| async move {
        house.tenant("merged").await;
        // meter, hour, dimensions, partition, quantity
        let rows = [
            ("bandwidth", "2026-11-01T00:00:00Z", "{}", 0, "0.000000001"),
            ("bandwidth", "2026-11-01T01:00:00Z", "{}", 0, "12345678901234567890.5"),
            ("storage", "2026-11-01T00:00:00Z", "{}", 0, "7"),
            ("storage", "2026-11-01T01:00:00Z", "{}", 0, "5"),
        ];
        for (meter, hour, dimensions, partition, quantity) in rows {
            sqlx::query(
                "INSERT INTO usage (tenant, meter, hour, dimensions, generation, partition, quantity, event_count)
                VALUES ('merged', $1, $2, $3, 1, $4, $5::text::numeric, 1)",
            )
            .bind(meter)
            .bind(chrono::DateTime::parse_from_rfc3339(hour).unwrap())
            .bind(dimensions)
            .bind(partition)
            .bind(quantity)
            .execute(&house.state.pool)
            .await
            .unwrap();
        }
        let span = "from=2026-11-01T00:00:00Z&to=2026-11-02T00:00:00Z";
        let usage = house.get(&format!("{TENANTS}/merged/usage?{span}")).await.expect(200);
        let lines: Vec<_> =
            usage.body["usage"].as_array().unwrap().iter().map(|l| (&l["meter"], &l["quantity"])).collect();
        assert_eq!(lines[0], (&json!("bandwidth"), &json!("12345678901234567890.500000001")));
        assert_eq!(lines[1], (&json!("storage"), &json!("7")));
        // One value under two dimension values is one value, as on an invoice.
        for dimensions in ["{\"region\":\"eu\"}", "{\"region\":\"us\"}"] {
            for (table, column, value) in [
                ("usage", "quantity, event_count", "1, 1"),
                ("usage_unique", "value_hash", "decode(repeat('0a', 16), 'hex')"),
            ] {
                sqlx::query(sqlx::AssertSqlSafe(format!(
                    "INSERT INTO {table} (tenant, meter, hour, dimensions, generation, partition, {column})
                    VALUES ('merged', 'users', '2026-11-01T00:00:00Z', $1, 1, 0, {value})"
                )))
                .bind(dimensions)
                .execute(&house.state.pool)
                .await
                .unwrap();
            }
        }
        for (group_by, quantities) in [("meter", vec!["1"]), ("dimensions", vec!["1", "1"])] {
            let path = format!("{TENANTS}/merged/usage?{span}&meter=users&group_by={group_by}");
            let usage = house.get(&path).await.expect(200);
            let found: Vec<_> =
                usage.body["usage"].as_array().unwrap().iter().map(|l| &l["quantity"]).collect();
            assert_eq!(found, quantities, "by {group_by}");
        }
        let usage = house
            .get(&format!("{TENANTS}/merged/usage?{span}&meter=storage&group_by=hour"))
            .await
            .expect(200);
        assert_eq!(usage.body["usage"].as_array().unwrap().len(), 2);
    });
}
