//! Weir's numbers beside the independent count's. A difference is remembered, printed, and makes
//! the demo fail.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};

use crate::decimal::{grouped, plain, thousands};
use crate::ledger::Totals;
use crate::platform;
use crate::print;
use crate::scene::Scene;
use crate::tally::{Tally, Usage};
use crate::tenants::PROFILES;

/// Usage by tenant and meter, as the independent count has it.
type Own = BTreeMap<(String, String), Usage>;

/// Differences found so far, in words.
#[derive(Debug, Default)]
pub(crate) struct Differences(Vec<String>);

impl Differences {
    /// Fails when there was one.
    pub(crate) fn check(&self) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        bail!("Weir and the independent count differ:\n  {}", self.0.join("\n  "))
    }

    fn compare(&mut self, what: &str, weir: &str, independent: &str) -> String {
        if weir == independent {
            return "=".to_owned();
        }
        self.0.push(format!("{what}: Weir has {weir}, the independent count {independent}"));
        "DIFFERENT".to_owned()
    }
}

/// Prints the conservation table: read = accepted + duplicate + rejected + forwarded + control.
pub(crate) async fn conservation(scene: &Scene, tally: &Tally, differences: &mut Differences) -> Result<()> {
    let counts = scene.ledger.counts().await?;
    let reasons = scene.ledger.reasons().await?;
    print::title("Conservation: read = accepted + duplicate + rejected + forwarded + control");
    let rejected: u64 = tally.rejected.values().sum();
    let counted = [
        ("read, without control", counts.read - counts.control, tally.read()),
        ("accepted", counts.accepted, tally.accepted),
        ("duplicate", counts.duplicate, tally.duplicate),
        ("rejected", counts.rejected, rejected),
        ("forwarded", counts.forwarded, tally.forwarded),
    ];
    let mut rows = Vec::new();
    for (name, weir, independent) in counted {
        let (weir, independent) = (weir.to_string(), independent.to_string());
        let verdict = differences.compare(&format!("records {name}"), &weir, &independent);
        rows.push(vec![name.to_owned(), thousands(&weir), thousands(&independent), verdict]);
    }
    rows.push(vec![
        "control (Weir's limits and ticks)".into(),
        counts.control.to_string(),
        "".into(),
        "".into(),
    ]);
    let names: BTreeSet<&str> =
        reasons.keys().chain(tally.rejected.keys()).map(String::as_str).chain(["conflict"]).collect();
    for name in names {
        let weir = reasons.get(name).copied().unwrap_or_default().to_string();
        let known = if name == "conflict" { Some(&tally.conflicts) } else { tally.rejected.get(name) };
        let independent = known.copied().unwrap_or_default().to_string();
        let verdict = differences.compare(&format!("records with reason {name}"), &weir, &independent);
        let kind = if name == "conflict" { "of the duplicates" } else { "of the rejected" };
        rows.push(vec![format!("  {kind}: {name}"), weir, independent, verdict]);
    }
    print::table(&["records", ">Weir", ">independent", ""], rows);
    let sum = counts.accepted + counts.duplicate + counts.rejected + counts.forwarded + counts.control;
    let balance = differences.compare("the sum of all ends", &counts.read.to_string(), &sum.to_string());
    let batches = scene.ledger.batches().await?;
    print::say(&format!(
        "{} {balance} {} + {} + {} + {} + {}, in {batches} batches of {} partitions",
        counts.read,
        counts.accepted,
        counts.duplicate,
        counts.rejected,
        counts.forwarded,
        counts.control,
        scene.partitions
    ));
    Ok(())
}

/// Prints usage by tenant and meter: the ledger's, the API's for the two billing periods, and the
/// independent count's.
pub(crate) async fn usage(scene: &Scene, tally: &Tally, differences: &mut Differences) -> Result<()> {
    let ledger = scene.ledger.usage().await?;
    print::title("Usage by tenant and meter");
    let mut rows = Vec::new();
    for profile in &PROFILES {
        let (closed, running) = (profile.period(scene.now, 0)?, profile.period(scene.now, 1)?);
        let closed = platform::usage(&scene.api, profile.id, closed.start, closed.end).await?;
        let running = platform::usage(&scene.api, profile.id, running.start, running.end).await?;
        for meter in meters_of(profile.id, &ledger, tally) {
            let name = format!("{} of {}", meter, profile.id);
            let key = (profile.id.to_owned(), meter);
            let of = |totals: &Totals| totals.get(&key).copied().unwrap_or_default();
            let own = |totals: &Own| totals.get(&key).cloned().unwrap_or_default();
            let views = [
                ("ledger", of(&ledger), own(&tally.usage)),
                ("API, closed period", of(&closed), own(&tally.closed)),
                ("API, running period", of(&running), own(&tally.running)),
            ];
            let mut verdicts = Vec::new();
            for (view, (nanos, events), own) in &views {
                let weir = format!("{} from {events} events", plain(*nanos));
                let independent = format!("{} from {} events", plain(own.nanos), own.events);
                verdicts.push(differences.compare(&format!("{name} ({view})"), &weir, &independent));
            }
            verdicts.dedup();
            rows.push(vec![
                key.0.clone(),
                key.1.clone(),
                thousands(&views[0].1.1.to_string()),
                grouped(views[0].1.0),
                grouped(views[1].1.0),
                grouped(views[2].1.0),
                verdicts.join(" "),
            ]);
        }
    }
    print::table(&["tenant", "meter", ">events", ">all", ">closed period", ">running", "independent"], rows);
    print::say("All three columns equal the independent count's where the last one says =.");
    Ok(())
}

fn meters_of(tenant: &str, ledger: &Totals, tally: &Tally) -> BTreeSet<String> {
    let counted = ledger.keys().filter(|(whose, _)| whose == tenant).map(|(_, meter)| meter.clone());
    let own = tally.usage.keys().filter(|(whose, _)| whose == tenant).map(|(_, meter)| meter.clone());
    counted.chain(own).collect()
}

/// Compares the quantity that each tenant's newest document was rated by with the independent
/// count of the closed period.
pub(crate) async fn billed(scene: &Scene, tally: &Tally, differences: &mut Differences) -> Result<usize> {
    let mut newest = BTreeMap::new();
    for document in scene.ledger.documents().await? {
        newest.insert(document.tenant.clone(), document);
    }
    let mut lines_compared = 0;
    for profile in &PROFILES {
        let Some(document) = newest.get(profile.id) else {
            differences.0.push(format!("{} has no invoice", profile.id));
            continue;
        };
        let content: serde_json::Value =
            serde_json::from_str(&document.document).context("read an invoice's document")?;
        for line in content["lines"].as_array().into_iter().flatten() {
            let Some(meter) = line["meter"].as_str() else { continue };
            let key = (profile.id.to_owned(), meter.to_owned());
            let own = tally.closed.get(&key).cloned().unwrap_or_default();
            let rated = line["rated_quantity"].as_str().unwrap_or_default();
            let weir = format!("{rated} from {} events", line["rated_event_count"]);
            let independent = format!("{} from {} events", plain(own.nanos), own.events);
            let what = format!("{meter} of {} on {}", profile.id, document.number);
            differences.compare(&what, &weir, &independent);
            lines_compared += 1;
        }
    }
    Ok(lines_compared)
}
