//! Kafka's retention has passed and ClickHouse is lost: raw events come back from the archive, and
//! the documents that were made before are proved from them.

use anyhow::{Context, Result, ensure};
use weir_tests::house::House;
use weir_tests::{kafka, wait};

pub(crate) async fn invoices_are_proved_after_kafka_and_clickhouse_have_lost_their_events(
    house: &mut House,
) -> Result<()> {
    let counted: Vec<(i32, i64)> = sqlx::query_as("SELECT partition, next_offset FROM journal_partition")
        .fetch_all(&house.ledger)
        .await?;
    for (partition, next_offset) in counted {
        let ledger = &house.ledger;
        let archived = wait::until("everything to be archived", wait::PATIENCE, || async move {
            let query = "SELECT max(to_offset) FROM archive_file WHERE partition = $1";
            let query = sqlx::query_scalar::<_, Option<i64>>(query).bind(partition);
            Ok(query.fetch_one(ledger).await?.filter(|archived| *archived >= next_offset))
        });
        kafka::trim(&house.stack.kafka_bootstrap(), partition, archived.await?).await?;
    }
    house.serving.kill()?;
    house.change_clickhouse("DROP DATABASE weir SYNC").await?;
    house.serving = house.settings.serve().await?;

    wait::until("weir verify --all to end with 0", wait::PATIENCE, || async {
        let verified = tokio::task::block_in_place(|| house.settings.run(&["verify", "--all"]))?;
        Ok(verified.status.success().then_some(()))
    })
    .await?;
    house.expect_sound_ledger().await?;
    house.settings.succeed(&["archive", "check"])?;
    let status = house.settings.succeed(&["archive", "status", "--output", "json"])?;
    let status: serde_json::Value = serde_json::from_str(&status).context("read the archive's status")?;
    for partition in status.as_array().context("partitions")? {
        let from = |name: &str| partition[name].as_i64().context("an offset");
        let begins = partition["archived_from"].as_i64();
        ensure!(begins == Some(from("first")?) && from("gaps")? == 0, "{partition}");
        ensure!(from("kafka_from")? > from("first")?, "Kafka still holds everything: {partition}");
    }
    Ok(())
}
