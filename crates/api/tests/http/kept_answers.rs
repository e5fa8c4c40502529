//! Idempotency-Key: the first answer again, another request refused, secrets never kept.

use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::json;
use weir_backends::tenants::idempotency::{self, Begun, Claim, KeptAnswer};
use weir_core::Timestamp;
use weir_tests::wait::until;

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

#[test]
fn what_was_begun_is_carried_out_although_the_client_has_gone() {
    in_house(|house| async move {
        let path = "/api/v1/platform/tenants";
        let body = json!({
            "name": "Gone", "domain": "left.example.com", "plan": "starter", "adminEmail": "ops@left.example.com",
        });
        let key = [("idempotency-key", "left-1")];
        // Making a tenant waits for this row.
        let mut held = house.state.pool.begin().await.unwrap();
        sqlx::query("SELECT version FROM catalog_head FOR UPDATE").execute(&mut *held).await.unwrap();
        let sending = tokio::spawn({
            let body = body.clone();
            async move { house.json("POST", path, &key, body).await }
        });
        let deadline = Instant::now() + Duration::from_secs(45);
        const BEGUN: &str = "SELECT EXISTS (SELECT 1 FROM idempotency_key WHERE key = 'left-1')";
        until("the request to be begun", deadline - Instant::now(), || async {
            let begun: bool = sqlx::query_scalar(BEGUN).fetch_one(&house.state.pool).await.unwrap();
            Ok(begun.then_some(()))
        })
        .await
        .unwrap();
        sending.abort();
        assert!(sending.await.is_err_and(|error| error.is_cancelled()));
        held.commit().await.unwrap();
        let again = until("the first answer", deadline - Instant::now(), || async {
            let again = house.json("POST", path, &key, body.clone()).await;
            assert!([201, 409].contains(&again.status), "{}", again.body);
            ensure!(again.status == 201, "{}", again.body);
            Ok(Some(again))
        });
        assert_eq!(again.await.unwrap().header("idempotency-replayed"), "true");
    });
}

#[test]
fn whoever_was_taken_for_dead_changes_nothing_afterwards() {
    in_house(|house| async move {
        let pool = &house.state.pool;
        let claim = |made_at: Timestamp| Claim {
            credential: "key".into(),
            route: "POST /nowhere".into(),
            key: "taken-over".into(),
            fingerprint: [7; 32],
            made_at,
        };
        let answer = |status: u16| KeptAnswer { status, headers: json!({}), body: vec![] };
        let first = claim(Timestamp::from(chrono::Utc::now()));
        let second = claim(first.made_at.plus_millis(61_000));
        assert_eq!(idempotency::begin(pool, &first).await.unwrap(), Begun::New);
        assert_eq!(
            idempotency::begin(pool, &claim(first.made_at.plus_millis(59_000))).await.unwrap(),
            Begun::InFlight
        );
        assert_eq!(idempotency::begin(pool, &second).await.unwrap(), Begun::New);
        idempotency::abandon(pool, &first).await.unwrap();
        idempotency::finish(pool, &first, &answer(500)).await.unwrap();
        idempotency::finish(pool, &second, &answer(201)).await.unwrap();
        idempotency::finish(pool, &first, &answer(500)).await.unwrap();
        assert_eq!(idempotency::begin(pool, &second).await.unwrap(), Begun::Kept(answer(201)));
    });
}
