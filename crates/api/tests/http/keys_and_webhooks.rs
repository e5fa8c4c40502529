//! Keys and webhook endpoints: shown once, handed on within bounds, revoked.

use serde_json::json;

use crate::support::{event, in_house, request};

#[test]
fn a_key_is_made_used_and_revoked() {
    in_house(|house| async move {
        house.tenant("keyed").await;
        let body = json!({ "name": "gateway", "tenant": "keyed", "scopes": ["events:write", "keys:write"] });
        let made = house.json("POST", "/api/v1/keys", &[], body).await.expect(201);
        let bearer = format!("Bearer {}", made.body["key"].as_str().unwrap());
        let own = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        let events = || request("POST", "/api/v1/events", &own, json!([event("keyed", "1")]).to_string());
        house.send(events()).await.expect(204);
        // It cannot hand on more than it has, nor to another tenant.
        for (body, problem) in [
            (json!({ "name": "x", "scopes": ["tenants:write"] }), "insufficient-scope"),
            (json!({ "name": "x", "scopes": ["events:write"], "tenant": "rest" }), "other-tenant"),
        ] {
            let refused =
                house.send(request("POST", "/api/v1/keys", &own, body.to_string())).await.expect(403);
            assert_eq!(refused.problem(), problem);
        }
        let child = json!({ "name": "child", "scopes": ["events:write"] }).to_string();
        let child = house.send(request("POST", "/api/v1/keys", &own, child)).await.expect(201);
        assert_eq!(child.body["tenant"], "keyed");
        let listed = house.send(request("GET", "/api/v1/keys", &own, String::new())).await.expect(200);
        let listed = listed.body["items"].as_array().unwrap();
        assert!(listed.len() == 2 && listed.iter().all(|key| key.get("key").is_none()), "{listed:?}");
        let path = format!("/api/v1/keys/{}", made.body["id"].as_str().unwrap());
        house.send(request("DELETE", &path, &[], String::new())).await.expect(204);
        house.send(events()).await.expect(401);
        let stored: Vec<String> = sqlx::query_scalar("SELECT api_key::text FROM api_key")
            .fetch_all(&house.state.pool)
            .await
            .unwrap();
        let secret = made.body["key"].as_str().unwrap().rsplit('_').next().unwrap().to_owned();
        assert!(stored.iter().all(|row| !row.contains(&secret)));
    });
}

#[test]
fn a_webhook_is_made_and_deleted() {
    in_house(|house| async move {
        let body =
            json!({ "url": "https://hooks.example.com/weir", "event_types": ["quota.threshold.reached"] });
        let made = house.json("POST", "/api/v1/webhooks", &[], body).await.expect(201);
        assert!(made.body["secret"].as_str().unwrap().starts_with("whsec_"));
        let listed = house.get("/api/v1/webhooks").await.expect(200);
        assert!(listed.body["items"][0].get("secret").is_none());
        let path = format!("/api/v1/webhooks/{}", made.body["id"].as_str().unwrap());
        house.send(request("DELETE", &path, &[], String::new())).await.expect(204);
        house.send(request("DELETE", &path, &[], String::new())).await.expect(404);
    });
}
