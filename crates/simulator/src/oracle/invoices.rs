//! What must have been billed: every document from the usage below its cut, rated here by
//! the words of the plans, and nothing that is not closed.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use weir_backends::journal::OutgoingRecord;
use weir_billing::{Invoice, InvoiceNumber};
use weir_core::Span;
use weir_wire::alert::INVOICE_FINALIZED;
use weir_wire::invoice_number;

use super::compare::Told;
use super::deliveries::{self, event_type};
use super::reading::nanos;
use crate::play::{Billed, Play};
use crate::scenario::{Cost, GRACE_MS, PlanFacts, TenantCast};
use crate::servers::{INVOICES, Servers};

/// A place in the journal at which a period was billed: offset, tenant, start of the period.
pub(super) type Cut = (i64, String, i64);

/// What was counted below a cut: up to when, and what of each meter.
#[derive(Clone, Debug, Default)]
pub(super) struct Counted {
    pub(super) now_ms: i64,
    /// Quantity in thousand-millionths, and events.
    pub(super) meters: BTreeMap<&'static str, (i128, i64)>,
}

/// A line of a document: meter (empty for the fee), quantity in thousand-millionths, events,
/// amount in cents.
type Line = (String, i128, i128, i128);

/// What was billed of a period so far, by meter: quantity, events, cents.
type BilledSoFar = BTreeMap<String, (i128, i128, i128)>;

/// The cuts of documents in a partition, by rising offset.
pub(super) fn cuts(servers: &Servers, partition: i32) -> Vec<Cut> {
    let ours = servers.ledger.books.documents.values().filter(|one| one.cut.partition == partition);
    let mut cuts: Vec<Cut> = ours
        .map(|document| (document.cut.offset, document.tenant.to_string(), document.period.start.millis()))
        .collect();
    cuts.sort();
    cuts.dedup();
    cuts
}

