//! Invoices and proofs, when everything has come to rest: one last billing run, quantities against
//! the independent count, numbers without gaps here and in the topic, `weir verify`, `weir ledger check`.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use rdkafka::message::Message;
use tokio::time::{Instant, sleep};
use weir_demo::accounts::{self, Differences};
use weir_demo::tally::Tally;

use crate::house::House;
use crate::journal;

/// A number's record goes through the outbox, whose messages are offered again after a minute.
const TOPIC_MAX: Duration = Duration::from_secs(100);
const PREFIX: &str = "DEMO-";

/// Bills what is left and compares; returns how many documents there are.
pub(crate) async fn invoices(house: &House, tally: &Tally, differences: &mut Differences) -> Result<usize> {
    house.weir.run(&["bill", "run"]).await?;
    accounts::billed(&house.ledger, tally, differences).await?;
    let documents = house.ledger.documents().await?;
    let mut numbers: Vec<&str> = documents.iter().map(|document| document.number.as_str()).collect();
    numbers.sort_unstable();
    let whole: Vec<String> = (1..=numbers.len()).map(|number| format!("{PREFIX}{number:06}")).collect();
    differences.compare("the invoice numbers", &numbers.join(" "), &whole.join(" "));
    let mut sequences = BTreeMap::<&str, Vec<i32>>::new();
    for document in &documents {
        sequences.entry(&document.tenant).or_default().push(document.sequence);
    }
    for (tenant, mut found) in sequences {
        found.sort_unstable();
        let whole: Vec<i32> = (0..).take(found.len()).collect();
        differences.compare(
            &format!("the documents of {tenant}"),
            &format!("{found:?}"),
            &format!("{whole:?}"),
        );
    }
    topic(house, &numbers, differences).await?;
    Ok(documents.len())
}

/// Every number is in the topic, always with the same words.
async fn topic(house: &House, numbers: &[&str], differences: &mut Differences) -> Result<()> {
    let deadline = Instant::now() + TOPIC_MAX;
    loop {
        let (bootstrap, topic) = (house.bootstrap.clone(), house.invoices_topic.clone());
        let (told, twice) = tokio::task::spawn_blocking(move || read_topic(&bootstrap, &topic)).await??;
        let complete = numbers.iter().all(|number| told.contains_key(*number));
        if complete || Instant::now() > deadline {
            let told: Vec<&str> = told.keys().map(String::as_str).collect();
            differences.compare("the numbers in the topic", &told.join(" "), &numbers.join(" "));
            for number in twice {
                differences.tell(format!("{number} is in the topic with two hashes"));
            }
            return Ok(());
        }
        sleep(Duration::from_millis(500)).await;
    }
}

/// Values by number, and numbers that came with another value.
fn read_topic(bootstrap: &str, topic: &str) -> Result<(BTreeMap<String, String>, Vec<String>)> {
    let partitions = {
        use rdkafka::consumer::Consumer;
        let metadata = journal::consumer(bootstrap)?.fetch_metadata(Some(topic), Duration::from_secs(10))?;
        metadata.topics().first().map_or(0, |topic| topic.partitions().len())
    };
    let ends = journal::ends(bootstrap, topic, i32::try_from(partitions)?)?;
    let (mut told, mut twice) = (BTreeMap::<String, String>::new(), Vec::new());
    let mut failed = None;
    journal::read_all(bootstrap, topic, &ends, |record| {
        let text = String::from_utf8_lossy(record.payload().unwrap_or_default()).into_owned();
        let number = serde_json::from_str::<serde_json::Value>(&text)
            .ok()
            .and_then(|value| value["number"].as_str().map(str::to_owned));
        let Some(number) = number else {
            failed = Some(text);
            return;
        };
        if told.get(&number).is_some_and(|old| *old != text) {
            twice.push(number.clone());
        }
        told.insert(number, text);
    })?;
    match failed {
        None => Ok((told, twice)),
        Some(text) => {
            Err(anyhow::anyhow!("a record without a number: {text}")).context("read the topic of numbers")
        }
    }
}

/// `weir ledger check` and `weir verify --all`.
pub(crate) async fn proofs(house: &House, differences: &mut Differences) -> Result<()> {
    for arguments in [&["ledger", "check"][..], &["verify", "--all"][..]] {
        let said = house.weir.ask(arguments).await?;
        if !said.success {
            let name = arguments.join(" ");
            differences.tell(format!("`weir {name}` found something:\n{}{}", said.stdout, said.stderr));
        }
    }
    Ok(())
}
