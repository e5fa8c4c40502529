//! Changing the catalogue: twice at once, overtaken, and after events were counted.

use std::path::{Path, PathBuf};

use sqlx::Executor;
use weir_backends::catalog::{self, CatalogError};
use weir_core::time::HOUR_MS;
use weir_wire::catalog_file::{self, Change};

use crate::books::{Books, empty_ledger, now, until_one_waits};

const METER: &str =
    "[[meter]]\nkey = \"late\"\nversion = 1\nunit = \"u\"\nevent_type = \"late\"\naggregation = \"count\"\n";

async fn changes(books: &Books, text: &str) -> Vec<Change> {
    let file = catalog_file::parse(text).unwrap();
    catalog::plan(&books.pool, &file, now(), 0, 0).await.unwrap().changes
}

#[tokio::test]
async fn two_that_apply_the_same_at_once_publish_it_once() {
    let books = Books::open("catalogue_twice").await;
    let before = catalog::version(&books.pool).await.unwrap();
    let changes = changes(&books, METER).await;
    let (one, two) = tokio::join!(
        catalog::apply(&books.pool, &changes, now(), 0),
        catalog::apply(&books.pool, &changes, now(), 0)
    );
    let after = one.unwrap();
    assert!(after > before, "{after} comes after {before}");
    assert_eq!((two.unwrap(), catalog::load(&books.pool).await.unwrap().version), (after, after));
    let published = catalog::published(&books.pool).await.unwrap();
    assert!(published.meters.iter().any(|meter| meter.key.as_str() == "late"));
}

#[tokio::test]
async fn one_that_was_overtaken_is_told_to_plan_again() {
    let books = Books::open("catalogue_overtaken").await;
    let mine = changes(&books, METER).await;
    let theirs = changes(&books, &METER.replace("\"u\"", "\"units\"")).await;
    catalog::apply(&books.pool, &theirs, now(), 0).await.unwrap();
    let error = catalog::apply(&books.pool, &mine, now(), 0).await.unwrap_err();
    assert!(matches!(&error, CatalogError::Overtaken(what) if what == "meter late v1"), "{error}");
}

#[tokio::test]
async fn a_first_version_cannot_reach_back_to_what_was_counted() {
    let mut books = Books::open("catalogue_counted").await;
    books.october().await;
    let error = catalog::apply(&books.pool, &changes(&books, METER).await, now(), 0).await.unwrap_err();
    let words = "meter late cannot begin at the beginning of time: events were counted already that it might \
                 apply to; give it a begins_at in the future, 2026-11-03T01:00:00.000Z or later";
    assert_eq!(error.to_string(), words);
    let later = format!("{METER}begins_at = \"2026-11-03T01:00:00Z\"\n");
    catalog::apply(&books.pool, &changes(&books, &later).await, now(), 0).await.unwrap();
}

#[tokio::test]
async fn what_is_counted_while_the_history_is_looked_through_is_seen() {
    let mut books = Books::open("catalogue_meanwhile").await;
    books.batch("2026-10-20T10:00:00Z", "").await;
    let changes = changes(&books, METER).await;
    let mut committing = books.pool.begin().await.unwrap();
    committing.execute("LOCK TABLE journal_partition IN ROW EXCLUSIVE MODE").await.unwrap();
    let counted = async {
        until_one_waits(&books.pool).await;
        committing
            .execute(
                "INSERT INTO batch (partition, generation, from_offset, to_offset, read_count, accepted_count,
                    duplicate_count, rejected_count, forwarded_count, control_count, rejected_by, exceptions,
                    deltas, content_sum, broker_time_max, catalog_version, engine_version)
                SELECT partition, generation, to_offset, to_offset + 1, 1, 1, 0, 0, 0, 0, rejected_by, exceptions,
                    deltas, content_sum, broker_time_max, catalog_version, engine_version FROM batch",
            )
            .await
            .unwrap();
        committing.commit().await.unwrap();
    };
    let (applied, ()) = tokio::join!(catalog::apply(&books.pool, &changes, now(), 0), counted);
    assert!(matches!(applied, Err(CatalogError::AlreadyCounted { .. })), "{applied:?}");
}

#[tokio::test]
async fn commits_do_not_stand_behind_a_change_that_waits() {
    let books = Books::open("catalogue_patience").await;
    let changes = changes(&books, METER).await;
    let mut long = books.pool.begin().await.unwrap();
    long.execute("LOCK TABLE journal_partition IN ROW EXCLUSIVE MODE").await.unwrap();
    let error = catalog::apply(&books.pool, &changes, now(), 0).await.unwrap_err();
    assert!(matches!(&error, CatalogError::Store(store) if store.is_transient()), "{error}");
    long.rollback().await.unwrap();
    catalog::apply(&books.pool, &changes, now(), 0).await.unwrap();
}

#[tokio::test]
async fn a_later_version_begins_after_all_events_that_may_be_counted_by_now() {
    let books = Books::open("catalogue_bound").await;
    catalog::apply(&books.pool, &changes(&books, METER).await, now(), 0).await.unwrap();
    let second = METER.replace("version = 1", "version = 2\nbegins_at = \"2026-11-02T02:00:00Z\"");
    let second = changes(&books, &format!("{METER}{second}")).await;
    let error = catalog::apply(&books.pool, &second, now(), 2 * HOUR_MS + 1).await.unwrap_err();
    let words = "meter late v2 begins at 2026-11-02T02:00:00.000Z, which is too early by now; \
                 2026-11-02T02:00:00.001Z or later is possible, so plan again";
    assert_eq!(error.to_string(), words);
    catalog::apply(&books.pool, &second, now(), 2 * HOUR_MS).await.unwrap();
}

/// Catalogue files of the repository, wherever they stand.
fn catalogue_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            catalogue_files(&path, found);
        } else if name.ends_with(".toml") && std::fs::read_to_string(&path).unwrap().contains("[[meter]]") {
            found.push(path);
        }
    }
}

#[tokio::test]
async fn every_catalogue_file_of_the_repository_can_be_applied() {
    let mut files = Vec::new();
    catalogue_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."), &mut files);
    files.sort();
    assert!(files.iter().any(|file| file.ends_with("schemas/catalog/example.toml")), "{files:?}");
    for (nth, path) in files.iter().enumerate() {
        let text = std::fs::read_to_string(path).unwrap();
        let file = catalog_file::parse(&text).unwrap_or_else(|refusals| panic!("{path:?}: {refusals:?}"));
        let pool = empty_ledger(&format!("catalogue_file_{nth}")).await;
        let difference = catalog::plan(&pool, &file, now(), 0, 0).await;
        let changes = difference.unwrap_or_else(|error| panic!("{path:?}: {error}")).changes;
        catalog::apply(&pool, &changes, now(), 0).await.unwrap_or_else(|error| panic!("{path:?}: {error}"));
        assert_eq!(
            catalog::published(&pool).await.unwrap().meters.len(),
            file.catalog.meters.len(),
            "{path:?}"
        );
    }
}