/// What is wrong with documents and numbers, if anything.
pub(super) fn check(play: &Play, servers: &Servers, told: &[Told<'_>]) -> Option<String> {
    if !play.cast.billed {
        return None;
    }
    let homes = servers.ledger.homes();
    numbers(servers).or_else(|| events(servers)).or_else(|| {
        play.cast.tenants.iter().find_map(|tenant| {
            let home = homes.of(&tenant.name);
            let told = told.iter().find(|told| told.partition == home)?;
            let of_tenant = |period: &Span| of_period(play, servers, (told, tenant), *period);
            tenant.periods.iter().find_map(of_tenant)
        })
    })
}

/// Numbers have no gaps, and each was told of one document only.
fn numbers(servers: &Servers) -> Option<String> {
    let books = &servers.ledger.books;
    for (entity, next) in &books.next_numbers {
        let ours = books.documents.values().filter(|one| one.legal_entity.to_string() == *entity);
        let mut counters: Vec<u64> =
            ours.filter_map(|one| one.number.as_ref()).map(InvoiceNumber::counter).collect();
        counters.sort_unstable();
        if !counters.iter().copied().eq(1..*next) {
            return Some(format!("{entity} gave the numbers {counters:?}, and gives {next} next"));
        }
    }
    let mut told: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for record in servers.journal.other.iter().filter(|record| record.topic == INVOICES) {
        match told_of(record) {
            Ok((number, hash)) => told.entry(number).or_default().insert(hash),
            Err(why) => return Some(format!("a record of the topic of numbers cannot be read: {why}")),
        };
    }
    let twice = told.into_iter().find(|(_, hashes)| hashes.len() > 1);
    twice.map(|(number, _)| format!("the number {number} was given to two documents"))
}

/// The number that a record tells, and the hash of the document that has it.
pub(super) fn told_of(record: &OutgoingRecord) -> Result<(String, String), String> {
    let key = record.key.as_deref().ok_or("it has no key")?;
    let value = record.value.as_deref().ok_or("it has no value")?;
    let given = invoice_number::decode(key, value).map_err(|error| error.to_string())?;
    let body: Value = serde_json::from_slice(value).map_err(|error| error.to_string())?;
    let hash = body.get("hash").and_then(Value::as_str).ok_or("it has no hash")?;
    Ok((given.number.to_string(), hash.to_owned()))
}

/// Each finalized document has its event in the outbox.
fn events(servers: &Servers) -> Option<String> {
    let of_documents = deliveries::events(servers).map(|(_, line)| line);
    let of_documents = of_documents.filter(|line| event_type(line) == INVOICE_FINALIZED);
    let hash = |body: &Value| body.get("data")?.get("hash")?.as_str().map(str::to_owned);
    let told: BTreeSet<Option<String>> = of_documents.map(|line| hash(&line.body)).collect();
    let made = servers.ledger.books.documents.values().map(|one| Some(one.hash.clone()));
    let made: BTreeSet<Option<String>> = made.collect();
    (told != made).then(|| "the events of finalized documents are not those of the documents".to_owned())
}

fn of_period(
    play: &Play,
    servers: &Servers,
    (told, tenant): (&Told<'_>, &TenantCast),
    period: Span,
) -> Option<String> {
    let documents = servers.ledger.books.finalized(&format!("sub-{}", tenant.name), period.start);
    let named = format!("{} from {}", tenant.name, period.start);
    let plan = PlanFacts::rating(tenant.plan, period.start.millis())?;
    let mut billed = BilledSoFar::new();
    for (index, document) in documents.iter().enumerate() {
        let cut = (document.cut.offset, tenant.name.clone(), period.start.millis());
        let Some(counted) = told.billed.get(&cut).filter(|_| document.cut.partition == told.partition) else {
            return Some(format!("{named} was billed at {}, which is no place of its", document.cut));
        };
        if period.end.millis() + GRACE_MS > counted.now_ms {
            return Some(format!("{named} was billed at {}, before it was closed", document.cut));
        }
        let expected = expected_lines(plan, counted, index, &billed);
        let found = lines_of(document);
        if found != expected {
            return Some(format!("{named}, document {index}: {found:?}, and should be {expected:?}"));
        }
        for (meter, quantity, events, cents) in expected {
            let so_far = billed.entry(meter).or_default();
            *so_far = (so_far.0 + quantity, so_far.1 + events, so_far.2 + cents);
        }
    }
    complete(play, (told, tenant), period, (plan, documents.len(), &billed))
        .map(|words| format!("{named}: {words}"))
}

/// What is closed is billed, and billed for all that was counted.
fn complete(
    play: &Play,
    (told, tenant): (&Told<'_>, &TenantCast),
    period: Span,
    (plan, documents, billed): (&PlanFacts, usize, &BilledSoFar),
) -> Option<String> {
    let Some(Billed::To(reach)) = &play.billed else { return None };
    if play.recreated.contains(&told.partition) || !play.presence.was_created(&tenant.name) {
        return None;
    }
    let reached = reach.get(&told.partition)?.millis();
    let is_due = period.end > tenant.billed_from() && period.end.millis() + GRACE_MS <= reached;
    if !is_due {
        return None;
    }
    if documents == 0 {
        return Some("is closed, and not billed".to_owned());
    }
    let counted = told.fold.counted(&tenant.name, period.start.millis());
    let left = expected_lines(plan, &counted, documents, billed);
    (!left.is_empty()).then(|| format!("is billed, but for {left:?}"))
}

/// The lines of the invoice (index 0) or of a correction, which has none for what is the same.
fn expected_lines(plan: &PlanFacts, counted: &Counted, index: usize, billed: &BilledSoFar) -> Vec<Line> {
    let mut lines = Vec::new();
    if index == 0 && plan.fee_cents > 0 {
        lines.push((String::new(), 1_000_000_000, 0, plan.fee_cents));
    }
    for price in plan.prices {
        let (quantity, events) = counted.meters.get(price.meter).copied().unwrap_or_default();
        let now = (quantity, i128::from(events), cents(price.included, price.cost, quantity));
        let before = billed.get(price.meter).copied().unwrap_or_default();
        let line = (price.meter.to_owned(), now.0 - before.0, now.1 - before.1, now.2 - before.2);
        if index == 0 || line.1 != 0 || line.3 != 0 {
            lines.push(line);
        }
    }
    lines
}

fn lines_of(document: &Invoice) -> Vec<Line> {
    let line = |line: &weir_billing::InvoiceLine| {
        let meter = line.meter.as_ref().map(ToString::to_string).unwrap_or_default();
        let cents = nanos(&line.amount.amount.to_string()).unwrap_or(i128::MAX) / 10_000_000;
        (meter, line.quantity.nanos(), i128::from(line.event_count), cents)
    };
    document.lines.iter().map(line).collect()
}

/// What a quantity of thousand-millionths costs, in cents, half a cent away from zero.
fn cents(included: i128, cost: Cost, quantity: i128) -> i128 {
    const UNIT: i128 = 1_000_000_000;
    let free = quantity.min(included * UNIT).max(0);
    let rest = quantity - free;
    let taken = rest.max(0);
    // Ten-thousandths of a euro, times UNIT.
    let exact = match cost {
        Cost::Unit(cost) => rest * cost,
        Cost::Package(size, cost) => (taken + size * UNIT - 1) / (size * UNIT) * cost * UNIT,
        Cost::Steps(first, below, above) => {
            let in_first = taken.min(first * UNIT);
            in_first * below + (taken - in_first) * above
        }
    };
    let cent = 100 * UNIT;
    (exact.abs() + cent / 2) / cent * exact.signum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_are_rounded_once_half_away_from_zero() {
        const UNIT: i128 = 1_000_000_000;
        for (included, cost, quantity, expected) in [
            (0, Cost::Unit(50), UNIT, 1),
            (0, Cost::Unit(50), -UNIT, -1),
            (0, Cost::Unit(49), UNIT, 0),
            (3, Cost::Unit(100), 2 * UNIT, 0),
            (3, Cost::Unit(100), 5 * UNIT, 2),
            (0, Cost::Package(50, 9_999), 50 * UNIT + 1, 200),
            (0, Cost::Package(50, 9_999), -UNIT, 0),
            (20, Cost::Steps(100, 333, 111), 121 * UNIT, 334),
        ] {
            assert_eq!(cents(included, cost, quantity), expected, "{included} {cost:?} {quantity}");
        }
    }
}
