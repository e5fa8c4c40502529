//! Idempotency-Key: the first answer again, another request refused, secrets never kept.

use serde_json::json;

use crate::support::in_house;

#[test]
fn the_first_answer_is_given_again() {
    in_house(|house| async move {
        let path = "/api/v1/platform/tenants";
        let body = json!({
            "name": "Once", "domain": "once.example.com", "plan": "starter", "adminEmail": "ops@once.example.com",
        });
        let key = [("idempotency-key", "once-1")];
        let first = house.json("POST", path, &key, body.clone()).await.expect(201);
        let again = house.json("POST", path, &key, body.clone()).await.expect(201);
        assert_eq!(first.body, again.body);
        assert_eq!((again.header("etag"), again.header("idempotency-replayed")), ("\"1\"", "true"));
        let mut other = body;
        other["name"] = json!("Twice");
        let reused = house.json("POST", path, &key, other).await.expect(422);
        assert_eq!(reused.problem(), "idempotency-key-reused");
    });
}

#[test]
fn at_once_only_one_is_carried_out() {
    in_house(|house| async move {
        let body = json!({
            "name": "Race", "domain": "race.example.com", "plan": "starter", "adminEmail": "ops@race.example.com",
        });
        let send =
            || house.json("POST", "/api/v1/platform/tenants", &[("idempotency-key", "race")], body.clone());
        let (a, b, c) = tokio::join!(send(), send(), send());
        for answer in [&a, &b, &c] {
            let in_flight = answer.status == 409 && answer.problem() == "idempotency-in-flight";
            assert!(answer.status == 201 || in_flight, "{}", answer.body);
        }
        assert!([&a, &b, &c].iter().any(|answer| answer.status == 201));
    });
}

#[test]
fn secrets_are_not_kept() {
    in_house(|house| async move {
        let body = json!({ "name": "k", "scopes": ["events:write"] });
        let key = [("idempotency-key", "secret-1")];
        let first = house.json("POST", "/api/v1/keys", &key, body.clone()).await.expect(201);
        assert!(first.body["key"].as_str().unwrap().starts_with("weir_live_"));
        let again = house.json("POST", "/api/v1/keys", &key, body).await.expect(201);
        assert_eq!(again.body["id"], first.body["id"]);
        assert!(again.body.get("key").is_none());
    });
}
