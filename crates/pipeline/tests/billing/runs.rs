//! Runs: closing by the journal, two at once, killed half way, late events, a ledger that
//! went back in time.

use std::collections::BTreeMap;
use std::sync::Mutex;

use sqlx::Executor;
use weir_backends::ledger::width::{self, Widened};
use weir_core::journal::partition_of;
use weir_pipeline::billing::{self, BillingError, BillingSettings, Which};
use weir_pipeline::told::Told;

use crate::books::{Books, add_tenant, now, until_one_waits};

/// The flat fee of 10; acme: 3 calls, 160.500000001 bytes (100 at 0.10, the rest at 0.05),
/// 2 users, level 12.5 at 0.5, a peak of 40 in 4 packages of 3. Periods close in the order
/// of the zones: Kolkata, Berlin, UTC.
const OCTOBER: &str = "MILL-000001 kite 0 11.51 EUR\n\
                       MILL-000002 birch 0 11.11 EUR\n\
                       MILL-000003 acme 0 43.31 EUR";

static NOTHING_TOLD: BTreeMap<String, i64> = BTreeMap::new();

#[tokio::test]
async fn a_period_waits_for_the_journal_and_is_billed_once() {
    let mut books = Books::open("runs_waits").await;
    let report = books.run().await.unwrap();
    assert_eq!(report.waiting[0].why, "partition 0 has not been read yet");
    books.batch("2026-11-01T00:59:59.999Z", "acme call 2026-10-05T00:00:00Z bytes=1 user=a route=/").await;
    let report = books.run().await.unwrap();
    let waiting: Vec<_> = report.waiting.iter().map(|w| format!("{} {}", w.tenant, w.why)).collect();
    let read = "partition 0 has been read to 2026-11-01T00:59:59.999Z";
    assert_eq!(waiting, [format!("acme {read}, the period closes at 2026-11-01T01:00:00.000Z")]);
    books.batch("2026-11-01T01:00:00Z", "").await;
    assert_eq!(books.run().await.unwrap().invoices.len(), 1);
    let report = books.run().await.unwrap();
    assert_eq!(report, billing::RunReport::default());
}

#[tokio::test]
async fn two_runs_at_once_make_one_invoice_a_period_without_gaps() {
    let mut books = Books::open("runs_twice").await;
    books.october().await;
    let (one, two) = tokio::join!(books.run(), books.run());
    let made = one.unwrap().invoices.len() + two.unwrap().invoices.len();
    assert_eq!((made, books.documents().await.as_str()), (3, OCTOBER));
    let told: i64 = sqlx::query_scalar("SELECT count(*) FROM outbox WHERE kind = 'invoice_topic'")
        .fetch_one(&books.pool)
        .await
        .unwrap();
    assert_eq!(told, 3);
    let report = books.verify().await;
    assert!(report.ok(), "{report}");
}

/// Between the lines and the commit of the second document: what was finalized in a transaction before
/// stays, and of its own nothing does.
#[tokio::test]
async fn a_run_killed_half_way_and_repeated_makes_the_same() {
    for (documents_at_once, kept) in [(1, "MILL-000001 kite 0 11.51 EUR"), (2, ""), (500, "")] {
        let mut books = Books::open(&format!("runs_killed_{documents_at_once}")).await;
        books.october().await;
        let mut conn = books.pool.acquire().await.unwrap();
        conn.execute(
            "CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                IF NEW.next_number > 2 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;
                RETURN NEW; END $$;
             CREATE TRIGGER die BEFORE UPDATE ON legal_entity FOR EACH ROW EXECUTE FUNCTION die()",
        )
        .await
        .unwrap();
        let settings = BillingSettings { documents_at_once, ..BillingSettings::default() };
        let run = || billing::run(&books.pool, &settings, &NOTHING_TOLD, now(), None, &());
        let error = run().await.unwrap_err();
        assert!(error.to_string().contains("terminating connection"), "{error}");
        assert_eq!(books.documents().await, kept, "{documents_at_once} at once");
        conn.execute("DROP TRIGGER die ON legal_entity").await.unwrap();
        run().await.unwrap();
        assert_eq!(books.documents().await, OCTOBER);
        assert!(books.verify().await.ok());
    }
}

