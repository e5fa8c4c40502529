//! What must agree when everything has come to rest: the independent count of the journal, what
//! producers were told, the ledger, ClickHouse, the quota answers and the alerts that arrived.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::time::{Instant, sleep};
use weir_demo::accounts::{self, Differences};
use weir_demo::ledger::nanos;
use weir_demo::script::Cargo;
use weir_demo::tally::Tally;
use weir_demo::{platform, projection};

use crate::house::{House, THRESHOLD_STEP, THRESHOLDS};
use crate::journal::{self, Journal, key_of};
use crate::load::Sent;

/// How long everything may take to come to rest.
const REST_MAX: Duration = Duration::from_secs(150);
/// How long a quota answer may take to see the last record.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// A message whose deliverer was killed is offered again after a minute.
const ALERTS_MAX: Duration = Duration::from_secs(150);
const LOOK: Duration = Duration::from_millis(200);
const EVENTS: &str =
    "SELECT tenant, count(), uniqExact(source, id) FROM events GROUP BY tenant FORMAT TabSeparated";

/// Waits until all of the journal is counted, folded and projected; the journal's ends then.
pub(crate) async fn rest(house: &House) -> Result<Vec<i64>> {
    let deadline = Instant::now() + REST_MAX;
    loop {
        let before = ends(house).await?;
        let standings = house.ledger.standings().await?;
        let reached = |to: i64, partition: i32| {
            usize::try_from(partition).ok().and_then(|at| before.get(at)).is_some_and(|end| to >= *end)
        };
        let behind = standings.iter().find(|one| {
            let least = one.next_offset.min(one.folded_to).min(one.projected_to).min(one.rolled_to);
            !reached(least, one.partition)
        });
        // What was forwarded meanwhile stands behind the ends that were looked at.
        if behind.is_none() && standings.len() == before.len() && ends(house).await? == before {
            return Ok(before);
        }
        if Instant::now() > deadline {
            let mut why = Vec::new();
            for member in house.everyone().filter(|member| member.is_wanted()) {
                let words = member.ready().await.err().unwrap_or_else(|| "is ready".to_owned());
                why.push(format!("{}: {words}", member.name));
            }
            bail!(
                "it did not come to rest in {} s: the journal ends at {before:?}, {behind:?}\n{}",
                REST_MAX.as_secs(),
                why.join("\n")
            );
        }
        sleep(LOOK).await;
    }
}

async fn ends(house: &House) -> Result<Vec<i64>> {
    let (bootstrap, topic, partitions) = (house.bootstrap.clone(), house.topic.clone(), house.partitions);
    tokio::task::spawn_blocking(move || journal::ends(&bootstrap, &topic, partitions)).await?
}

/// Reads the journal up to `ends` and counts it.
pub(crate) fn journal(house: &House, ends: &[i64], all: &[Cargo]) -> Result<Journal> {
    Journal::read((&house.bootstrap, &house.topic), ends, all.iter(), house.now)
}

/// Whatever a producer was told to be taken is in the journal, and nothing else is.
pub(crate) fn acknowledged(sent: &Sent, all: &[Cargo], journal: &Journal, differences: &mut Differences) {
    let events = |cargo: &[Cargo]| -> BTreeSet<String> {
        let key = |cargo: &Cargo| match cargo {
            Cargo::Event(event) => Some(key_of(event)),
            Cargo::Bytes { .. } => None,
        };
        cargo.iter().filter_map(key).collect()
    };
    for (way, cargo) in [("over HTTP with 2xx", &sent.over_http), ("by Kafka", &sent.to_kafka)] {
        for missing in events(cargo).iter().filter(|key| !journal.events.contains(*key)) {
            differences.tell(format!("acknowledged {way} and not in the journal: {missing}"));
        }
    }
    let known = events(all);
    for strange in journal.events.iter().filter(|key| !known.contains(*key)) {
        differences.tell(format!("in the journal and sent by nobody: {strange}"));
    }
    for place in &journal.strange {
        differences.tell(format!("bytes in the journal that nobody sent: {place}"));
    }
}

/// The ledger and ClickHouse against the independent count.
pub(crate) async fn totals(house: &House, tally: &Tally, differences: &mut Differences) -> Result<()> {
    let counts = house.ledger.counts().await?;
    accounts::compare_counts(&counts, tally, differences);
    accounts::compare_reasons(&house.ledger.reasons().await?, tally, differences);
    let usage = house.ledger.usage().await?;
    let rollups = projection::totals(&house.projection).await?;
    accounts::compare_all_totals(&usage, &rollups, tally, differences);
    let mut all = 0;
    for row in house.projection.ask(EVENTS, &[]).await? {
        let [tenant, events, ids] = &row[..] else { bail!("unexpected events: {row:?}") };
        differences.compare(&format!("ids of {tenant}'s events in ClickHouse"), events, ids);
        all += events.parse::<u64>().with_context(|| format!("{events} is no count"))?;
    }
    differences.compare("events in ClickHouse", &all.to_string(), &tally.accepted.to_string());
    Ok(())
}

