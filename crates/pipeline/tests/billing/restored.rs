//! What a ledger gives after it was restored: nothing that it has given before.

use weir_backends::catalog;
use weir_backends::ledger::take::{fresh_token, take};
use weir_backends::outbox::{self, Attempt, Lane, OutboxKind, OutboxMessage};
use weir_backends::postgres::Pool;

use crate::books::Books;

async fn epoch(pool: &Pool) -> i64 {
    take(pool, 0, (1, 0), (&fresh_token().unwrap(), "a test")).await.unwrap().epoch
}

async fn version(pool: &Pool) -> i64 {
    catalog::bump(&mut pool.acquire().await.unwrap()).await.unwrap()
}

/// Processes and ClickHouse remember epochs of partitions and versions of the catalogue.
#[tokio::test]
async fn a_restored_ledger_gives_no_epoch_and_no_version_twice() {
    let books = Books::open("restored_given").await;
    let kept = (epoch(&books.pool).await, version(&books.pool).await);
    let mut lost = (0, 0);
    for _ in 0..3 {
        lost = (epoch(&books.pool).await, version(&books.pool).await);
    }
    assert!(lost.0 > kept.0 && lost.1 > kept.1, "{lost:?} come after {kept:?}");
    // The ledger is what it was when it was kept.
    for (restore, value) in [
        ("DELETE FROM given_epoch WHERE epoch >= $1", kept.0),
        ("UPDATE journal_partition SET epoch = $1 WHERE partition = 0", kept.0),
        ("UPDATE catalog_head SET version = $1", kept.1),
    ] {
        sqlx::query(restore).bind(value).execute(&books.pool).await.unwrap();
    }
    let given = (epoch(&books.pool).await, version(&books.pool).await);
    assert!(given.0 > lost.0 && given.1 > lost.1, "{given:?} come after {lost:?}");
}

async fn limits(pool: &Pool, limit: i64) {
    let message = OutboxMessage {
        id: "limits/acme/2".to_owned(),
        kind: OutboxKind::Control,
        tenant: Some("acme".to_owned()),
        endpoint_id: None,
        topic_key: Some("acme".to_owned()),
        body: serde_json::json!({ "limit": limit }),
    };
    outbox::enqueue(&mut pool.acquire().await.unwrap(), &[message]).await.unwrap();
}

/// A revision that was lost is given to other limits.
#[tokio::test]
async fn what_was_taken_before_a_restore_settles_nothing_that_was_written_after_it() {
    let books = Books::open("restored_outbox").await;
    limits(&books.pool, 1).await;
    let taken = outbox::claim(&books.pool, Lane::Topics, 10).await.unwrap();
    // The ledger is what it was before: then the limits are set again, to something else.
    sqlx::query("DELETE FROM outbox").execute(&books.pool).await.unwrap();
    limits(&books.pool, 2).await;
    outbox::settle(&books.pool, &taken[0], &Attempt::Delivered).await.unwrap();
    let due = outbox::claim(&books.pool, Lane::Topics, 10).await.unwrap();
    assert_eq!(due.len(), 1);
    assert_eq!(due[0].message.body, serde_json::json!({ "limit": 2 }));
    // What is settled by who has it is settled.
    outbox::settle(&books.pool, &due[0], &Attempt::RetryAfterMs(0, "not now".to_owned())).await.unwrap();
    let again = outbox::claim(&books.pool, Lane::Topics, 10).await.unwrap();
    outbox::settle(&books.pool, &again[0], &Attempt::Delivered).await.unwrap();
    assert!(outbox::pending(&books.pool).await.unwrap().iter().all(|(_, count)| *count == 0));
}