/// One period's document is refused by the ledger whatever is done: the others of its group get theirs.
#[tokio::test]
async fn what_the_ledger_refuses_for_good_keeps_nobody_else_from_being_billed() {
    let mut books = Books::open("runs_refused").await;
    books.october().await;
    let mut conn = books.pool.acquire().await.unwrap();
    conn.execute("ALTER TABLE invoice ADD CONSTRAINT refused CHECK (tenant <> 'birch')").await.unwrap();
    let report = books.run().await.unwrap();
    let made: Vec<_> = report.invoices.iter().map(|one| format!("{} {}", one.number, one.tenant)).collect();
    assert_eq!(made, ["MILL-000001 kite", "MILL-000002 acme"]);
    assert_eq!(report.refused.len(), 1, "{report:?}");
    let refused = &report.refused[0];
    assert!(refused.tenant.as_str() == "birch" && refused.why.contains("refused"), "{refused:?}");
    conn.execute("ALTER TABLE invoice DROP CONSTRAINT refused").await.unwrap();
    let report = books.run().await.unwrap();
    assert_eq!(report.invoices[0].number, "MILL-000003");
    assert!(books.verify().await.ok());
}

#[tokio::test]
async fn a_late_event_makes_one_correction_for_the_difference() {
    let mut books = Books::open("runs_late").await;
    books.october().await;
    books.run().await.unwrap();
    let late = "acme call 2026-10-07T12:00:00Z bytes=39.499999999 user=ann route=/c";
    books.batch("2026-11-01T03:00:00Z", late).await;
    let (one, two) = tokio::join!(books.run(), books.run());
    assert_eq!(one.unwrap().corrections.len() + two.unwrap().corrections.len(), 1);
    // A call at 0.01; 160.500000001 bytes came to 13.03, 200 come to 15.00.
    assert_eq!(books.documents().await, format!("{OCTOBER}\nMILL-000004 acme 1 1.98 EUR"));
    assert!(books.run().await.unwrap().corrections.is_empty());
    let report = books.verify().await;
    assert!(report.ok() && report.proofs.len() == 4, "{report}");
}

/// Whoever is created in a topic that was widened since may be at home where the run does not look.
#[tokio::test]
async fn who_comes_while_a_run_begins_is_left_to_the_next_one() {
    let mut books = Books::open("runs_widened").await;
    books.october().await;
    let comes =
        (0..).map(|n| format!("late-{n}")).find(|name| partition_of(name.as_bytes(), 2) == 1).unwrap();
    // The run knows tenants and homes, and waits for somebody who folds.
    let mut folding = books.pool.begin().await.unwrap();
    folding.execute("SELECT pg_advisory_xact_lock(1466262898, 0)").await.unwrap();
    let meanwhile = async {
        until_one_waits(&books.pool).await;
        assert_eq!(width::widen(&books.pool, 1, 2, now()).await.unwrap(), Widened::To(2));
        add_tenant(&books.pool, &comes, "UTC").await;
        folding.commit().await.unwrap();
    };
    let (report, ()) = tokio::join!(books.run(), meanwhile);
    let waiting: Vec<_> =
        report.unwrap().waiting.into_iter().map(|one| (one.tenant.to_string(), one.why)).collect();
    let why = "the tenant was created while this run began; the next one bills it".to_owned();
    assert_eq!((books.documents().await.as_str(), waiting), (OCTOBER, vec![(comes.clone(), why)]));
    // The next one waits for the partition that is its home.
    let waiting = &books.run().await.unwrap().waiting[0];
    assert!(waiting.tenant.as_str() == comes && waiting.why.starts_with("partition 1 "), "{waiting:?}");
}

#[tokio::test]
async fn a_counter_behind_the_topic_gives_no_numbers() {
    let mut books = Books::open("runs_behind").await;
    books.october().await;
    let known = BTreeMap::from([("mill".to_owned(), 1)]);
    let run = billing::run(&books.pool, &BillingSettings::default(), &known, now(), None, &()).await;
    assert!(matches!(run, Err(BillingError::CounterBehind { next_number: 1, in_topic: 1, .. })));
    assert_eq!(books.documents().await, "");
}

