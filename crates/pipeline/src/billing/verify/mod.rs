//! The proof of documents: each is derived again and compared byte for byte.
//!
//! Counted again from two sides: from the raw events below the cut, metered afresh by the
//! catalogue, and from the blobs of the chain of batches. Both must agree, and the usage
//! rows with the blobs; then the published plan rates the usage, and the document and its
//! lines must be the stored ones. Where raw events have expired, it says that the document
//! rests on the ledger's sums; where they were lost, it differs; where they cannot be asked
//! for, or are not there yet, nothing is proved. It changes nothing.
//!
//! Content sums cover whole partitions, so all events of the partitions are read, once.

mod count;
mod derive;
mod ledger;
mod raw;
mod report;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use weir_backends::books::{
    DocumentRow, Evidence, LastNumber, LineRow, Selection, StoredPlan, SubscriptionFacts,
};
use weir_backends::config::ClickHouseConfig;
use weir_backends::postgres::Pool;
use weir_backends::{StoreError, books, catalog};
use weir_core::{HourAlignment, Partition, Span, TenantId};

use self::count::Cuts;
use super::BillingError;
use crate::recount::Meters;
use crate::told::{Told, many};

pub use report::{Outcome, Proof, Verdict, VerifyReport};

/// Which documents are to be proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// Every finalized one, and that the numbers have no gaps.
    All,
    /// All documents of the periods that those with these numbers or ids are for.
    Numbers(Vec<String>),
}

/// The finalized documents of one subscription and period, in order of issue.
#[derive(Debug)]
struct PeriodDocuments {
    tenant: TenantId,
    period: Span,
    subscription: String,
    rows: Vec<DocumentRow>,
}

/// What documents are compared with, as the ledger holds it.
#[derive(Debug)]
struct Facts {
    lines: BTreeMap<String, Vec<LineRow>>,
    subscriptions: BTreeMap<String, SubscriptionFacts>,
    plans: Vec<StoredPlan>,
}

/// Proves documents.
///
/// # Errors
/// The ledger's, and [`BillingError::NoSuchNumber`]. A projection that does not answer is
/// no error: the documents then stay unproved, and the report says why.
pub async fn verify(
    pool: &Pool,
    clickhouse: &ClickHouseConfig,
    which: Which,
    told: &dyn Told,
) -> Result<VerifyReport, BillingError> {
    prove(pool, Some(clickhouse), which, told).await
}

/// Proves documents from the ledger's sums alone, for whoever knows that there are no raw events.
///
/// # Errors
/// The ledger's, and [`BillingError::NoSuchNumber`].
pub async fn verify_ledger_only(
    pool: &Pool,
    which: Which,
    told: &dyn Told,
) -> Result<VerifyReport, BillingError> {
    prove(pool, None, which, told).await
}

async fn prove(
    pool: &Pool,
    clickhouse: Option<&ClickHouseConfig>,
    which: Which,
    told: &dyn Told,
) -> Result<VerifyReport, BillingError> {
    let catalogue = catalog::load(pool).await?;
    let plans = books::plans(pool).await?;
    // Before the snapshot, so that every number given by then has its document in it.
    let counters = books::counters(pool).await?;
    let mut evidence = Evidence::open(pool).await?;
    let rows = chosen(&mut evidence, &which).await?;
    let mut report = VerifyReport::default();
    if which == Which::All {
        report.general.extend(gaps(&rows, &counters));
    }
    let mut lines: BTreeMap<String, Vec<LineRow>> = BTreeMap::new();
    for line in evidence.lines(&rows).await? {
        lines.entry(line.invoice.clone()).or_default().push(line);
    }
    let ids = rows.iter().map(|row| row.subscription.clone()).collect::<BTreeSet<_>>();
    let subscriptions = evidence.subscriptions(ids.into_iter().collect()).await?;
    let alignments = alignments(&subscriptions)?;
    let subscriptions = subscriptions.into_iter().map(|facts| (facts.id.clone(), facts)).collect();
    let facts = Facts { lines, subscriptions, plans };

    let periods = by_period(rows)?;
    let places = by_partition(&periods);
    let cuts: BTreeMap<Partition, Cuts> =
        places.iter().map(|(partition, periods)| (*partition, Cuts::of(periods))).collect();
    let meters = Meters::new(catalogue, alignments, evidence.identity_key().await?);
    let mut ledgers = BTreeMap::new();
    for (partition, cuts) in &cuts {
        told.told("partitions of the ledger read", many(ledgers.len()), Some(many(places.len())));
        ledgers.insert(*partition, ledger::read(&mut evidence, *partition, cuts).await?);
    }
    evidence.close().await?;

    let raws = raw::read(clickhouse, (&ledgers, &cuts), &meters, told).await;
    for (((partition, periods), ledger), raw) in places.iter().zip(ledgers.values_mut()).zip(raws.values()) {
        report.general.append(&mut ledger.problems);
        report.general.extend(raw.problems().chain(raw.lost(*partition)));
        for period in periods {
            let sides = derive::Sides { ledger, raw: clickhouse.map(|_| raw) };
            report.proofs.extend(derive::prove(period, &facts, sides));
        }
    }
    report.proofs.sort_by_key(|proof| proof.order.clone());
    Ok(report)
}