/// Quota answers, over the API.
pub(crate) async fn quotas(house: &House, tally: &Tally, differences: &mut Differences) -> Result<()> {
    let deadline = Instant::now() + ANSWER_MAX;
    for limit in &house.limits {
        let key = (limit.tenant.clone(), limit.meter.clone());
        let used = tally.running.get(&key).map_or(0, |usage| usage.nanos);
        let expected = (used, used < limit.units * 1_000_000_000);
        let what =
            format!("the quota answer for {} of {} (used in 10^-9, allowed)", limit.meter, limit.tenant);
        loop {
            let answer = platform::quota(&house.api, &limit.tenant, &limit.meter).await?;
            let said = (nanos(answer["used"].as_str().unwrap_or("0"))?, answer["allowed"] == true);
            if said == expected || Instant::now() > deadline {
                differences.compare(&what, &format!("{said:?}"), &format!("{expected:?}"));
                break;
            }
            sleep(LOOK).await;
        }
    }
    Ok(())
}

/// Every expected crossing arrived, under one id each, and no other did.
pub(crate) async fn alerts(house: &House, tally: &Tally, differences: &mut Differences) -> Result<usize> {
    let expected = crossings(house, tally);
    let deadline = Instant::now() + ALERTS_MAX;
    let (told, conflicting) = loop {
        let (told, conflicting) = heard(house, differences)?;
        let complete = told.keys().all(|one| expected.contains(one)) && told.len() == expected.len();
        if (complete && conflicting == tally.conflicting) || Instant::now() > deadline {
            break (told, conflicting);
        }
        sleep(LOOK).await;
    };
    for missing in expected.iter().filter(|one| !told.contains_key(*one)) {
        differences.tell(format!("the alert about {missing:?} never arrived"));
    }
    for (crossing, ids) in &told {
        if !expected.contains(crossing) {
            differences.tell(format!("the alert about {crossing:?} arrived and nothing was crossed"));
        }
        if ids.len() > 1 {
            differences.tell(format!("the alert about {crossing:?} came under {} ids: {ids:?}", ids.len()));
        }
    }
    let (weir, own) = (format!("{conflicting:?}"), format!("{:?}", tally.conflicting));
    differences.compare("tenants with conflicts that were told", &weir, &own);
    house.receiver.check_refused()?;
    Ok(told.len())
}

/// Tenant, meter and per cent.
type Crossing = (String, String, i128);

fn crossings(house: &House, tally: &Tally) -> BTreeSet<Crossing> {
    let mut expected = BTreeSet::new();
    for limit in &house.limits {
        let key = (limit.tenant.clone(), limit.meter.clone());
        let used = tally.running.get(&key).map_or(0, |usage| usage.nanos);
        for percent in THRESHOLDS.map(|step| step * THRESHOLD_STEP) {
            if used * 100 >= limit.units * 1_000_000_000 * percent {
                expected.insert((limit.tenant.clone(), limit.meter.clone(), percent));
            }
        }
    }
    expected
}

/// The ids under which each crossing was told.
type Told = BTreeMap<Crossing, BTreeSet<String>>;

/// What arrived: ids by crossing, and the tenants of conflicts.
fn heard(house: &House, differences: &mut Differences) -> Result<(Told, BTreeSet<String>)> {
    let (mut told, mut conflicting) = (Told::new(), BTreeSet::new());
    let mut bodies = BTreeMap::new();
    for message in house.receiver.messages() {
        if bodies.insert(message.id.clone(), message.body.clone()).is_some_and(|old| old != message.body) {
            let difference = format!("the message {} came with two bodies", message.id);
            if !differences.found().contains(&difference) {
                differences.tell(difference);
            }
        }
        let data = &message.body["data"];
        let text = |name: &str| data[name].as_str().unwrap_or_default().to_owned();
        match message.body["type"].as_str() {
            Some("quota.threshold.reached") => {
                let percent = data["threshold_percent"].as_i64().context("an alert without a threshold")?;
                let crossing = (text("tenant"), text("meter"), i128::from(percent));
                told.entry(crossing).or_default().insert(message.id);
            }
            Some("usage.conflict") => {
                conflicting.insert(text("tenant"));
            }
            _ => differences.tell(format!("a message of an unexpected type: {}", message.body)),
        }
    }
    Ok((told, conflicting))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use weir_demo::event::Event;

    use super::*;

    fn event(id: &str) -> Cargo {
        Cargo::Event(Arc::new(Event {
            tenant: "acme".into(),
            source: "s".into(),
            id: id.into(),
            event_type: "api.requests".into(),
            time_ms: 0,
            data: vec![("calls".into(), "1".into())],
        }))
    }

    fn key(id: &str) -> String {
        match event(id) {
            Cargo::Event(event) => key_of(&event),
            Cargo::Bytes { .. } => String::new(),
        }
    }

    /// What is said when these were acknowledged and those stand in the journal.
    fn check(over_http: &[&str], in_journal: &[&str]) -> String {
        let sent = Sent { over_http: over_http.iter().map(|id| event(id)).collect(), ..Sent::default() };
        let events = in_journal.iter().map(|id| key(id)).collect();
        let journal = Journal { tally: Tally::default(), events, strange: Vec::new(), records: 0 };
        let mut differences = Differences::default();
        acknowledged(&sent, &[event("1"), event("2"), event("3")], &journal, &mut differences);
        differences.found().join("; ")
    }

    #[test]
    fn what_is_missing_in_the_journal_and_what_nobody_sent_is_told() {
        assert_eq!(check(&["1", "2"], &["1", "2", "3"]), "");
        assert!(
            check(&["1", "2"], &["1"]).starts_with("acknowledged over HTTP with 2xx and not in the journal")
        );
        assert!(check(&["1"], &["1", "4"]).starts_with("in the journal and sent by nobody"));
    }
}