#[tokio::test]
async fn nobody_is_billed_in_a_currency_that_is_not_theirs() {
    let mut books = Books::open("runs_currency").await;
    books.october().await;
    books.tamper("UPDATE tenant SET currency = 'USD' WHERE id = 'kite'").await;
    let report = books.run().await.unwrap();
    let refused: Vec<_> = report.refused.iter().map(|one| format!("{}: {}", one.tenant, one.why)).collect();
    assert_eq!(refused, ["kite: plan pro v1 is priced in EUR, but the tenant is billed in USD"]);
    assert_eq!(report.invoices.len(), 2);
}

#[tokio::test]
async fn a_partition_that_cannot_be_folded_keeps_only_its_tenants_from_being_billed() {
    let mut books = Books::open("runs_unfoldable").await;
    books.october().await;
    books.tamper("UPDATE batch SET deltas = '\\x00' WHERE from_offset = 0").await;
    books.tamper("UPDATE installation SET partitions = 2").await;
    books.tamper("UPDATE tenant SET home_width = 2 WHERE id = 'acme'").await;
    books.tamper("UPDATE tenant SET home_width = 2 WHERE id = 'birch'").await;
    books.tamper("UPDATE tenant SET home_width = 2 WHERE id = 'kite'").await;
    books
        .tamper(
            "INSERT INTO batch (partition, generation, from_offset, to_offset, read_count, accepted_count,
                duplicate_count, rejected_count, forwarded_count, control_count, rejected_by, exceptions,
                deltas, content_sum, broker_time_max, catalog_version, engine_version)
            SELECT 1, 1, 0, 1, 1, 0, 0, 0, 0, 1, rejected_by, exceptions, deltas, content_sum,
                broker_time_max, catalog_version, engine_version FROM batch WHERE accepted_count = 0",
        )
        .await;
    books
        .tamper(
            "INSERT INTO journal_partition (partition, generation, first_offset, next_offset,
                broker_time_max, folded_to, projected_to, rolled_to)
            SELECT 1, 1, 0, 1, broker_time_max, 0, 0, 0 FROM journal_partition",
        )
        .await;
    let report = books.run().await.unwrap();
    let of = |partition| {
        let here = move |tenant: &&str| partition_of(tenant.as_bytes(), 2) == partition;
        let mut tenants: Vec<_> = ["acme", "birch", "kite"].into_iter().filter(here).collect();
        tenants.sort_unstable();
        tenants
    };
    let mut refused: Vec<_> = report.refused.iter().map(|one| one.tenant.as_str()).collect();
    let mut billed: Vec<_> = report.invoices.iter().map(|one| one.tenant.as_str()).collect();
    refused.sort_unstable();
    billed.sort_unstable();
    assert!(!refused.is_empty() && !billed.is_empty(), "{report}");
    assert_eq!((refused, billed), (of(0), of(1)), "{report}");
    assert!(report.refused[0].why.starts_with("usage of partition 0 cannot be folded: "), "{report}");
    assert!(!report.ok());
}

/// Keeps what was told.
#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Told for Heard {
    fn told(&self, what: &str, done: u64, of: Option<u64>) {
        let of = of.map_or("an unknown number".to_owned(), |of| of.to_string());
        self.0.lock().unwrap().push(format!("{done} of {of} {what}"));
    }
}

#[tokio::test]
async fn who_waits_is_told_how_far_it_has_come() {
    let mut books = Books::open("runs_told").await;
    books.october().await;
    let heard = Heard::default();
    let settings = BillingSettings { documents_at_once: 2, ..BillingSettings::default() };
    billing::run(&books.pool, &settings, &NOTHING_TOLD, now(), None, &heard).await.unwrap();
    let run = std::mem::take(&mut *heard.0.lock().unwrap());
    assert_eq!(run, ["0 of 3 invoices written", "2 of 3 invoices written"]);
    billing::verify(&books.pool, &books.clickhouse, Which::All, &heard).await.unwrap();
    let proof = std::mem::take(&mut *heard.0.lock().unwrap());
    assert_eq!(proof, ["0 of 1 partitions of the ledger read", "0 of 9 raw events read"]);
}
