//! Weir's numbers beside the independent count's. A difference is remembered, printed, and makes
//! the demo fail.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};

use crate::decimal::{grouped, plain, thousands};
use crate::ledger::{Counts, Ledger, Totals};
use crate::platform::{self, UsageRow};
use crate::print;
use crate::projection;
use crate::scene::Scene;
use crate::tally::{Tally, Usage};
use crate::tenants::{PROFILES, Profile};

/// Differences found so far, in words.
#[derive(Debug, Default)]
pub struct Differences(Vec<String>);

impl Differences {
    /// What differs, one sentence each.
    pub fn found(&self) -> &[String] {
        &self.0
    }

    /// Remembers a difference that is told in words.
    pub fn tell(&mut self, difference: String) {
        self.0.push(difference);
    }

    /// Fails when there was one.
    pub fn check(&self) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        bail!("Weir and the independent count differ:\n  {}", self.0.join("\n  "))
    }

    /// `=`, or a word that nobody overlooks.
    pub fn compare(&mut self, what: &str, weir: &str, independent: &str) -> String {
        if weir == independent {
            return "=".to_owned();
        }
        self.0.push(format!("{what}: Weir has {weir}, the independent count {independent}"));
        "DIFFERENT".to_owned()
    }
}

/// Prints the conservation table.
pub(crate) async fn conservation(scene: &Scene, tally: &Tally, differences: &mut Differences) -> Result<()> {
    let counts = scene.ledger.counts().await?;
    let mut rows = compare_counts(&counts, tally, differences);
    rows.extend(compare_reasons(&scene.ledger.reasons().await?, tally, differences));
    print::title("Conservation: read = accepted + duplicate + rejected + forwarded + control");
    print::table(&["records", ">Weir", ">independent", ""], rows);
    let Counts { read, accepted, duplicate, rejected, forwarded, control } = counts;
    let sum = accepted + duplicate + rejected + forwarded + control;
    let balance = differences.compare("the sum of all ends", &read.to_string(), &sum.to_string());
    let batches = scene.ledger.batches().await?;
    let ends = [accepted, duplicate, rejected, forwarded, control].map(|count| thousands(&count.to_string()));
    print::say(&format!(
        "{} {balance} {}, in {} batches of {} partitions",
        thousands(&read.to_string()),
        ends.join(" + "),
        thousands(&batches.to_string()),
        scene.partitions
    ));
    Ok(())
}

/// Compares the records by their end once more, without a table.
pub(crate) async fn ends(scene: &Scene, tally: &Tally, differences: &mut Differences) -> Result<()> {
    compare_counts(&scene.ledger.counts().await?, tally, differences);
    compare_reasons(&scene.ledger.reasons().await?, tally, differences);
    Ok(())
}

/// Compares the records by their end.
pub fn compare_counts(counts: &Counts, tally: &Tally, differences: &mut Differences) -> Vec<Vec<String>> {
    let rejected: u64 = tally.rejected.values().sum();
    let ends = [
        ("accepted", counts.accepted, tally.accepted),
        ("duplicate", counts.duplicate, tally.duplicate),
        ("rejected", counts.rejected, rejected),
        ("forwarded to their partition", counts.forwarded, tally.forwarded),
        ("read, without control", counts.read - counts.control, tally.read()),
    ];
    let row = |(name, weir, independent): (&str, i64, u64)| {
        let (weir, independent) = (weir.to_string(), independent.to_string());
        let verdict = differences.compare(&format!("records {name}"), &weir, &independent);
        vec![name.to_owned(), thousands(&weir), thousands(&independent), verdict]
    };
    let mut rows: Vec<Vec<String>> = ends.into_iter().map(row).collect();
    let control = ["control: Weir's own limits and ticks", &thousands(&counts.control.to_string()), "", ""];
    rows.push(control.map(str::to_owned).into());
    rows
}

