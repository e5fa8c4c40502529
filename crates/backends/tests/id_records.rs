//! Records of files of event ids on a real Postgres: who may write them, and that they go
//! back in time with the ledger.

mod databases;

use weir_backends::id_files::{RecordedFile, record};
use weir_backends::ledger::partition::OwnerToken;
use weir_backends::postgres::{self, Pool};
use weir_core::Hash128;
use weir_metering::identity::{Day, SealedFile};

const PLACE: (i32, i32) = (3, 1);
const OWNER: OwnerToken = [7; 16];

/// A ledger in which partition 3 is `OWNER`'s and counted up to offset 100.
async fn ledger() -> Pool {
    let pool = databases::empty("ids").await;
    postgres::migrate(&pool).await.expect("migrates");
    sqlx::query(
        "INSERT INTO journal_partition (partition, generation, first_offset, next_offset, broker_time_max,
            owner, folded_to, projected_to, rolled_to)
        VALUES (3, 1, 0, 100, 'epoch', $1, 0, 0, 0)",
    )
    .bind(&OWNER[..])
    .execute(&pool)
    .await
    .expect("a partition");
    pool
}

fn file(from: i64, to: i64, day: u32) -> RecordedFile {
    let covers = SealedFile { from, to, day: Day(day), ids: 5 };
    RecordedFile { covers, content_sum: Hash128(u128::try_from(from).unwrap() + 77) }
}

#[tokio::test]
async fn only_the_owner_records_and_only_what_was_counted() {
    let pool = ledger().await;
    let (first, second, beyond) = (file(0, 40, 9), file(40, 100, 10), file(100, 101, 10));
    let recorded = async |place, owner, file| record::record(&pool, place, owner, file).await.unwrap();
    assert!(recorded(PLACE, &OWNER, &second).await && recorded(PLACE, &OWNER, &first).await);
    assert!(recorded(PLACE, &OWNER, &first).await, "recording again changes nothing");
    assert!(!recorded(PLACE, &OWNER, &beyond).await);
    assert!(!recorded(PLACE, &[8; 16], &first).await);
    assert!(!recorded((3, 2), &OWNER, &first).await);
    assert!(!recorded((4, 1), &OWNER, &first).await);
    assert_eq!(record::recorded(&pool, PLACE).await.unwrap(), [first, second]);

    record::forget(&pool, PLACE, Day(10)).await.unwrap();
    assert_eq!(record::recorded(&pool, PLACE).await.unwrap(), [second]);
    record::forget(&pool, (3, 2), Day(0)).await.unwrap();
    assert_eq!(record::recorded(&pool, PLACE).await.unwrap(), []);
}
