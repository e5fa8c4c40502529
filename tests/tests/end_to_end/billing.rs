//! A period that has closed: billed once, exported, corrected, derived again.

use anyhow::{Context, Result, ensure};
use chrono::{TimeDelta, Utc};
use weir_tests::events::Event;
use weir_tests::house::House;
use weir_tests::wait;

use crate::counting::post_batch;

/// The flat fee, 3 calls at 0.01, 100 bytes at 0.10 and 50 at 0.05.
const TOTAL: &str = "22.53";
const TENANT: &str = "billed";

pub(crate) async fn a_closed_period_is_billed_once_and_proved(house: &mut House) -> Result<()> {
    // A month from here ends before today, whichever month it is; events in it are not too late.
    let anchor = Utc::now() - TimeDelta::days(33);
    house.create_tenant_since(TENANT, "plain", "UTC", &anchor.format("%Y-%m-%d").to_string())?;
    let inside = Utc::now() - TimeDelta::days(20);
    let mut events: Vec<_> = (0..3)
        .map(|id| Event::now(TENANT, "test.call", &id.to_string(), &[("route", "/")]).at(inside))
        .collect();
    events.push(Event::now(TENANT, "test.bytes", "bytes", &[("bytes", "150")]).at(inside));
    let status = post_batch(house, &events).await?;
    ensure!(status == 204, "the events were answered with {status}");
    house.expect_usage(TENANT, "bytes", "150", 1).await?;
    house.expect_usage(TENANT, "calls", "3", 3).await?;

    wait_for_invoices(house, 1).await?;
    ensure!(total(house, 0).await? == TOTAL, "the invoice's total is {}", total(house, 0).await?);
    let exported = export(house)?;
    ensure!(exported.contains(TOTAL) && exported.contains(TENANT), "the export lacks it:\n{exported}");
    house.settings.succeed(&["bill", "run"])?;
    ensure!(export(house)? == exported, "a second run changed the invoices:\n{}", export(house)?);
    let verified = house.settings.succeed(&["verify", "--all"])?;
    println!("  {}", verified.lines().last().unwrap_or_default());

    let late = Event::now(TENANT, "test.call", "late", &[("route", "/")]).at(inside);
    let status = post_batch(house, &[late]).await?;
    ensure!(status == 204, "the late event was answered with {status}");
    house.expect_usage(TENANT, "calls", "4", 4).await?;
    wait_for_invoices(house, 2).await?;
    ensure!(total(house, 1).await? == "0.01", "the correction's total is {}", total(house, 1).await?);
    house.settings.succeed(&["verify", "--all"])?;
    expect_gapless_numbers(house).await
}

/// Runs the billing run until so many documents are there; the journal closes a period with its
/// next record or tick.
async fn wait_for_invoices(house: &House, count: i64) -> Result<()> {
    wait::until(&format!("{count} documents of {TENANT}"), wait::PATIENCE, || async {
        tokio::task::block_in_place(|| house.settings.succeed(&["bill", "run"]))?;
        let query = "SELECT count(*) FROM invoice WHERE tenant = $1 AND status = 'finalized'";
        let found: i64 = sqlx::query_scalar(query).bind(TENANT).fetch_one(&house.ledger).await?;
        ensure!(found <= count, "{found} documents instead of {count}");
        Ok((found == count).then_some(()))
    })
    .await
}

async fn total(house: &House, sequence: i32) -> Result<String> {
    let query = "SELECT trim_scale(total)::text FROM invoice WHERE tenant = $1 AND sequence = $2";
    let query = sqlx::query_scalar(query).bind(TENANT).bind(sequence);
    query.fetch_one(&house.ledger).await.context("read the total")
}

fn export(house: &House) -> Result<String> {
    house.settings.succeed(&["export", "invoices", "--format", "csv"])
}

async fn expect_gapless_numbers(house: &House) -> Result<()> {
    let query = "SELECT number FROM invoice WHERE number IS NOT NULL ORDER BY number";
    let numbers: Vec<String> = sqlx::query_scalar(query).fetch_all(&house.ledger).await?;
    let expected: Vec<_> = (1..=numbers.len()).map(|number| format!("MILL-{number:06}")).collect();
    ensure!(numbers == expected, "the numbers are {numbers:?}");
    Ok(())
}
