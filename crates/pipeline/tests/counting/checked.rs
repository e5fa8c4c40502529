//! The ledger check while counting goes on: it reads one moment of the ledger, so it finds
//! nothing, whatever is committed and folded between its questions.

use std::time::{Duration, Instant};

use weir_backends::{catalog, postgres};
use weir_pipeline::CountingSettings;
use weir_pipeline::ledger_check;

use crate::house::House;
use crate::scenarios::{ACCEPTED, check, journal, stack};

#[tokio::test(flavor = "multi_thread")]
async fn a_check_finds_nothing_while_counting_goes_on() {
    let house = House::build(stack(), "checked").await;
    let running = house.start_with(|aggregator| {
        aggregator.settings =
            CountingSettings { batch_interval_ms: 5, fold_interval_ms: 5, ..CountingSettings::default() };
    });
    let key = postgres::installation(&house.pool, &house.kafka).await.unwrap().identity_key;
    let catalogue = catalog::load(&house.pool).await.unwrap();
    let (events, records) = journal(&house, 0, 3_000);
    // In small parts, so that batches are committed and folded all the while.
    let producing = async {
        for part in records.chunks(30) {
            house.produce(part.to_vec()).await;
        }
    };
    let checking = async {
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut overtaken = 0;
        while house.number(ACCEPTED).await < 3_000 {
            assert!(Instant::now() < deadline, "not everything was counted");
            let before = house.number(ACCEPTED).await;
            for found in ledger_check::check(&house.pool, &house.clickhouse, &key, &catalogue).await.unwrap()
            {
                assert!(found.differences.is_empty(), "{:?}", found.differences);
            }
            overtaken += usize::from(house.number(ACCEPTED).await > before);
        }
        overtaken
    };
    let ((), overtaken) = tokio::join!(producing, checking);
    assert!(overtaken > 0, "nothing was counted during any check, so nothing was tried");
    check(&house, &events).await;
    running.stop().await;
}
