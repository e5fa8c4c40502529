//! The story, in order. Each act is in a file of its own.

use anyhow::Result;
use chrono::{SubsecRound, Utc};

use crate::accounts::{self, Differences};
use crate::books;
use crate::decimal::thousands;
use crate::flow;
use crate::opening;
use crate::place::{Place, Servers};
use crate::print::{self, Stopwatch};
use crate::projection;
use crate::scene::Scene;
use crate::script::{Cargo, Script};
use crate::tally::{Produced, Tally};
use crate::weir::Serving;

/// Tells the story. Fails at the first difference between Weir and the independent count.
pub async fn tell(
    place: &Place,
    servers: &Servers,
    serving: &mut Option<Serving>,
    seed: u64,
    mut watch: Stopwatch,
) -> Result<Scene> {
    let now = Utc::now().trunc_subsecs(3);
    watch.lap("start of Kafka, Postgres and ClickHouse");
    let mut scene = opening::open(place, servers, serving, now, watch).await?;
    let script = Script::write(seed, now)?;
    let planned = planned(&script, scene.partitions, &scene)?;
    let limit = opening::limit(&mut scene, &planned).await?;
    flow::send(&mut scene, &script).await?;

    let mut differences = Differences::default();
    let tally = scene.tally()?;
    accounts::conservation(&scene, &tally, &mut differences).await?;
    accounts::usage(&scene, &tally, &mut differences).await?;
    scene.watch.lap("comparing with the independent count");
    differences.check()?;
    books::quota(&mut scene, &limit, &tally).await?;
    projection::days(&scene).await?;
    books::invoices(&mut scene).await?;
    books::correction(&mut scene).await?;
    books::exports(&mut scene).await?;
    books::proofs(&mut scene).await?;

    let tally = scene.tally()?;
    accounts::ends(&scene, &tally, &mut differences).await?;
    accounts::totals(&scene, &tally, &mut differences).await?;
    let lines = accounts::billed(&scene.ledger, &tally, &mut differences).await?;
    differences.check()?;
    print::say(&format!(
        "Equal: other code, straight from the {} records that were acknowledged, comes to the same records by \
         their end,\nthe same usage in Postgres, in ClickHouse and over the API, and the same quantities on {lines} \
         invoice lines.",
        thousands(&scene.produced.len().to_string())
    ));
    scene.watch.lap("comparing with the independent count, again");
    print::title(&format!("Where time went (seed {seed})"));
    scene.watch.print();
    Ok(scene)
}

/// The count of what will be sent, if all of it is taken.
fn planned(script: &Script, partitions: i32, scene: &Scene) -> Result<Tally> {
    let all = script.http.iter().chain(&script.kafka).chain(&script.kafka_elsewhere);
    let produced: Vec<Produced> =
        all.map(|cargo: &Cargo| Produced { cargo: cargo.clone(), partition: None }).collect();
    Tally::of(&produced, partitions, scene.now)
}