/// Compares the rejected records and the conflicts by reason.
pub fn compare_reasons(
    reasons: &BTreeMap<String, i64>,
    tally: &Tally,
    differences: &mut Differences,
) -> Vec<Vec<String>> {
    let known = reasons.keys().chain(tally.rejected.keys()).map(String::as_str).chain(["conflict"]);
    let row = |name: &str| {
        let weir = reasons.get(name).copied().unwrap_or_default().to_string();
        let (of, own) = match name {
            "conflict" => ("of the duplicates", Some(&tally.conflicts)),
            _ => ("of the rejected", tally.rejected.get(name)),
        };
        let independent = own.copied().unwrap_or_default().to_string();
        let verdict = differences.compare(&format!("records with reason {name}"), &weir, &independent);
        vec![format!("  {of}: {name}"), weir, independent, verdict]
    };
    known.collect::<BTreeSet<&str>>().into_iter().map(row).collect()
}

/// Prints usage by tenant and meter in both billing periods, as the API tells it.
pub(crate) async fn usage(scene: &Scene, tally: &Tally, differences: &mut Differences) -> Result<()> {
    let mut rows = Vec::new();
    for profile in &PROFILES {
        let closed = compare_usage(scene, profile, 0, &tally.closed, differences).await?;
        let running = compare_usage(scene, profile, 1, &tally.running, differences).await?;
        for row in closed {
            let now = running.iter().find(|other| other.meter == row.meter);
            rows.push(vec![
                profile.id.to_owned(),
                row.meter,
                row.unit,
                grouped(row.nanos),
                thousands(&row.events.to_string()),
                now.map(|row| grouped(row.nanos)).unwrap_or_default(),
                now.map(|row| thousands(&row.events.to_string())).unwrap_or_default(),
            ]);
        }
    }
    print::title("Usage by tenant and meter (GET /api/v1/platform/tenants/{id}/usage)");
    let header = ["tenant", "meter", "unit", ">period that ended", ">events", ">period that runs", ">events"];
    print::table(&header, rows);
    Ok(())
}

async fn compare_usage(
    scene: &Scene,
    profile: &Profile,
    number: u32,
    own: &BTreeMap<(String, String), Usage>,
    differences: &mut Differences,
) -> Result<Vec<UsageRow>> {
    let period = profile.period(scene.now, number)?;
    let rows = platform::usage(&scene.api, profile.id, period.start, period.end).await?;
    let told = rows.iter().map(|row| (row.meter.clone(), (row.nanos, row.events))).collect();
    let own = own.iter().filter(|((tenant, _), _)| tenant == profile.id);
    let own = own.map(|((_, meter), usage)| (meter.clone(), usage)).collect();
    compare_totals(&format!("{} in period {number} over the API", profile.id), &told, &own, differences);
    Ok(rows)
}

/// Compares all meters of one tenant, those that only one side knows included.
fn compare_totals(
    what: &str,
    weir: &BTreeMap<String, (i128, i64)>,
    own: &BTreeMap<String, &Usage>,
    differences: &mut Differences,
) {
    for meter in weir.keys().chain(own.keys()).collect::<BTreeSet<_>>() {
        let (nanos, events) = weir.get(meter).copied().unwrap_or_default();
        let (own_nanos, own_events) = own.get(meter).map_or((0, 0), |usage| (usage.nanos, usage.events));
        let weir = format!("{} from {events} events", plain(nanos));
        let independent = format!("{} from {own_events} events", plain(own_nanos));
        differences.compare(&format!("{meter} of {what}"), &weir, &independent);
    }
}

/// Prints all totals of both counts side by side, and compares ClickHouse's rollups with them.
pub(crate) async fn totals(scene: &Scene, tally: &Tally, differences: &mut Differences) -> Result<()> {
    let ledger = scene.ledger.usage().await?;
    let rollups = projection::totals(&projection::reader(scene)).await?;
    let rows = compare_all_totals(&ledger, &rollups, tally, differences);
    print::title("The independent count beside Weir's");
    let header = ["tenant", "meter", ">Weir", ">events", ">independent", ">events", "ledger", "rollups"];
    print::table(&header, rows);
    Ok(())
}

