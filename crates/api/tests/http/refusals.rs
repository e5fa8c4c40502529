//! What bad input gets: each row a request, and the status and problem that it must have.

use serde_json::{Value, json};

use crate::support::{event, event_with, in_house, request};

const STRUCTURED: &str = "application/cloudevents+json";
const BATCH: &str = "application/cloudevents-batch+json";

struct Row {
    what: &'static str,
    content_type: &'static str,
    body: String,
    status: u16,
    problem: &'static str,
}

fn row(
    what: &'static str,
    content_type: &'static str,
    body: impl ToString,
    status: u16,
    problem: &'static str,
) -> Row {
    Row { what, content_type, body: body.to_string(), status, problem }
}

fn data(tenant: &str, bytes: &str) -> String {
    // By hand, so that the number keeps its spelling.
    event(tenant, "n").to_string().replace("\"12.5\"", bytes)
}

#[test]
fn bodies_of_events() {
    in_house(|house| async move {
        house.tenant("refusals").await;
        let t = "refusals";
        let rows = [
            row("not JSON", STRUCTURED, "{nope", 400, "malformed"),
            row("not JSON in a batch", BATCH, "[{]", 400, "malformed"),
            row("an object as a batch", BATCH, "{}", 400, "malformed"),
            row("wrong type", "text/plain", event(t, "1"), 415, "unsupported-media-type"),
            row("no type", "", event(t, "1"), 415, "unsupported-media-type"),
            row("over the limit", STRUCTURED, "x".repeat(8 * 1024 * 1024 + 1), 413, "too-large"),
            row("too many events", BATCH, format!("[{}1]", "1,".repeat(10_000)), 413, "too-large"),
            row("taken", STRUCTURED, event(t, "ok"), 204, ""),
            row("a plain array", "application/json", json!([event(t, "a1"), event(t, "a2")]), 204, ""),
            row("an empty array", BATCH, "[]", 204, ""),
            row("an exponent", STRUCTURED, data(t, "1e-07"), 204, ""),
            row("40 digits", STRUCTURED, data(t, &"1".repeat(40)), 422, "invalid-event"),
            row("NaN", STRUCTURED, data(t, "\"NaN\""), 422, "invalid-event"),
            row("ten decimals", STRUCTURED, data(t, "0.30000000000000004"), 422, "invalid-event"),
            row("past the range", STRUCTURED, data(t, "1e16"), 422, "invalid-event"),
            row("no value", STRUCTURED, event_with(t, "1", "data", json!({})), 422, "invalid-event"),
            row("no id", STRUCTURED, event_with(t, "1", "id", Value::Null), 422, "invalid-event"),
            row("a NUL in the id", STRUCTURED, event(t, "a\0b"), 422, "invalid-event"),
            row(
                "a wrong time",
                STRUCTURED,
                event_with(t, "1", "time", json!("yesterday")),
                422,
                "invalid-event",
            ),
            row(
                "5 kB",
                STRUCTURED,
                event_with(t, "1", "data", json!({"bytes": 1, "x": "y".repeat(5000)})),
                422,
                "invalid-event",
            ),
            row("unknown tenant", STRUCTURED, event("nobody", "1"), 422, "unknown-tenant"),
            row("all bad", BATCH, json!([event("nobody", "1"), event(t, "")]), 422, "events-refused"),
        ];
        for Row { what, content_type, body, status, problem } in rows {
            let headers: &[_] = if content_type.is_empty() { &[] } else { &[("content-type", content_type)] };
            let answer = house.send(request("POST", "/api/v1/events", headers, body)).await;
            assert_eq!((answer.status, answer.problem()), (status, problem), "{what}: {}", answer.body);
        }
    });
}

