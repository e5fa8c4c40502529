//! The turn of a month while somebody holds a snapshot, as a backup does for hours: nobody waits
//! behind it but the making of the month's table, and that not for long.

use weir_backends::ledger::month;

use crate::house::House;
use crate::scenarios::{check, counted, stack};

const UNFOLDED: &str = "SELECT COALESCE(sum(next_offset - folded_to), 0)::bigint FROM journal_partition";
/// How many of the tables keep room for updates.
const WITH_ROOM: &str = "SELECT count(*) FROM pg_inherits JOIN pg_class ON oid = inhrelid
    WHERE inhparent = 'usage'::regclass AND reloptions @> ARRAY['fillfactor=50']";
const MONTHS: &str = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'usage'::regclass";

#[tokio::test(flavor = "multi_thread")]
async fn a_month_begins_while_a_snapshot_is_open_and_counting_goes_on() {
    let house = House::build(stack(), "months").await;
    let mut snapshot = house.pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ").await.unwrap();
    sqlx::query("SET LOCAL idle_in_transaction_session_timeout = 0").execute(&mut *snapshot).await.unwrap();
    sqlx::query("SELECT count(*) FROM usage").execute(&mut *snapshot).await.unwrap();
    let refused = month::make_ahead(&house.pool, house.now).await.unwrap_err();
    assert!(refused.to_string().contains("lock timeout"), "{refused}");

    let running = house.start();
    let events = counted(&house, 500).await;
    house.until(UNFOLDED, 0, 30).await;
    drop(snapshot);
    check(&house, &events).await;
    running.stop().await;

    // What was counted meanwhile stays in the default table; months to come get theirs.
    let next_year = house.now.plus_millis(370 * 86_400_000);
    month::make_ahead(&house.pool, next_year).await.unwrap();
    month::make_ahead(&house.pool, next_year).await.unwrap();
    assert_eq!(house.number(MONTHS).await, 1 + 6);
    assert_eq!(house.number(WITH_ROOM).await, 1 + 6);
    check(&house, &events).await;
}
