//! A ledger that has counted before is brought up to date on a real Postgres: what it knows already
//! stays true.

mod databases;

use std::borrow::Cow;

use sqlx::migrate::Migrator;
use weir_backends::ledger::partition::{GivenEpoch, Progress, given_epochs, raise_epoch};
use weir_backends::ledger::take;
use weir_backends::postgres::{self, Pool};

/// Epochs were not noted by the schemas up to this one.
const UNNOTED: i64 = 12;

/// A ledger of the schemas up to a version.
async fn ledger_of(version: i64) -> Pool {
    let pool = databases::empty("upgrade").await;
    let mut migrator: Migrator = sqlx::migrate!("../../schemas/postgres");
    migrator.migrations = Cow::Owned(migrator.iter().filter(|one| one.version <= version).cloned().collect());
    migrator.run(&pool).await.expect("migrates");
    pool
}

#[tokio::test]
async fn epochs_that_were_given_before_they_were_noted_are_known() {
    let pool = ledger_of(UNNOTED).await;
    sqlx::query(
        "INSERT INTO journal_partition (partition, generation, first_offset, next_offset, broker_time_max,
            folded_to, projected_to, rolled_to, epoch)
        VALUES (3, 1, 0, 100, 'epoch', 90, 80, 70, 1772000000000)",
    )
    .execute(&pool)
    .await
    .expect("a partition");
    postgres::migrate(&pool).await.expect("migrates");
    let before = GivenEpoch { epoch: 1_772_000_000_000, folded_to: 90, earlier: true };
    assert_eq!(given_epochs(&pool, (3, 1)).await.unwrap(), [before]);

    let owner = take::fresh_token().unwrap();
    let taken = take::take(&pool, 3, (1, 0), (&owner, "a test")).await.unwrap();
    let noted = GivenEpoch { epoch: taken.epoch, folded_to: 90, earlier: false };
    assert!(taken.epoch > before.epoch);
    let progress = Progress { partition: 3, generation: 1, owner, epoch: taken.epoch, to: 80 };
    let far = taken.epoch + 1_000_000_000;
    let raised = raise_epoch(&pool, &progress, far).await.unwrap();
    assert_eq!(raised, Some(far), "at least what is asked for");
    assert_eq!(raise_epoch(&pool, &progress, far).await.unwrap(), None, "it is another one by now");
    let last = GivenEpoch { epoch: far, ..noted };
    assert_eq!(given_epochs(&pool, (3, 1)).await.unwrap(), [before, noted, last]);
    assert_eq!(given_epochs(&pool, (3, 2)).await.unwrap(), []);
}
