//! Usage that someone decided: events that are taken out before and after their period was
//! billed, history that is older than the window, and proofs that hold after all of it.

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use weir_tests::events::Event;
use weir_tests::house::House;
use weir_tests::receiver::Receiver;
use weir_tests::wait;

use crate::counting::post_batch;
use crate::quotas::{set_limit, wait_for_answer};

const SOURCE: &str = "//tests/service";

pub(crate) async fn a_voided_event_leaves_usage_quota_and_alerts(house: &mut House) -> Result<()> {
    let receiver = Receiver::start().await?;
    let endpoint = house.send(Method::POST, "/api/v1/webhooks", &json!({"url": receiver.url()})).await?;
    let secret = endpoint["secret"].as_str().with_context(|| format!("no secret in {endpoint}"))?.to_owned();
    let tenant = house.create_tenant("voided", "plain").await?;
    set_limit(house, &tenant).await?;
    let call = |id: usize| Event::now(&tenant, "test.call", &id.to_string(), &[("route", "/")]);
    let events: Vec<_> = (0..12).map(call).collect();
    post_batch(house, &events).await?;
    let quota = format!("/api/v1/quota/{tenant}/calls");
    wait_for_answer(house, &quota, "12", false).await?;

    // Through the API, each under an Idempotency-Key, and each sent twice.
    for id in 0..5 {
        let body = json!({"source": SOURCE, "id": id.to_string(), "why": "test traffic"});
        let key = format!("void-{id}");
        let first = until_void(house, &tenant, &body, Some(&key), StatusCode::ACCEPTED).await?;
        ensure!(first["usage"][0]["event_count"] == -1, "{first}");
        let again = void(house, &tenant, &body, Some(&key)).await?;
        ensure!(again == (StatusCode::ACCEPTED, first.clone()), "{again:?}, not {first}");
        let anew = void(house, &tenant, &body, None).await?;
        ensure!(anew.0 == StatusCode::ACCEPTED && anew.1["id"] == first["id"], "{anew:?}");
        let other_words = json!({"source": SOURCE, "id": id.to_string(), "why": "another reason"});
        let (status, problem) = void(house, &tenant, &other_words, None).await?;
        ensure!(status == StatusCode::CONFLICT && says(&problem, "taken out already"), "{problem}");
    }
    wait_for_answer(house, &quota, "7", true).await?;
    until_usage(house, &tenant, "calls", "7", 7).await?;
    wait::until("both alerts to be over", wait::PATIENCE, || async {
        let bodies = receiver.received().into_iter().map(|request| request.verified(&secret));
        let over = bodies.filter(|body| {
            body.as_ref().is_ok_and(|body| {
                body["type"] == "quota.threshold.resolved" && body["data"]["tenant"] == tenant.as_str()
            })
        });
        Ok((over.count() == 2).then_some(()))
    })
    .await?;
    // The ids stay taken.
    post_batch(house, &events[..3]).await?;
    post_batch(house, &[call(12)]).await?;
    house.expect_usage(&tenant, "calls", "8", 8).await?;
    expect_refusals(house, &tenant).await?;
    let listed = house.get(&format!("/api/v1/platform/tenants/{tenant}/adjustments?limit=2")).await?;
    ensure!(
        listed["items"].as_array().map(Vec::len) == Some(2) && !listed["next_cursor"].is_null(),
        "{listed}"
    );
    ensure!(
        listed["items"][0]["status"] == "counted" && listed["items"][0]["why"] == "test traffic",
        "{listed}"
    );
    expect_rollup(house, &tenant, "8").await?;
    house.expect_sound_ledger().await
}

