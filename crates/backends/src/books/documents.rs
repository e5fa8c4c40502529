//! The rows of documents and their lines, read. The text in `document` is the whole of a document as it was billed.

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgConnection};
use weir_billing::{DocumentType, Invoice};
use weir_core::{Position, Span, TenantId, Timestamp};

use super::failed;
use super::usage::SubscribedPeriod;
use crate::StoreError;
use crate::postgres::Pool;
use crate::tenants::payments::Payment;

/// Where a document stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DocumentStatus {
    /// It has a number and never changes.
    Finalized,
    /// Finalized, and paid.
    Paid,
    /// Finalized, and no longer owed.
    Void,
}

/// A document as the ledger keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentRow {
    /// `inv_…`.
    pub id: String,
    /// Invoice or correction.
    pub document_type: DocumentType,
    /// Where it stands.
    pub status: DocumentStatus,
    /// Its number.
    pub number: String,
    /// Who issued it.
    pub legal_entity: String,
    /// Its name today.
    pub legal_entity_name: String,
    /// Who is billed.
    pub tenant: String,
    /// Its name today.
    pub tenant_name: String,
    /// For which subscription.
    pub subscription: String,
    /// The billing period.
    pub period: Span,
    /// 0 the invoice, 1… its corrections.
    pub sequence: i32,
    /// ISO 4217 code.
    pub currency: String,
    /// Exact decimal text.
    pub total: String,
    /// Events below it count.
    pub cut: Position,
    /// Canonical JSON.
    pub document: String,
    /// SHA-256 in hex.
    pub hash: String,
    /// When it was finalized.
    pub finalized_at: Option<Timestamp>,
    /// How it was paid.
    pub payment: Option<Payment>,
}

/// A line as the ledger keeps it.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct LineRow {
    /// The document's id.
    pub invoice: String,
    /// From 1.
    pub line: i32,
    /// Which meter.
    pub meter: Option<String>,
    /// For people.
    pub description: String,
    /// Exact decimal text.
    pub quantity: String,
    /// How many events.
    pub event_count: i64,
    /// Which plan.
    pub plan: String,
    /// Which version of it.
    pub plan_version: i32,
    /// Exact decimal text.
    pub amount: String,
    /// Canonical JSON.
    pub document: String,
    /// SHA-256 in hex.
    pub hash: String,
}

/// Which finalized documents are meant; all conditions must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Of this tenant.
    pub tenant: Option<TenantId>,
    /// With this number or id.
    pub number: Option<String>,
    /// For the period of a document that has one of these numbers or ids; none: for any.
    pub of_period_of: Vec<String>,
}

#[derive(FromRow)]
struct Row {
    id: String,
    document_type: String,
    status: String,
    number: String,
    legal_entity: String,
    legal_entity_name: String,
    tenant: String,
    tenant_name: String,
    subscription: String,
    period_start: DateTime<Utc>,
    period_end: DateTime<Utc>,
    sequence: i32,
    currency: String,
    total: String,
    cut_generation: i32,
    cut_partition: i32,
    cut_offset: i64,
    document: String,
    hash: String,
    finalized_at: Option<DateTime<Utc>>,
    paid_at: Option<DateTime<Utc>>,
    reference: Option<String>,
}

const OF_PERIODS_ATTEMPT: &str = "read the documents of periods";
const OF_PERIODS: &str = "SELECT a.place, i.document
    FROM unnest($1::integer[], $2::text[], $3::timestamptz[]) AS a (place, subscription, starts_at)
    JOIN invoice i ON i.subscription = a.subscription AND i.period_start = a.starts_at
    ORDER BY a.place, i.sequence";
const DOCUMENTS: &str = "SELECT i.id, i.document_type, i.status, i.number, i.legal_entity,
        e.name AS legal_entity_name, i.tenant, t.name AS tenant_name, i.subscription, i.period_start,
        i.period_end, i.sequence, i.currency,
        trim_scale(i.total)::text AS total, i.cut_generation, i.cut_partition, i.cut_offset, i.document,
        i.hash, i.finalized_at, p.paid_at, p.reference
    FROM invoice i JOIN tenant t ON t.id = i.tenant JOIN legal_entity e ON e.key = i.legal_entity
    LEFT JOIN invoice_payment p ON p.invoice = i.id
    WHERE ($1::text IS NULL OR i.tenant = $1)
      AND ($2::text IS NULL OR i.number = $2 OR i.id = $2)
      AND ($3::text[] IS NULL OR (i.subscription, i.period_start) IN
          (SELECT n.subscription, n.period_start FROM invoice n WHERE n.number = ANY($3) OR n.id = ANY($3)))
    ORDER BY i.legal_entity, length(i.number), i.number COLLATE \"C\"";
const LINES: &str = "SELECT invoice, line, meter, description, trim_scale(quantity)::text AS quantity,
        event_count, plan, plan_version, trim_scale(amount)::text AS amount, document, hash
    FROM invoice_line WHERE invoice = ANY($1) ORDER BY invoice, line";

