//! Deriving the documents of one period again, in order of issue, and comparing each with
//! what is stored: its bytes, its hashes, its columns and its lines.

use serde_json::Value;
use weir_backends::books::{DocumentRow, LineRow, StoredPlan, stored_invoice};
use weir_billing::verify::{check_hashes, compare_json};
use weir_billing::{
    CorrectionInput, DocumentType, Invoice, InvoiceInput, InvoiceNumber, PlanVersion, UsageOfPeriod,
};

use super::ledger::Ledger;
use super::raw::Raw;
use super::report::{Proof, Verdict};
use super::{Facts, PeriodDocuments};
use crate::recount::Missing;

const CHECKS: [&str; 5] = ["hashes", "raw events", "ledger", "prices", "lines"];
const CHECKS_OF_LEDGER: [&str; 4] = ["hashes", "ledger", "prices", "lines"];

/// What usage is counted again from: the ledger's batches, and raw events unless they were
/// left out on purpose.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sides<'a> {
    pub(super) ledger: &'a Ledger<'a>,
    pub(super) raw: Option<&'a Raw<'a>>,
}

/// How far raw events prove a document.
enum Reach {
    /// They say all that the ledger says.
    Whole,
    /// Why they need not be there.
    Without(String),
    /// Why they could not be looked at.
    Unknown(String),
}

/// Proves the documents of a period.
pub(super) fn prove(documents: &PeriodDocuments, facts: &Facts, sides: Sides<'_>) -> Vec<Proof> {
    let ledger = sides.ledger;
    let mut earlier = Vec::new();
    let mut proofs = Vec::new();
    let none = Vec::new();
    for row in &documents.rows {
        let mut differences = own_hashes(row);
        let (usage, reach) = usage(documents, row, sides, &mut differences);
        let in_period = |hour| documents.period.contains(hour);
        let rows =
            ledger.rows.iter().filter(|(tenant, hour, _)| *tenant == documents.tenant && in_period(*hour));
        differences.extend(rows.map(|(_, _, text)| text.clone()));
        match derived(documents, row, facts, &earlier, &usage, &mut differences) {
            Err(why) => differences.push(format!("it cannot be derived again: {why}")),
            Ok(derived) => {
                differences.extend(compared(row, &derived));
                let lines = facts.lines.get(&row.id).unwrap_or(&none);
                differences.extend(lines_compared(lines, &derived));
                earlier.push(derived);
            }
        }
        let (verdict, checks) = match reach {
            Reach::Whole => (Verdict::Proved, CHECKS.to_vec()),
            Reach::Without(why) => (Verdict::RestsOnLedger(why), CHECKS_OF_LEDGER.to_vec()),
            Reach::Unknown(why) => (Verdict::Unproved(why), CHECKS_OF_LEDGER.to_vec()),
        };
        let verdict = if differences.is_empty() { verdict } else { Verdict::Differs };
        let number = row.number.clone();
        let counter = InvoiceNumber::parse(&number).map_or(0, |number| number.counter());
        proofs.push(Proof {
            order: (row.legal_entity.clone(), counter),
            number,
            id: row.id.clone(),
            tenant: documents.tenant.clone(),
            period: documents.period,
            checks,
            verdict,
            differences,
        });
    }
    proofs
}

/// The hashes that the stored text claims, and the ones beside it.
fn own_hashes(row: &DocumentRow) -> Vec<String> {
    match stored_invoice(&row.document) {
        Err(error) => vec![error.to_string()],
        Ok(stored) => {
            let mut differences: Vec<_> = check_hashes(&stored).iter().map(ToString::to_string).collect();
            if stored.hash != row.hash {
                differences.push(format!("hash: the document says {}, its row {}", stored.hash, row.hash));
            }
            differences
        }
    }
}

