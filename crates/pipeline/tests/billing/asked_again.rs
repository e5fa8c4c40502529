//! An adjustment that is asked for again: on its way or counted, nothing changes; delivered and
//! not counted, as when counting refused it, the same record is delivered again.

use weir_backends::outbox::{self, Attempt, Lane};
use weir_backends::postgres;
use weir_backends::tenants::adjustments::{Asked, ask};
use weir_core::{HashKey, Position, TenantId};
use weir_metering::adjustment::{Adjustment, Change, void_id};
use weir_metering::event::UsageEvent;
use weir_wire::adjustment::encode;

use crate::books::{Books, at, now};

fn void() -> Adjustment {
    let position = Position { generation: 1, partition: 0, offset: 7 };
    let ids = ("acme".to_owned(), "//service".to_owned(), "e-1".to_owned());
    let data = vec![("bytes".to_owned(), "5".to_owned())];
    let event = UsageEvent::new(ids, "call".to_owned(), Some(at("2026-10-05T00:00:00Z")), data).unwrap();
    Adjustment {
        id: void_id(position),
        tenant: TenantId::new("acme").unwrap(),
        who: "ada".to_owned(),
        why: "test traffic".to_owned(),
        change: Change::Void { position, event },
    }
}

/// Asks, and says what it changed or why not.
async fn answer(books: &Books, key: &HashKey, adjustment: &Adjustment) -> Result<Asked, String> {
    ask(&books.pool, adjustment, key, now()).await.map_err(|error| error.to_string())
}

/// Takes the record that is due, which is always the first one, and delivers it.
async fn deliver(books: &Books, key: &HashKey) {
    let due = outbox::claim(&books.pool, Lane::Topics, 10).await.unwrap();
    let bodies: Vec<_> = due.iter().map(|due| due.message.body.clone()).collect();
    assert_eq!(bodies, [encode(&void(), void().seal(key))]);
    outbox::settle(&books.pool, &due[0], &Attempt::Delivered).await.unwrap();
}

#[tokio::test]
async fn what_was_delivered_and_is_not_counted_is_delivered_again() {
    let books = Books::open("asked_again").await;
    let key = postgres::identity_key(&books.pool).await.unwrap();
    let of_another = Adjustment { who: "bob".to_owned(), ..void() };
    assert_eq!(answer(&books, &key, &void()).await, Ok(Asked::Anew));
    assert_eq!(answer(&books, &key, &void()).await, Ok(Asked::Before), "it is on its way");
    deliver(&books, &key).await;
    let refused = answer(&books, &key, &of_another).await.unwrap_err();
    assert!(
        refused.contains("asked to be taken out already, by ada: test traffic (not counted;"),
        "{refused}"
    );
    assert!(
        outbox::claim(&books.pool, Lane::Topics, 10).await.unwrap().is_empty(),
        "other words send nothing"
    );
    // Twice: it may be refused as often as it is asked for.
    for _ in 0..2 {
        assert_eq!(answer(&books, &key, &void()).await, Ok(Asked::Again));
        assert_eq!(answer(&books, &key, &void()).await, Ok(Asked::Before), "it is on its way again");
        deliver(&books, &key).await;
    }
    sqlx::query(
        "INSERT INTO adjustment (tenant, id, generation, partition, \"offset\", broker_time, who, why,
            void_generation, void_offset, void_source, void_event_id)
         VALUES ('acme', $1, 1, 0, 9, now(), 'ada', 'test traffic', 1, 7, '//service', 'e-1')",
    )
    .bind(void().id)
    .execute(&books.pool)
    .await
    .unwrap();
    assert_eq!(answer(&books, &key, &void()).await, Ok(Asked::Before), "it is counted");
    assert!(outbox::claim(&books.pool, Lane::Topics, 10).await.unwrap().is_empty(), "what is counted stays");
    let refused = answer(&books, &key, &of_another).await.unwrap_err();
    assert!(refused.ends_with("the event was taken out already, by ada: test traffic"), "{refused}");
}