/// What cannot be taken out or added, and what is said.
async fn expect_refusals(house: &House, tenant: &str) -> Result<()> {
    let level = Event::now(tenant, "test.level", "level", &[("level", "7")]);
    let user = Event::now(tenant, "test.user", "user", &[("user", "ada")]);
    post_batch(house, &[level, user]).await?;
    for (id, words) in
        [("level", "meter level keeps the largest value"), ("user", "meter users keeps the different")]
    {
        let body = json!({"source": SOURCE, "id": id, "why": "a test"});
        let problem = until_void(house, tenant, &body, None, StatusCode::UNPROCESSABLE_ENTITY).await?;
        ensure!(says(&problem, words), "{problem}");
    }
    // ClickHouse may still be on its way when it is asked for what is not there.
    let body = json!({"source": SOURCE, "id": "never sent", "why": "a test"});
    until_void(house, tenant, &body, None, StatusCode::NOT_FOUND).await?;
    let path = format!("/api/v1/platform/tenants/{tenant}/adjustments");
    let at = text(Utc::now() - TimeDelta::days(1));
    let table = [
        (json!({"meter": "level", "at": at, "quantity": "1", "why": "x"}), "keeps the largest value"),
        (json!({"meter": "nothing", "at": at, "quantity": "1", "why": "x"}), "no version of a meter nothing"),
        (json!({"meter": "calls", "at": at, "quantity": "1.5", "why": "x"}), "must be whole"),
        (json!({"meter": "calls", "at": at, "quantity": "0", "why": "x"}), "changes nothing"),
        (json!({"meter": "calls", "at": at, "quantity": "1", "why": ""}), "why must have"),
        (
            json!({"meter": "calls", "at": text(Utc::now() + TimeDelta::days(1)), "quantity": "1", "why": "x"}),
            "future",
        ),
        (
            json!({"meter": "bytes", "at": at, "quantity": "1", "dimensions": {"route": "/"}, "why": "x"}),
            "no dimension",
        ),
    ];
    for (body, words) in table {
        let answer = house.request(Method::POST, &path).header("idempotency-key", words).json(&body);
        let answer = answer.send().await?;
        let (status, problem): (_, Value) = (answer.status(), answer.json().await?);
        ensure!(status == StatusCode::UNPROCESSABLE_ENTITY && says(&problem, words), "{body}: {problem}");
    }
    let key =
        house.settings.succeed(&["key", "create", "--tenant", tenant, "--scope", "all", "--name", "own"])?;
    let body = json!({"meter": "calls", "at": at, "quantity": "-1", "why": "x"});
    let request = house.anonymous(Method::POST, &path).bearer_auth(key.trim()).json(&body);
    ensure!(request.send().await?.status() == StatusCode::FORBIDDEN, "a tenant adjusted its own usage");
    Ok(())
}

pub(crate) async fn billed_periods_are_corrected_for_exactly_what_was_adjusted(
    house: &mut House,
) -> Result<()> {
    const TENANT: &str = "adjusted";
    let old = Utc::now() - TimeDelta::days(300);
    let anchor = (old - TimeDelta::days(3)).format("%Y-%m-%d").to_string();
    house.create_tenant_since(TENANT, "plain", "Europe/Berlin", &anchor)?;
    // In the newest period that is over, but not older than the window.
    let inside = Utc::now() - TimeDelta::days(32);
    let events: Vec<_> = (0..3)
        .map(|id| Event::now(TENANT, "test.call", &id.to_string(), &[("route", "/")]).at(inside))
        .collect();
    post_batch(house, &events).await?;
    house.expect_usage(TENANT, "calls", "3", 3).await?;
    let invoices = billed_until(house, TENANT, |documents| documents >= 9).await?;

    let at = text(old);
    let import = [
        "adjust",
        "--tenant",
        TENANT,
        "--meter",
        "bytes",
        "--at",
        &at,
        "--quantity",
        "150.5",
        "--events",
        "4",
        "--id",
        "import-1",
        "--why",
        "history of the former system",
    ];
    let dry: Vec<_> = import.iter().copied().chain(["--dry-run"]).collect();
    let shown = house.settings.succeed(&dry)?;
    ensure!(shown.contains("150.5") && shown.contains("bytes"), "{shown}");
    ensure!(
        house.get(&format!("/api/v1/platform/tenants/{TENANT}/adjustments")).await?["items"] == json!([]),
        "a dry run"
    );
    house.settings.succeed(&import)?;
    house.settings.succeed(&import)?;
    expect_dry_runs_to_know_what_was_asked_for(house, &dry)?;
    house.expect_usage(TENANT, "bytes", "150.5", 4).await?;
    let event = ["void-event", "--tenant", TENANT, "--source", SOURCE, "--id", "1", "--why", "test traffic"];
    wait::until("weir void-event to end with 0", wait::PATIENCE, || async {
        tokio::task::block_in_place(|| house.settings.succeed(&event)).map(Some)
    })
    .await?;
    house.settings.succeed(&event)?;
    until_usage(house, TENANT, "calls", "2", 2).await?;

    billed_until(house, TENANT, |documents| documents == invoices + 2).await?;
    // 100 bytes at 0.10 and 50.5 at 0.05; one call at 0.01 less.
    let totals = "SELECT array_agg(trim_scale(total)::text ORDER BY period_start) FROM invoice
        WHERE tenant = $1 AND document_type = 'correction'";
    let totals: Vec<String> = sqlx::query_scalar(totals).bind(TENANT).fetch_one(&house.ledger).await?;
    ensure!(totals == ["12.53", "-0.01"], "the corrections are over {totals:?}");
    house.expect_sound_ledger().await?;
    house.settings.succeed(&["verify", "--all"])?;
    house.settings.succeed(&["bill", "run"])?;
    billed_until(house, TENANT, |documents| documents == invoices + 2).await?;
    expect_tampering_to_be_found(house, TENANT).await
}