/// The usage to derive from, and how far raw events prove it.
fn usage(
    documents: &PeriodDocuments,
    row: &DocumentRow,
    sides: Sides<'_>,
    differences: &mut Vec<String>,
) -> (Vec<UsageOfPeriod>, Reach) {
    let of_ledger = sides.ledger.totals.at(&documents.tenant, documents.period, row.cut);
    let Some(raw) = sides.raw else {
        return (of_ledger, Reach::Without("raw events were not asked for".to_owned()));
    };
    if let Some(why) = &raw.unreadable {
        return (of_ledger, Reach::Unknown(why.clone()));
    }
    let of_raw = raw.totals.at(&documents.tenant, documents.period, row.cut);
    if of_raw == of_ledger {
        return (of_raw, Reach::Whole);
    }
    match raw.missing_below(row.cut) {
        Some((count, Missing::Expired)) => {
            (of_ledger, Reach::Without(format!("{count} raw events below the cut have expired")))
        }
        Some((count, Missing::Abandoned)) => {
            let why = "raw events below the cut were not in ClickHouse yet when their topic was given up";
            (of_ledger, Reach::Without(format!("{count} {why}")))
        }
        Some((count, Missing::Unprojected)) => {
            let up_to = sides.ledger.projected_to;
            let why =
                format!("{count} raw events below the cut are missing; ClickHouse was filled up to {up_to}");
            (of_ledger, Reach::Unknown(why))
        }
        Some((count, Missing::Lost)) => {
            differences.push(format!("{count} raw events below the cut are missing and have not expired"));
            (of_ledger, Reach::Whole)
        }
        None => {
            for (meter, raw, ledger) in side_by_side(&of_raw, &of_ledger) {
                differences.push(format!(
                    "{meter}: the raw events and adjustments say {raw}, the ledger says {ledger}"
                ));
            }
            (of_raw, Reach::Whole)
        }
    }
}

fn side_by_side(raw: &[UsageOfPeriod], ledger: &[UsageOfPeriod]) -> Vec<(String, String, String)> {
    let mut meters: Vec<_> = raw.iter().chain(ledger).map(|usage| usage.meter.clone()).collect();
    meters.sort();
    meters.dedup();
    let said = |side: &[UsageOfPeriod], meter: &weir_billing::MeterName| {
        let found = side.iter().find(|usage| usage.meter == *meter);
        found.map_or_else(
            || "nothing".to_owned(),
            |usage| format!("{} from {} events", usage.quantity, usage.event_count),
        )
    };
    meters
        .into_iter()
        .map(|meter| (meter.to_string(), said(raw, &meter), said(ledger, &meter)))
        .filter(|(_, raw, ledger)| raw != ledger)
        .collect()
}

fn derived(
    documents: &PeriodDocuments,
    row: &DocumentRow,
    facts: &Facts,
    earlier: &[Invoice],
    usage: &[UsageOfPeriod],
    differences: &mut Vec<String>,
) -> Result<Invoice, String> {
    let subscription = facts
        .subscriptions
        .get(&documents.subscription)
        .ok_or_else(|| format!("there is no subscription {}", documents.subscription))?;
    let plans: Vec<PlanVersion> = facts.plans.iter().map(|stored| stored.plan.clone()).collect();
    let plan_key = weir_billing::PlanKey::new(&subscription.plan).map_err(|error| error.to_string())?;
    let plan = PlanVersion::in_force(&plans, &plan_key, documents.period.start)
        .ok_or_else(|| format!("no version of plan {plan_key} is in force"))?;
    differences.extend(changed_plan(&facts.plans, plan));
    let drafted = match row.document_type {
        DocumentType::Invoice => weir_billing::draft(&InvoiceInput {
            id: row.id.clone(),
            tenant: documents.tenant.clone(),
            legal_entity: weir_billing::LegalEntityKey::new(&row.legal_entity)
                .map_err(|error| error.to_string())?,
            subscription_id: documents.subscription.clone(),
            plan,
            period: documents.period,
            zone: subscription.zone.clone(),
            cut: row.cut,
            usage,
        })
        .map(Some),
        DocumentType::Correction => weir_billing::correction(&CorrectionInput {
            id: row.id.clone(),
            plan,
            earlier,
            usage,
            cut: row.cut,
        }),
    };
    let drafted = drafted.map_err(|error| error.to_string())?;
    let drafted = drafted.ok_or_else(|| "nothing differs from what was billed before it".to_owned())?;
    let number = InvoiceNumber::parse(&row.number).map_err(|error| error.to_string())?;
    let issued_at = row.finalized_at.ok_or_else(|| "it has no date".to_owned())?;
    weir_billing::finalize(drafted, number, issued_at).map_err(|error| error.to_string())
}