/// The documents of periods, in their order, each period's in order of issue.
pub async fn documents_of_periods(
    pool: &Pool,
    periods: &[SubscribedPeriod],
) -> Result<Vec<Vec<Invoice>>, StoreError> {
    let mut conn = pool.acquire().await.map_err(failed(OF_PERIODS_ATTEMPT))?;
    documents_of(&mut conn, periods).await
}

/// The same inside a transaction.
pub(super) async fn documents_of(
    conn: &mut PgConnection,
    periods: &[SubscribedPeriod],
) -> Result<Vec<Vec<Invoice>>, StoreError> {
    let places: Vec<i32> = (0..).take(periods.len()).collect();
    let rows: Vec<(i32, String)> = sqlx::query_as(OF_PERIODS)
        .bind(places)
        .bind(periods.iter().map(|one| one.subscription.as_str()).collect::<Vec<_>>())
        .bind(periods.iter().map(|one| one.period.start.to_chrono()).collect::<Vec<_>>())
        .fetch_all(conn)
        .await
        .map_err(failed(OF_PERIODS_ATTEMPT))?;
    let mut found = vec![Vec::new(); periods.len()];
    for (place, text) in rows {
        let place = usize::try_from(place).ok().and_then(|place| found.get_mut(place));
        let place =
            place.ok_or_else(|| StoreError::corrupt(OF_PERIODS_ATTEMPT, "a document of no period"))?;
        place.push(stored_invoice(&text)?);
    }
    Ok(found)
}

/// Reads a document from its stored text.
pub fn stored_invoice(text: &str) -> Result<Invoice, StoreError> {
    serde_json::from_str(text)
        .map_err(|error| StoreError::corrupt("read a stored document", format!("{error} in {text}")))
}

/// The finalized documents of a selection, by legal entity and number.
pub async fn documents(pool: &Pool, selection: &Selection) -> Result<Vec<DocumentRow>, StoreError> {
    let mut conn = pool.acquire().await.map_err(failed("read the documents"))?;
    documents_in(&mut conn, selection).await
}

pub(super) async fn documents_in(
    conn: &mut PgConnection,
    selection: &Selection,
) -> Result<Vec<DocumentRow>, StoreError> {
    let rows: Vec<Row> = sqlx::query_as(DOCUMENTS)
        .bind(selection.tenant.as_ref().map(TenantId::as_str))
        .bind(selection.number.as_deref())
        .bind((!selection.of_period_of.is_empty()).then_some(&selection.of_period_of))
        .fetch_all(conn)
        .await
        .map_err(failed("read the documents"))?;
    rows.into_iter().map(Row::read).collect()
}

/// The lines of documents, by document id and line.
pub async fn lines(pool: &Pool, documents: &[DocumentRow]) -> Result<Vec<LineRow>, StoreError> {
    let mut conn = pool.acquire().await.map_err(failed("read the lines of documents"))?;
    lines_in(&mut conn, documents).await
}

pub(super) async fn lines_in(
    conn: &mut PgConnection,
    documents: &[DocumentRow],
) -> Result<Vec<LineRow>, StoreError> {
    let ids: Vec<String> = documents.iter().map(|document| document.id.clone()).collect();
    sqlx::query_as(LINES).bind(ids).fetch_all(conn).await.map_err(failed("read the lines of documents"))
}

/// A document's type as stored.
pub(super) fn type_text(document_type: DocumentType) -> &'static str {
    match document_type {
        DocumentType::Invoice => "invoice",
        DocumentType::Correction => "correction",
    }
}

impl DocumentStatus {
    /// As stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Finalized => "finalized",
            Self::Paid => "paid",
            Self::Void => "void",
        }
    }
}

impl Row {
    fn read(self) -> Result<DocumentRow, StoreError> {
        let corrupt = |what: &str| StoreError::corrupt("read a document", format!("{}: {what}", self.id));
        let document_type = [DocumentType::Invoice, DocumentType::Correction]
            .into_iter()
            .find(|kind| type_text(*kind) == self.document_type)
            .ok_or_else(|| corrupt("unknown type"))?;
        use DocumentStatus::{Finalized, Paid, Void};
        let status = [Finalized, Paid, Void]
            .into_iter()
            .find(|status| status.as_str() == self.status)
            .ok_or_else(|| corrupt("unknown status"))?;
        Ok(DocumentRow {
            document_type,
            status,
            period: Span { start: self.period_start.into(), end: self.period_end.into() },
            cut: Position {
                generation: self.cut_generation,
                partition: self.cut_partition,
                offset: self.cut_offset,
            },
            finalized_at: self.finalized_at.map(Timestamp::from),
            payment: self
                .paid_at
                .zip(self.reference)
                .map(|(paid_at, reference)| Payment { paid_at: paid_at.into(), reference }),
            id: self.id,
            number: self.number,
            legal_entity: self.legal_entity,
            legal_entity_name: self.legal_entity_name,
            tenant: self.tenant,
            tenant_name: self.tenant_name,
            subscription: self.subscription,
            sequence: self.sequence,
            currency: self.currency,
            total: self.total,
            document: self.document,
            hash: self.hash,
        })
    }
}
