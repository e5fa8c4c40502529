//! One round: a house, load, faults meanwhile, rest, comparison.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::{Instant, sleep_until};
use weir_demo::accounts::Differences;
use weir_demo::print;

use crate::act::Breaker;
use crate::house::House;
use crate::load::{Load, Target};
use crate::plan::Plan;
use crate::site::Site;
use crate::watch::Seen;
use crate::{books, compare};

/// How a round is made.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Decides the load and the faults.
    pub seed: u64,
    /// How long load flows.
    pub load: Duration,
    /// Time from one fault to the next.
    pub every: Duration,
    /// One part in so many of the demo's usage is sent.
    pub thin: usize,
    /// At most so many faults.
    pub faults_max: usize,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// Faults by name.
    pub seen: BTreeMap<String, Seen>,
    /// Processes that were killed.
    pub kills: u64,
    /// What did not agree, in words.
    pub differences: Vec<String>,
    /// Records of the journal.
    pub records: u64,
    /// Events that were counted.
    pub accepted: u64,
    /// Alerts that arrived.
    pub alerts: usize,
    /// Invoices and corrections.
    pub documents: usize,
    /// Batches that producers sent again.
    pub again: u64,
    /// Processes that ended by themselves, in words; one that starts while a server is away does.
    pub ended: Vec<String>,
}

/// Runs a round in the site, under this name.
pub async fn run(site: &Arc<Site>, name: &str, shape: Shape, mut plan: Plan) -> Result<Outcome> {
    let mut load = None;
    let house = House::build(site, name, |now, partitions| {
        let load = load.insert(Load::write(shape.seed, now, shape.thin, 0)?);
        load.planned(now, partitions)
    })
    .await
    .context("build the house")?;
    let load = load.context("no load was written")?;
    let all: Vec<_> = load.all().cloned().collect();
    let house = Arc::new(house);
    let mut breaker = Breaker::new(Arc::clone(site), Arc::clone(&house));
    let target =
        Target { api: house.api.clone(), bootstrap: house.bootstrap.clone(), topic: house.topic.clone() };
    let watch = Arc::clone(&breaker.watch);
    let journal = (house.bootstrap.clone(), house.topic.clone(), house.partitions);
    let watching = tokio::spawn(Arc::clone(&watch).run(house.ledger.clone(), journal));

    print::doing(&format!("{name}: load and faults"));
    let time = shape.load;
    let sending = tokio::spawn(async move { load.send(&target, time).await });
    let begin = Instant::now();
    for nth in 1..=shape.faults_max {
        let next = begin + shape.every * u32::try_from(nth).unwrap_or(u32::MAX);
        if sending.is_finished() || next > begin + shape.load {
            break;
        }
        sleep_until(next).await;
        let Some(fault) = plan.next_fault() else { break };
        breaker.act(fault, &mut plan).await.with_context(|| format!("do: {}", fault.name()))?;
    }
    breaker.calm().await?;
    let sent = sending.await.context("the producers stopped")??;

    print::doing(&format!("{name}: everything comes to rest"));
    let mut differences = Differences::default();
    let ends = compare::rest(&house).await?;
    let journal = {
        let (house, ends, all) = (Arc::clone(&house), ends.clone(), all.clone());
        tokio::task::spawn_blocking(move || compare::journal(&house, &ends, &all)).await??
    };
    compare::acknowledged(&sent, &all, &journal, &mut differences);
    compare::totals(&house, &journal.tally, &mut differences).await?;
    house.all_ready().await?;
    compare::quotas(&house, &journal.tally, &mut differences).await?;
    let documents = books::invoices(&house, &journal.tally, &mut differences).await?;
    books::proofs(&house, &mut differences).await?;
    let alerts = compare::alerts(&house, &journal.tally, &mut differences).await?;
    for panic in house.everyone().flat_map(|member| member.panics()) {
        differences.tell(panic);
    }
    if watch.open() > 0 {
        differences.tell(format!("{} faults are not recovered from", watch.open()));
    }
    watching.abort();
    let kills = house.everyone().map(|member| member.kills()).sum::<u64>();
    Ok(Outcome {
        seen: watch.seen(),
        kills: kills + breaker.other_kills.load(Ordering::SeqCst),
        differences: differences.found().to_vec(),
        records: journal.records,
        accepted: journal.tally.accepted,
        alerts,
        documents,
        again: sent.again,
        ended: house.everyone().flat_map(|member| member.ended()).collect(),
    })
}
