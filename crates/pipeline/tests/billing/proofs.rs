//! Proofs: what was changed is found, what was lost is said. Each case changes one thing.

use clickhouse::{Client, Compression};

use weir_backends::ledger::generation::{self, Beginning, Begun};
use weir_pipeline::billing::verify::Verdict;
use weir_pipeline::billing::{self, BillingError, Outcome, Which};

use crate::books::{Books, fold, now};

const PROJECTED: &str = "UPDATE journal_partition SET projected_to = next_offset";
const LOSE_ONE: &str = "ALTER TABLE events_raw DELETE WHERE offset = 0 SETTINGS mutations_sync = 2";

/// What is changed after everything was billed.
enum Change {
    Ledger(&'static str),
    Projection(&'static str),
}

/// Bills October, changes one thing, and looks for `expected` in what the proof prints.
async fn check(name: &str, change: Change, ok: bool, expected: &str) {
    let mut books = Books::open(name).await;
    books.october().await;
    books.run().await.unwrap();
    fold(&books).await;
    books.tamper(PROJECTED).await;
    let before = books.verify().await;
    assert!(before.ok(), "{before}");
    match change {
        Change::Ledger(statement) => books.tamper(statement).await,
        Change::Projection(statement) => in_clickhouse(&books, statement).await,
    }
    let report = books.verify().await;
    assert_eq!(report.ok(), ok, "{report}");
    assert!(report.to_string().contains(expected), "expected {expected:?} in\n{report}");
}

async fn in_clickhouse(books: &Books, statement: &str) {
    let client = Client::default()
        .with_url(&books.clickhouse.url)
        .with_user("default")
        .with_database(&books.clickhouse.database)
        .with_compression(Compression::None);
    client.query(statement).execute().await.unwrap();
}

/// Loses raw events after October was billed, and says how the proof of acme's invoice and all
/// of it end. Events are kept for `kept_days`; the ledger's row says `projected`.
async fn lost(
    name: &str,
    statement: &str,
    kept_days: Option<u32>,
    projected: &'static str,
) -> (Outcome, String) {
    let mut books = Books::open(name).await;
    books.october().await;
    books.run().await.unwrap();
    books.tamper(projected).await;
    in_clickhouse(&books, statement).await;
    books.clickhouse.events_kept_days = kept_days;
    let report = books.verify().await;
    let proof = report.proofs.iter().find(|proof| proof.tenant.as_str() == "acme").unwrap();
    let last = report.to_string().lines().last().unwrap().to_owned();
    (report.outcome(), format!("{proof}\n{last}"))
}

#[tokio::test]
async fn a_changed_raw_event_is_found() {
    let more = "INSERT INTO events_raw
        SELECT generation, partition, offset, broker_time, tenant, source, id, type, time,
            mapUpdate(data, map('bytes', '70.6')), epoch + 1 FROM events_raw WHERE offset = 0";
    let found = "bytes: the raw events and adjustments say 160.600000001 from 3 events, the ledger says 160.500000001";
    check("proofs_event", Change::Projection(more), false, found).await;
}

#[tokio::test]
async fn a_changed_raw_event_that_costs_nothing_is_found() {
    let renamed = "INSERT INTO events_raw
        SELECT generation, partition, offset, broker_time, tenant, source, 'other', type, time, data,
            epoch + 1 FROM events_raw WHERE offset = 0";
    check("proofs_id", Change::Projection(renamed), false, "batch 1/0/[0, 6): an event was changed").await;
}

#[tokio::test]
async fn raw_events_that_were_there_and_are_not_any_more_are_a_difference() {
    let (outcome, words) = lost("proofs_lost", LOSE_ONE, None, PROJECTED).await;
    assert_eq!(outcome, Outcome::Differs, "{words}");
    assert!(words.contains("DIFFERS") && words.contains("1 raw events below the cut are missing"), "{words}");
    assert!(words.ends_with("; 1 differences beside the documents"), "{words}");
}

#[tokio::test]
async fn a_dropped_projection_has_not_expired() {
    let (outcome, words) = lost("proofs_dropped", "TRUNCATE TABLE events_raw", Some(11), PROJECTED).await;
    assert_eq!(outcome, Outcome::Differs, "{words}");
    assert!(words.contains("0 documents proved from raw events, 0 from the ledger's sums alone"), "{words}");
}

#[tokio::test]
async fn raw_events_that_have_expired_are_said_and_counted() {
    // Journal time is 1 November, 02:00; the first batch is of 20 October, 10:00.
    let (outcome, words) = lost("proofs_expired", LOSE_ONE, Some(11), PROJECTED).await;
    assert_eq!(outcome, Outcome::Proved, "{words}");
    let said = "proved from the ledger's sums alone: 1 raw events below the cut have expired";
    assert!(words.contains(said), "{words}");
    let last =
        "2 documents proved from raw events, 1 from the ledger's sums alone, 0 could not be proved, 0 differ";
    assert!(words.ends_with(last), "{words}");
    let (outcome, words) = lost("proofs_kept", LOSE_ONE, Some(12), PROJECTED).await;
    assert_eq!(outcome, Outcome::Differs, "{words}");
}

#[tokio::test]
async fn raw_events_that_are_not_there_yet_prove_nothing() {
    let behind = "UPDATE journal_partition SET projected_to = 0";
    let (outcome, words) = lost("proofs_behind", LOSE_ONE, None, behind).await;
    assert_eq!(outcome, Outcome::Unproved, "{words}");
    let said = "could not be proved from raw events: 1 raw events below the cut are missing; \
                ClickHouse was filled up to 1/0/0";
    assert!(words.contains(said), "{words}");
}

#[tokio::test]
async fn a_changed_usage_row_is_found() {
    let row = "UPDATE usage SET quantity = 71 WHERE tenant = 'acme' AND quantity = 70.5";
    let found =
        r#"usage row bytes 2026-10-01T00:00:00.000Z {"route":"/a"}: the row says 71, the batches say 70.5"#;
    check("proofs_usage", Change::Ledger(row), false, found).await;
}

#[tokio::test]
async fn a_changed_price_is_found() {
    let price = "UPDATE plan_version
        SET definition = jsonb_set(definition, '{prices,0,price,unit_amount}', '\"0.02\"')";
    check("proofs_price", Change::Ledger(price), false, "plan pro v1 was changed: published as").await;
}

#[tokio::test]
async fn a_changed_line_is_found() {
    let line = "UPDATE invoice_line SET amount = 0.02
        WHERE line = 2 AND invoice = (SELECT id FROM invoice WHERE tenant = 'acme')";
    check("proofs_line", Change::Ledger(line), false, "line row 2: column amount: stored 0.02, derived 0.03")
        .await;
}

#[tokio::test]
async fn a_changed_document_is_found_with_the_path() {
    let document = "UPDATE invoice SET document = replace(document, '160.500000001', '160.500000002')
        WHERE tenant = 'acme'";
    let path = "lines[2].quantity: stored \"160.500000002\", derived \"160.500000001\"";
    check("proofs_document", Change::Ledger(document), false, path).await;
}

#[tokio::test]
async fn a_missing_number_is_found() {
    let number = "UPDATE invoice SET number = 'MILL-000009' WHERE number = 'MILL-000003'";
    let found = "mill: number 3 should follow, MILL-000009 does";
    check("proofs_number", Change::Ledger(number), false, found).await;
}

#[tokio::test]
async fn a_removed_last_document_is_found() {
    let last = "DELETE FROM invoice WHERE number = 'MILL-000003'";
    let found = "mill: numbers up to 3 were given, documents end before 3";
    check("proofs_removed", Change::Ledger(last), false, found).await;
}

#[tokio::test]
async fn without_an_answer_nothing_is_proved_unless_the_ledger_is_asked_alone() {
    let mut books = Books::open("proofs_away").await;
    books.october().await;
    books.run().await.unwrap();
    books.clickhouse.url = "http://127.0.0.1:9".to_owned();
    let report = books.verify().await;
    assert_eq!(report.outcome(), Outcome::Unproved, "{report}");
    assert!(report.proofs.iter().all(|proof| matches!(proof.verdict, Verdict::Unproved(_))), "{report}");
    assert!(report.to_string().contains("could not be proved from raw events: "), "{report}");

    let alone = billing::verify_ledger_only(&books.pool, Which::All, &()).await.unwrap();
    assert_eq!(alone.outcome(), Outcome::Proved, "{alone}");
    assert!(alone.proofs.iter().all(|proof| matches!(proof.verdict, Verdict::RestsOnLedger(_))), "{alone}");
    books.tamper("UPDATE invoice SET total = 1 WHERE number = 'MILL-000003'").await;
    let changed = billing::verify_ledger_only(&books.pool, Which::All, &()).await.unwrap();
    assert_eq!(changed.outcome(), Outcome::Differs, "{changed}");
}

#[tokio::test]
async fn documents_of_a_deleted_tenant_are_proved_and_periods_by_their_numbers() {
    let mut books = Books::open("proofs_deleted").await;
    books.october().await;
    books.run().await.unwrap();
    books.tamper("UPDATE tenant SET status = 'deleted' WHERE id = 'kite'").await;
    let verify = async |numbers: &[&str]| {
        let numbers = numbers.iter().map(|number| (*number).to_owned()).collect();
        billing::verify(&books.pool, &books.clickhouse, Which::Numbers(numbers), &()).await
    };
    let report = verify(&["MILL-000001"]).await.unwrap();
    assert!(report.proofs.len() == 1 && report.proofs[0].verdict == Verdict::Proved, "{report}");
    let report = verify(&["MILL-000003", "MILL-000001"]).await.unwrap();
    assert!(report.proofs.iter().all(|proof| proof.verdict == Verdict::Proved), "{report}");
    assert_eq!(report.proofs.len(), 2, "{report}");
    let unknown = verify(&["MILL-000001", "MILL-000007"]).await.unwrap_err();
    assert!(matches!(unknown, BillingError::NoSuchNumber(number) if number == "MILL-000007"));
}

#[tokio::test]
async fn raw_events_that_were_not_projected_when_their_topic_was_given_up_were_not_lost() {
    let mut books = Books::open("proofs_given_up").await;
    books.october().await;
    books.run().await.unwrap();
    in_clickhouse(&books, LOSE_ONE).await;
    books.tamper("UPDATE journal_partition SET projected_to = 0").await;
    let beginning = Beginning { partition: 0, low: 0 };
    let begun = generation::begin(&books.pool, 1, None, &[beginning], now()).await.unwrap();
    assert_eq!(begun, Begun::Generation(2));
    let report = books.verify().await;
    assert_eq!(report.outcome(), Outcome::Proved, "{report}");
    let said = "proved from the ledger's sums alone: 1 raw events below the cut were not in ClickHouse yet \
                when their topic was given up";
    assert!(report.to_string().contains(said), "{report}");
}

#[tokio::test]
async fn raw_events_that_were_projected_before_their_topic_was_given_up_were_lost() {
    let mut books = Books::open("proofs_lost_before").await;
    books.october().await;
    books.run().await.unwrap();
    in_clickhouse(&books, LOSE_ONE).await;
    books.tamper(PROJECTED).await;
    let beginning = Beginning { partition: 0, low: 0 };
    generation::begin(&books.pool, 1, None, &[beginning], now()).await.unwrap();
    assert_eq!(books.verify().await.outcome(), Outcome::Differs);
}