#[test]
fn who_is_asking() {
    in_house(|house| async move {
        house.tenant("asking").await;
        house.tenant("asked").await;
        let own = house.tenant_key("asking", &["events:write"], &["//gateway"]).await;
        let reader = house.tenant_key("asking", &["usage:read"], &[]).await;
        let (good, other) = (event("asking", "1"), event("asked", "1"));
        let elsewhere = event_with("asking", "2", "source", json!("//billing"));
        let wrong = format!("weir_test_{}_{}", "0".repeat(16), "0".repeat(64));
        let mut tampered = own.clone();
        let last = if tampered.ends_with('0') { "1" } else { "0" };
        tampered.replace_range(tampered.len() - 1.., last);
        for (what, key, body, status, problem) in [
            ("no key", "", &good, 401, "unauthorized"),
            ("rubbish", "abc", &good, 401, "unauthorized"),
            ("unknown key", &wrong, &good, 401, "unauthorized"),
            ("wrong secret", &tampered, &good, 401, "unauthorized"),
            ("no scope", &reader, &good, 403, "insufficient-scope"),
            ("another tenant's event", &own, &other, 403, "other-tenant"),
            ("another source", &own, &elsewhere, 403, "source-not-allowed"),
            ("its own", &own, &good, 204, ""),
        ] {
            let bearer = format!("Bearer {key}");
            let mut headers = vec![("content-type", STRUCTURED)];
            if !key.is_empty() {
                headers.push(("authorization", &bearer));
            }
            let answer =
                house.send_as_is(request("POST", "/api/v1/events", &headers, body.to_string())).await;
            assert_eq!((answer.status, answer.problem()), (status, problem), "{what}: {}", answer.body);
            assert_eq!(
                answer.headers.contains_key("www-authenticate"),
                status == 401 || problem == "insufficient-scope"
            );
        }
    });
}

#[test]
fn routes_and_bodies_of_the_rest() {
    in_house(|house| async move {
        house.tenant("rest").await;
        let good = json!({"name": "n", "domain": "n.example.com", "plan": "starter", "adminEmail": "a@n.example.com"});
        let with = |member: &str, value: Value| {
            let mut body = good.clone();
            body[member] = value;
            body.to_string()
        };
        let tenants = "/api/v1/platform/tenants";
        let rows = [
            ("GET", "/nope", String::new(), 404, "unknown-route", ""),
            ("PATCH", tenants, String::new(), 405, "method-not-allowed", ""),
            ("POST", tenants, "{".into(), 400, "malformed", ""),
            ("POST", tenants, "{}".into(), 422, "invalid", "/name"),
            ("POST", tenants, with("name", json!(1)), 422, "invalid", "/name"),
            ("POST", tenants, with("nope", json!(1)), 422, "invalid", "/nope"),
            ("POST", tenants, with("plan", json!("nope")), 422, "invalid", "/plan"),
            ("POST", tenants, with("domain", json!("nope")), 422, "invalid", "/domain"),
            ("POST", tenants, with("adminEmail", json!("nope")), 422, "invalid", "/adminEmail"),
            ("POST", tenants, with("timezone", json!("Mars/One")), 422, "invalid", "/timezone"),
            ("POST", tenants, with("timezone", json!("Australia/Lord_Howe")), 422, "invalid", "/timezone"),
            ("POST", tenants, with("currency", json!("XXY")), 422, "invalid", "/currency"),
            ("POST", tenants, with("currency", json!("USD")), 422, "invalid", "/currency"),
            ("POST", tenants, with("anchor", json!("soon")), 422, "invalid", "/anchor"),
            ("POST", tenants, with("anchor", json!("1990-01-01")), 422, "invalid", "/anchor"),
            ("POST", tenants, with("anchor", json!("2126-01-01")), 422, "invalid", "/anchor"),
            ("POST", tenants, with("id", json!("a/b")), 422, "invalid", "/id"),
            ("POST", tenants, with("id", json!("rest")), 409, "conflict", "/id"),
            ("POST", tenants, with("domain", json!("REST.example.com")), 409, "conflict", "/domain"),
            ("GET", "/api/v1/platform/tenants?limit=0", String::new(), 400, "malformed", ""),
            ("GET", "/api/v1/platform/tenants?cursor=%21", String::new(), 400, "malformed", ""),
            ("GET", "/api/v1/platform/tenants?status=active", String::new(), 400, "malformed", ""),
            ("GET", "/api/v1/invoices?page=2", String::new(), 400, "malformed", ""),
            ("GET", "/api/v1/alerts?page=2", String::new(), 400, "malformed", ""),
            ("GET", "/api/v1/platform/tenants/nobody", String::new(), 404, "not-found", ""),
            ("GET", "/api/v1/platform/tenants/rest/usage?from=x", String::new(), 400, "malformed", ""),
            ("GET", "/api/v1/platform/tenants/rest/usage?meter=nope", String::new(), 422, "invalid", ""),
            ("GET", "/api/v1/platform/tenants/rest/usage?meter=%00", String::new(), 422, "invalid", ""),
            ("GET", "/api/v1/platform/tenants/rest/usage?meter=bandwidth", String::new(), 200, "", ""),
            ("GET", "/api/v1/platform/tenants/rest/usage?group_by=moon", String::new(), 400, "malformed", ""),
            ("PUT", "/api/v1/platform/tenants/rest", good.to_string(), 428, "precondition-required", ""),
            ("PUT", "/api/v1/platform/tenants/rest/limits", "{}".into(), 428, "precondition-required", ""),
            ("GET", "/api/v1/quota/rest/nope", String::new(), 404, "not-found", ""),
            ("GET", "/api/v1/quota/nobody/bandwidth", String::new(), 404, "not-found", ""),
            ("GET", "/api/v1/quota/rest/bandwidth", String::new(), 503, "unavailable", ""),
            ("GET", "/api/v1/invoices/inv_0", String::new(), 404, "not-found", ""),
            ("GET", "/api/v1/platform/tenants/a%00b", String::new(), 404, "not-found", ""),
            ("DELETE", "/api/v1/platform/tenants/a%00b", String::new(), 404, "not-found", ""),
            ("GET", "/api/v1/platform/tenants/%FF", String::new(), 400, "malformed", ""),
            ("GET", "/api/v1/quota/rest/%FF", String::new(), 400, "malformed", ""),
            ("POST", "/api/v1/platform/tenants/rest/suspend", "x".repeat(300_000), 413, "too-large", ""),
            (
                "POST",
                "/api/v1/platform/tenants/rest/suspend",
                json!({"reason": "a\0b"}).to_string(),
                422,
                "invalid",
                "/reason",
            ),
            (
                "POST",
                "/api/v1/webhooks",
                json!({"url": "http://127.0.0.1/"}).to_string(),
                422,
                "invalid",
                "/url",
            ),
            (
                "POST",
                "/api/v1/webhooks",
                json!({"url": "https://hooks.example.com/", "event_types": ["usage.conflict", "quota.tripped"]})
                    .to_string(),
                422,
                "invalid",
                "/event_types/1",
            ),
            (
                "POST",
                "/api/v1/keys",
                json!({"name": "k", "scopes": ["fly"]}).to_string(),
                422,
                "invalid",
                "/scopes/0",
            ),
        ];
        for (method, path, body, status, problem, pointer) in rows {
            let sent = request(method, path, &[("content-type", "application/json")], body.clone());
            let answer = house.send(sent).await;
            let what = format!("{method} {path} {body}: {}", answer.body);
            assert_eq!((answer.status, answer.problem()), (status, problem), "{what}");
            assert_eq!(answer.body["errors"][0]["pointer"].as_str().unwrap_or(""), pointer, "{what}");
            assert!(answer.header("x-request-id").starts_with("req_"), "{what}");
        }
    });
}