/// Compares the totals of the ledger and of ClickHouse's rollups with the independent count.
pub fn compare_all_totals(
    ledger: &Totals,
    rollups: &Totals,
    tally: &Tally,
    differences: &mut Differences,
) -> Vec<Vec<String>> {
    let keys: BTreeSet<(String, String)> =
        ledger.keys().chain(rollups.keys()).chain(tally.usage.keys()).cloned().collect();
    let mut rows = Vec::new();
    for key in keys {
        let of = |totals: &Totals| totals.get(&key).copied().unwrap_or_default();
        let own = tally.usage.get(&key).map_or((0, 0), |usage| (usage.nanos, usage.events));
        let ((nanos, events), name) = (of(ledger), format!("{} of {}", key.1, key.0));
        let verdict =
            differences.compare(&format!("{name} in Postgres"), &both((nanos, events)), &both_own(own));
        // Of different values a rollup says how many an hour had, which do not add up: there the
        // events alone are compared.
        let what = format!("{name} in ClickHouse");
        let (rolled, rolled_events) = of(rollups);
        let rolled = match key.1.as_str() {
            "users" => {
                let verdict = differences.compare(&what, &rolled_events.to_string(), &own.1.to_string());
                format!("{verdict} (events)")
            }
            _ => differences.compare(&what, &both((rolled, rolled_events)), &both_own(own)),
        };
        rows.push(vec![
            key.0,
            key.1,
            grouped(nanos),
            thousands(&events.to_string()),
            grouped(own.0),
            thousands(&own.1.to_string()),
            verdict,
            rolled,
        ]);
    }
    rows
}

fn both((nanos, events): (i128, i64)) -> String {
    format!("{} from {events} events", plain(nanos))
}

fn both_own((nanos, events): (i128, u64)) -> String {
    format!("{} from {events} events", plain(nanos))
}

/// Compares the quantity that each tenant's newest document was rated by with the independent
/// count of the closed period; returns how many lines there were.
pub async fn billed(ledger: &Ledger, tally: &Tally, differences: &mut Differences) -> Result<usize> {
    let mut newest = BTreeMap::new();
    let mut lines_compared = 0;
    for document in ledger.documents().await? {
        let content: serde_json::Value =
            serde_json::from_str(&document.document).context("read an invoice's document")?;
        for line in content["lines"].as_array().into_iter().flatten() {
            let Some(meter) = line["meter"].as_str() else { continue };
            let rated = line["rated_quantity"].as_str().unwrap_or_default().to_owned();
            let rated = format!("{rated} from {} events", line["rated_event_count"]);
            newest.insert((document.tenant.clone(), meter.to_owned()), (document.number.clone(), rated));
        }
    }
    for profile in &PROFILES {
        if !newest.keys().any(|(tenant, _)| tenant == profile.id) {
            differences.0.push(format!("{} has no invoice", profile.id));
        }
    }
    for ((tenant, meter), (number, rated)) in newest {
        let own = tally.closed.get(&(tenant.clone(), meter.clone()));
        let own = own.map_or((0, 0), |usage| (usage.nanos, usage.events));
        differences.compare(&format!("{meter} of {tenant} on {number}"), &rated, &both_own(own));
        lines_compared += 1;
    }
    Ok(lines_compared)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_difference_fails_and_is_told() {
        let mut differences = Differences::default();
        assert_eq!(differences.compare("records read", "10", "10"), "=");
        assert!(differences.check().is_ok());
        let mut usage = Usage::default();
        (usage.nanos, usage.events) = (1_500_000_000, 2);
        let weir = BTreeMap::from([("storage".to_owned(), (1_500_000_000, 3))]);
        let own = BTreeMap::from([("storage".to_owned(), &usage), ("compute".to_owned(), &usage)]);
        compare_totals("acme", &weir, &own, &mut differences);
        let told = differences.check().unwrap_err().to_string();
        let lines: Vec<&str> = told.lines().map(str::trim).collect();
        assert_eq!(
            lines[1],
            "compute of acme: Weir has 0 from 0 events, the independent count 1.5 from 2 events"
        );
        assert_eq!(
            lines[2],
            "storage of acme: Weir has 1.5 from 3 events, the independent count 1.5 from 2 events"
        );
    }

    #[test]
    fn counts_are_compared_end_by_end() {
        let mut differences = Differences::default();
        let counts = Counts { read: 5, accepted: 3, duplicate: 1, rejected: 0, forwarded: 0, control: 1 };
        let mut tally = Tally::default();
        (tally.accepted, tally.duplicate) = (3, 1);
        compare_counts(&counts, &tally, &mut differences);
        assert!(differences.check().is_ok());
        tally.rejected.insert("too_late".to_owned(), 1);
        compare_reasons(&BTreeMap::new(), &tally, &mut differences);
        assert!(differences.check().unwrap_err().to_string().contains("reason too_late"));
    }
}