/// A dry run says that it was asked for before, or that it would be refused.
fn expect_dry_runs_to_know_what_was_asked_for(house: &House, dry: &[&str]) -> Result<()> {
    let again = house.settings.run(dry)?;
    let words = String::from_utf8_lossy(&again.stderr);
    ensure!(again.status.success() && words.contains("asked for before, as import-1"), "{words}");
    let by_another: Vec<_> = dry.iter().copied().chain(["--who", "someone else"]).collect();
    let refused = house.settings.run(&by_another)?;
    let words = String::from_utf8_lossy(&refused.stderr);
    let says = words.contains("another adjustment of this tenant has the id import-1");
    ensure!(refused.status.code() == Some(1) && says && refused.stdout.is_empty(), "{refused:?}");
    Ok(())
}

/// A row that says of an adjustment what was not counted cannot be written, and is found.
async fn expect_tampering_to_be_found(house: &House, tenant: &str) -> Result<()> {
    let change = |sign: &str| {
        let statement = format!(
            "UPDATE adjustment_usage SET quantity = quantity {sign} 1 WHERE tenant = '{tenant}' AND meter = 'bytes'"
        );
        sqlx::AssertSqlSafe(statement)
    };
    let refused = sqlx::query(change("+")).execute(&house.ledger).await;
    ensure!(refused.is_err_and(|error| error.to_string().contains("never changes")), "it was changed");
    let trigger = |what: &str| {
        sqlx::AssertSqlSafe(format!("ALTER TABLE adjustment_usage {what} TRIGGER adjustment_usage_immutable"))
    };
    sqlx::query(trigger("DISABLE")).execute(&house.ledger).await?;
    sqlx::query(change("+")).execute(&house.ledger).await?;
    let verified = house.settings.run(&["verify", "--all"])?;
    let checked = house.settings.run(&["ledger", "check"])?;
    sqlx::query(change("-")).execute(&house.ledger).await?;
    sqlx::query(trigger("ENABLE")).execute(&house.ledger).await?;
    let (found, words) =
        (String::from_utf8_lossy(&verified.stdout), String::from_utf8_lossy(&checked.stderr));
    ensure!(
        verified.status.code() == Some(1)
            && found.contains("bytes: the raw events and adjustments say 151.5"),
        "{found}"
    );
    ensure!(checked.status.code() == Some(1) && words.contains("and the adjustments make 151.5"), "{words}");
    house.settings.succeed(&["verify", "--all"])?;
    house.expect_sound_ledger().await
}

/// Runs the billing run until the tenant has as many finalized documents as it should.
async fn billed_until(house: &House, tenant: &str, enough: impl Fn(i64) -> bool) -> Result<i64> {
    wait::until(&format!("the documents of {tenant}"), wait::PATIENCE, || async {
        tokio::task::block_in_place(|| house.settings.succeed(&["bill", "run"]))?;
        let query = "SELECT count(*) FROM invoice WHERE tenant = $1 AND status = 'finalized'";
        let found: i64 = sqlx::query_scalar(query).bind(tenant).fetch_one(&house.ledger).await?;
        ensure!(enough(found), "{found} documents");
        Ok(Some(found))
    })
    .await
}

/// Waits until usage has fallen to this.
async fn until_usage(house: &House, tenant: &str, meter: &str, quantity: &str, events: i64) -> Result<()> {
    wait::until(&format!("{tenant}/{meter} to be {quantity}"), wait::PATIENCE, || async {
        let found = house.usage(tenant, meter).await?;
        ensure!(found == (quantity.to_owned(), events), "it is {found:?}");
        Ok(Some(()))
    })
    .await
}

async fn void(house: &House, tenant: &str, body: &Value, key: Option<&str>) -> Result<(StatusCode, Value)> {
    let path = format!("/api/v1/platform/tenants/{tenant}/events/void");
    let mut request = house.request(Method::POST, &path).json(body);
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    let answer = request.send().await?;
    Ok((answer.status(), answer.json().await?))
}

/// Asks until it is answered so: ClickHouse may not have the event yet, which is no answer that a
/// key keeps.
async fn until_void(
    house: &House,
    tenant: &str,
    body: &Value,
    key: Option<&str>,
    wanted: StatusCode,
) -> Result<Value> {
    wait::until(&format!("{wanted} for {body}"), wait::PATIENCE, || async {
        let (status, answer) = void(house, tenant, body, key).await?;
        ensure!(status == wanted, "{status}: {answer}");
        Ok(Some(answer))
    })
    .await
}

async fn expect_rollup(house: &House, tenant: &str, calls: &str) -> Result<()> {
    let query = format!(
        "SELECT toString(sum(quantity)) AS sum FROM usage_hourly WHERE tenant = '{tenant}' AND meter = 'calls'"
    );
    wait::until("the rollups to follow", wait::PATIENCE, || async {
        let rows = house.clickhouse(&query).await?;
        ensure!(rows.first().is_some_and(|row| row["sum"] == calls), "{rows:?}");
        Ok(Some(()))
    })
    .await
}

fn says(problem: &Value, words: &str) -> bool {
    problem["detail"].as_str().is_some_and(|detail| detail.contains(words))
}

fn text(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}