/// Where the hours of the billed tenants begin, deleted ones included.
fn alignments(subscriptions: &[SubscriptionFacts]) -> Result<HashMap<String, HourAlignment>, StoreError> {
    let of = |facts: &SubscriptionFacts| {
        let minutes = u8::try_from(facts.hour_alignment).ok().and_then(HourAlignment::from_minutes);
        let minutes = minutes.ok_or_else(|| {
            StoreError::corrupt("read a tenant", format!("{}'s hour alignment", facts.tenant))
        })?;
        Ok((facts.tenant.clone(), minutes))
    };
    subscriptions.iter().map(of).collect()
}

async fn chosen(evidence: &mut Evidence, which: &Which) -> Result<Vec<DocumentRow>, BillingError> {
    let numbers = match which {
        Which::All => return Ok(evidence.documents(&Selection::default()).await?),
        Which::Numbers(numbers) if numbers.is_empty() => return Ok(Vec::new()),
        Which::Numbers(numbers) => numbers,
    };
    let selection = Selection { of_period_of: numbers.clone(), ..Selection::default() };
    let rows = evidence.documents(&selection).await?;
    let found: BTreeSet<_> = rows.iter().flat_map(|row| [row.number.as_str(), row.id.as_str()]).collect();
    match numbers.iter().find(|number| !found.contains(number.as_str())) {
        Some(unknown) => Err(BillingError::NoSuchNumber(unknown.clone())),
        None => Ok(rows),
    }
}

/// Numbers of each legal entity that are missing or doubled.
fn gaps(rows: &[DocumentRow], counters: &[LastNumber]) -> Vec<String> {
    let mut expected: BTreeMap<&str, u64> = BTreeMap::new();
    let mut found = Vec::new();
    for row in rows {
        let text = row.number.as_str();
        let counter = weir_billing::InvoiceNumber::parse(text).map(|number| number.counter());
        let next = expected.entry(row.legal_entity.as_str()).or_insert(1);
        match counter {
            Ok(counter) if counter == *next => *next += 1,
            Ok(counter) => {
                found.push(format!("{}: number {next} should follow, {text} does", row.legal_entity));
                *next = counter.saturating_add(1);
            }
            Err(error) => found.push(format!("{}: {error}", row.id)),
        }
    }
    for LastNumber { legal_entity, next_number, .. } in counters {
        let next = expected.get(legal_entity.as_str()).copied().unwrap_or(1);
        if i64::try_from(next).is_ok_and(|next| next < *next_number) {
            let given = next_number - 1;
            found.push(format!(
                "{legal_entity}: numbers up to {given} were given, documents end before {next}"
            ));
        }
    }
    found
}

fn by_period(rows: Vec<DocumentRow>) -> Result<Vec<PeriodDocuments>, StoreError> {
    let mut periods: BTreeMap<(String, Span), Vec<DocumentRow>> = BTreeMap::new();
    for row in rows {
        periods.entry((row.subscription.clone(), row.period)).or_default().push(row);
    }
    periods
        .into_iter()
        .map(|((subscription, period), mut rows)| {
            rows.sort_by_key(|row| row.sequence);
            let tenant = match rows.first() {
                Some(first) => tenant_of(first)?,
                None => return Err(StoreError::corrupt("group documents", "a period without documents")),
            };
            Ok(PeriodDocuments { tenant, period, subscription, rows })
        })
        .collect()
}

/// The periods by the partitions in which their usage was counted.
fn by_partition(periods: &[PeriodDocuments]) -> BTreeMap<Partition, Vec<&PeriodDocuments>> {
    let mut places: BTreeMap<Partition, Vec<&PeriodDocuments>> = BTreeMap::new();
    for period in periods {
        let partitions: BTreeSet<Partition> = period.rows.iter().map(|row| row.cut.partition).collect();
        for partition in partitions {
            places.entry(partition).or_default().push(period);
        }
    }
    places
}

fn tenant_of(row: &DocumentRow) -> Result<TenantId, StoreError> {
    TenantId::new(&row.tenant).map_err(|error| StoreError::corrupt("read a document", error))
}
