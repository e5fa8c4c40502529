//! Changing the catalogue: twice at once, overtaken, and after events were counted.

use weir_backends::catalog::{self, CatalogError};
use weir_wire::catalog_file::{self, Change};

use crate::books::{Books, now};

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
        catalog::apply(&books.pool, &changes, now()),
        catalog::apply(&books.pool, &changes, now())
    );
    assert_eq!((one.unwrap(), two.unwrap()), (before + 1, before + 1));
    assert_eq!(catalog::load(&books.pool).await.unwrap().version, before + 1);
    let published = catalog::published(&books.pool).await.unwrap();
    assert!(published.meters.iter().any(|meter| meter.key.as_str() == "late"));
}

#[tokio::test]
async fn one_that_was_overtaken_is_told_to_plan_again() {
    let books = Books::open("catalogue_overtaken").await;
    let mine = changes(&books, METER).await;
    let theirs = changes(&books, &METER.replace("\"u\"", "\"units\"")).await;
    catalog::apply(&books.pool, &theirs, now()).await.unwrap();
    let error = catalog::apply(&books.pool, &mine, now()).await.unwrap_err();
    assert!(matches!(&error, CatalogError::Overtaken(what) if what == "meter late v1"), "{error}");
}

#[tokio::test]
async fn a_first_version_cannot_reach_back_to_what_was_counted() {
    let mut books = Books::open("catalogue_counted").await;
    books.october().await;
    let error = catalog::apply(&books.pool, &changes(&books, METER).await, now()).await.unwrap_err();
    let words = "meter late cannot begin at the beginning of time: events were counted already that it might \
                 apply to; give it a begins_at in the future, 2026-11-03T01:00:00.000Z or later";
    assert_eq!(error.to_string(), words);
    let later = format!("{METER}begins_at = \"2026-11-03T01:00:00Z\"\n");
    catalog::apply(&books.pool, &changes(&books, &later).await, now()).await.unwrap();
}
