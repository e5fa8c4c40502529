//! The third act: alerts, invoices, a late event and its correction, proofs.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};

use crate::decimal::thousands;
use crate::ledger::Document;
use crate::opening::LIMITED;
use crate::platform;
use crate::print;
use crate::producers;
use crate::scene::Scene;
use crate::script::{Cargo, reading};
use crate::tally::Tally;
use crate::tenants::{Measure, PROFILES, Profile};
use crate::webhook::Message;

/// Whose late event is corrected, and whose invoice is shown.
const SHOWN: &str = "kaveri-cloud";
/// What the late event adds.
const LATE_CALLS: &str = "12500";

/// Prints the quota that tripped and the alert as the receiver got it.
pub(crate) async fn quota(scene: &mut Scene, limit: &str, tally: &Tally) -> Result<()> {
    let (tenant, meter) = LIMITED;
    let about = |percent: u64| {
        move |message: &Message| {
            let data = &message.body["data"];
            message.body["type"] == "quota.threshold.reached"
                && data["tenant"] == tenant
                && data["meter"] == meter
                && data["threshold_percent"] == percent
        }
    };
    scene.receiver.wait_for("80 % of the quota", about(80)).await?;
    let alert = scene.receiver.wait_for("100 % of the quota", about(100)).await?;
    scene.watch.lap("alerts on their way to the webhook");
    print::title(&format!("The quota that tripped: {tenant} may have {limit} {meter} in a billing period"));
    let answer = platform::quota(&scene.api, tenant, meter).await?;
    print::say(&format!("GET /api/v1/quota/{tenant}/{meter}"));
    print::indented(&serde_json::to_string_pretty(&answer)?);
    print::say("\nThe alert at 100 %, as the webhook received it. Its signature is right.");
    print::indented(&format!("webhook-id: {}\nwebhook-signature: {}", alert.id, alert.signature));
    print::indented(&serde_json::to_string_pretty(&alert.body)?);
    // One alert a tenant and hour, however many conflicts there are.
    let conflicting = |messages: &[Message]| -> BTreeSet<String> {
        let about = messages.iter().filter(|message| message.body["type"] == "usage.conflict");
        about.filter_map(|message| message.body["data"]["tenant"].as_str().map(str::to_owned)).collect()
    };
    let all = |messages: &[Message]| conflicting(messages).is_superset(&tally.conflicting);
    let messages = scene.receiver.wait_for_all("conflicts of every tenant that has some", all).await?;
    let mut ids: Vec<&str> = messages.iter().map(|message| message.id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    ensure!(ids.len() == messages.len(), "{} webhooks came under {} ids", messages.len(), ids.len());
    print::say(&format!(
        "{} webhooks came so far, each under an id of its own: the thresholds, and ids that came again with\nother \
         facts at {}.",
        messages.len(),
        tally.conflicting.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
    ));
    scene.receiver.check_refused()
}

/// Bills every closed period; prints all invoices and one in full.
pub(crate) async fn invoices(scene: &mut Scene) -> Result<()> {
    print::doing("weir bill run");
    let run = scene.weir.run(&["bill", "run"]).await?;
    scene.watch.lap("weir bill run");
    print::title("Invoices (weir bill run)");
    let documents = scene.ledger.documents().await?;
    ensure!(
        documents.len() == PROFILES.len(),
        "{} invoices were made for {} tenants:\n{}{}",
        documents.len(),
        PROFILES.len(),
        run.stdout,
        run.stderr
    );
    print_documents(&documents)?;
    print::say(run.stdout.trim_end().lines().last().unwrap_or_default());
    let shown = documents.iter().find(|document| document.tenant == SHOWN).context("no invoice to show")?;
    print::title(&format!("One invoice in full (weir invoice show {})", shown.number));
    print::indented(&scene.weir.run(&["invoice", "show", &shown.number]).await?.stdout);
    Ok(())
}

/// Exports all documents and lines into files.
pub(crate) async fn exports(scene: &mut Scene) -> Result<()> {
    let folder = scene.place.folder.join("exports");
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    print::title("Exports for finance (weir export invoices|lines --format csv|json)");
    for (what, format) in [("invoices", "csv"), ("invoices", "json"), ("lines", "csv"), ("lines", "json")] {
        let said = scene.weir.run(&["export", what, "--format", format]).await?;
        let path = folder.join(format!("{what}.{format}"));
        fs::write(&path, &said.stdout).with_context(|| format!("write {}", path.display()))?;
        print::say(&format!("  {} ({} bytes)", path.display(), thousands(&said.stdout.len().to_string())));
    }
    scene.watch.lap("exports");
    Ok(())
}

/// Sends a late event for a period that was billed; prints the correction that it made.
pub(crate) async fn correction(scene: &mut Scene) -> Result<()> {
    let profile = PROFILES.iter().find(|profile| profile.id == SHOWN).context("nobody to correct")?;
    let cargo = [late_event(scene, profile)?];
    let before = scene.ledger.documents().await?.len();
    let sent = producers::over_http(&scene.api, &cargo).await?;
    ensure!(sent.refused.is_empty(), "the late event was refused: {:?}", sent.refused);
    scene.produced.extend(sent.taken);
    scene.counted().await?;
    let run = scene.weir.run(&["bill", "run"]).await?;
    let documents = scene.ledger.documents().await?;
    scene.watch.lap("a late event and its correction");
    print::title("A late event after finalization, and its correction");
    let Cargo::Event(event) = &cargo[0] else { return Ok(()) };
    print::say("The event, inside the 35 days but in the period that is billed:");
    print::indented(&serde_json::to_string_pretty(&event.to_json())?);
    ensure!(
        documents.len() == before + 1,
        "the late event made {} documents instead of one:\n{}{}",
        documents.len() - before,
        run.stdout,
        run.stderr
    );
    print_documents(&documents[before..])?;
    print::indented(&scene.weir.run(&["invoice", "show", &documents[before].number]).await?.stdout);
    Ok(())
}

fn late_event(scene: &Scene, profile: &Profile) -> Result<Cargo> {
    let period = profile.period(scene.now, 0)?;
    let middle = (period.start.timestamp_millis() + period.end.timestamp_millis()) / 2;
    let feed = profile.feed(Measure::Calls).context("the tenant has no API calls")?;
    let mut event = reading(profile, feed, 0, middle, LATE_CALLS.to_owned());
    event.id = "found-in-a-log-file".to_owned();
    Ok(Cargo::Event(Arc::new(event)))
}

fn print_documents(documents: &[Document]) -> Result<()> {
    let mut rows = Vec::new();
    for document in documents {
        let content: serde_json::Value =
            serde_json::from_str(&document.document).context("read an invoice's document")?;
        let lines = content["lines"].as_array().map_or(0, Vec::len);
        let total = &content["total"];
        let date = |value: &serde_json::Value| {
            value.as_str().unwrap_or_default().get(..16).unwrap_or_default().replace('T', " ")
        };
        rows.push(vec![
            document.number.clone(),
            content["document_type"].as_str().unwrap_or_default().to_owned(),
            document.tenant.clone(),
            date(&content["period"]["start"]),
            date(&content["period"]["end"]),
            lines.to_string(),
            with_commas(total["amount"].as_str().unwrap_or_default()),
            total["currency"].as_str().unwrap_or_default().to_owned(),
        ]);
    }
    print::table(&["number", "document", "tenant", "from (UTC)", "to (UTC)", ">lines", ">total", ""], rows);
    Ok(())
}

fn with_commas(amount: &str) -> String {
    match amount.split_once('.') {
        Some((whole, cents)) => format!("{}.{cents}", thousands(whole)),
        None => thousands(amount),
    }
}

/// Prints what `weir verify` and `weir ledger check` say; fails when one of them does.
pub(crate) async fn proofs(scene: &mut Scene) -> Result<()> {
    print::doing("weir verify --all, weir ledger check");
    let verified = scene.weir.ask(&["verify", "--all"]).await?;
    let checked = scene.weir.ask(&["ledger", "check"]).await?;
    scene.watch.lap("weir verify, weir ledger check");
    for (name, said) in [("weir verify --all", &verified), ("weir ledger check", &checked)] {
        print::title(name);
        print::indented(&said.stdout);
        if !said.stderr.is_empty() {
            print::indented(&said.stderr);
        }
        print::say(&format!("exit code {}", if said.success { "0" } else { "not 0" }));
    }
    ensure!(verified.success, "weir verify found a difference");
    ensure!(checked.success, "weir ledger check found a difference");
    Ok(())
}