#[test]
fn what_is_said_names_nothing_of_the_program() {
    in_house(|house| async move {
        house.tenant("words").await;
        let limits = "/api/v1/platform/tenants/words/limits";
        let headers = [("content-type", "application/json"), ("if-match", "*")];
        let answer = house.send(request("PUT", limits, &headers, "[]")).await.expect(422);
        let detail = answer.body["detail"].as_str().unwrap();
        assert!(detail.starts_with("invalid type: sequence, expected an object"), "{detail}");
        let query = "/api/v1/platform/tenants?limit=";
        for (limit, detail) in
            [("100000", "limit must lie between 1 and 500"), ("x", "limit: invalid digit found in string")]
        {
            let answer = house.get(&format!("{query}{limit}")).await.expect(400);
            assert_eq!(answer.body["detail"], detail);
        }
    });
}

#[test]
fn the_docs_ask_nobody_outside() {
    in_house(|house| async move {
        let script =
            house.send_as_is(request("GET", "/docs/swagger-initializer.js", &[], "")).await.expect(200);
        assert!(script.body.as_str().unwrap().contains(r#""validatorUrl": "none""#), "{}", script.body);
    });
}

#[test]
fn every_type_leads_to_a_page_that_needs_no_key() {
    in_house(|house| async move {
        for name in ["not-found", "invalid", "unauthorized", "internal"] {
            let page = house.send_as_is(request("GET", &format!("/problems/{name}"), &[], "")).await;
            let page = page.expect(200).body;
            assert!(page.as_str().unwrap().contains(&format!("<h1>{name}</h1>")), "{page}");
        }
        let answer = house.send_as_is(request("GET", "/problems/nope", &[], "")).await;
        assert_eq!((answer.status, answer.problem()), (404, "not-found"));
    });
}