/// A published plan whose content is no longer the one that was published.
fn changed_plan(stored: &[StoredPlan], plan: &PlanVersion) -> Option<String> {
    let stored = stored.iter().find(|stored| stored.plan == *plan)?;
    let computed = plan.content_hash().unwrap_or_else(|error| error.to_string());
    let what = format!("plan {} v{}", plan.key, plan.version);
    (computed != stored.content_hash)
        .then(|| format!("{what} was changed: published as {}, now {computed}", stored.content_hash))
}

/// The stored text beside the derived one, byte for byte, and the columns beside it.
fn compared(row: &DocumentRow, derived: &Invoice) -> Vec<String> {
    let Ok(text) = derived.canonical_json() else { return vec!["it cannot be written as JSON".to_owned()] };
    let mut differences = Vec::new();
    if text != row.document {
        let stored: Value = serde_json::from_str(&row.document).unwrap_or(Value::Null);
        let derived: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        let found = compare_json(&stored, &derived);
        differences.extend(found.iter().map(ToString::to_string));
        if found.is_empty() {
            differences.push("the same values, but other bytes than the canonical ones".to_owned());
        }
    }
    let total = derived.total.amount.normalize().to_string();
    let columns = [
        ("total", row.total.as_str(), total.as_str()),
        ("currency", row.currency.as_str(), derived.currency.code()),
        ("hash", row.hash.as_str(), derived.hash.as_str()),
    ];
    differences.extend(columns_compared("", &columns));
    differences
}

fn lines_compared(rows: &[LineRow], derived: &Invoice) -> Vec<String> {
    let mut differences = Vec::new();
    if rows.len() != derived.lines.len() {
        let (stored, derived) = (rows.len(), derived.lines.len());
        differences.push(format!("stored are {stored} lines, derived {derived}"));
    }
    for (row, line) in rows.iter().zip(&derived.lines) {
        let document = weir_billing::canonical::canonical_json(line).unwrap_or_default();
        let (number, amount) = (line.line.to_string(), line.amount.amount.normalize().to_string());
        let (quantity, events) = (line.quantity.to_string(), line.event_count.to_string());
        let version = line.plan_version.to_string();
        let stored = (row.line.to_string(), row.event_count.to_string(), row.plan_version.to_string());
        let meter = line.meter.as_ref().map_or("", |meter| meter.as_str());
        let columns = [
            ("line", stored.0.as_str(), number.as_str()),
            ("meter", row.meter.as_deref().unwrap_or_default(), meter),
            ("description", row.description.as_str(), line.description.as_str()),
            ("quantity", row.quantity.as_str(), quantity.as_str()),
            ("event_count", stored.1.as_str(), events.as_str()),
            ("plan", row.plan.as_str(), line.plan.as_str()),
            ("plan_version", stored.2.as_str(), version.as_str()),
            ("amount", row.amount.as_str(), amount.as_str()),
            ("hash", row.hash.as_str(), line.hash.as_str()),
            ("document", row.document.as_str(), document.as_str()),
        ];
        differences.extend(columns_compared(&format!("line row {}: ", line.line), &columns));
    }
    differences
}

fn columns_compared(prefix: &str, columns: &[(&str, &str, &str)]) -> Vec<String> {
    let differing = columns.iter().filter(|(_, stored, derived)| stored != derived);
    differing
        .map(|(name, stored, derived)| format!("{prefix}column {name}: stored {stored}, derived {derived}"))
        .collect()
}
