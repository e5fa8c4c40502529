//! Invoices as they were billed: the stored text, untouched, with what is needed to find it.
//! It derives nothing and formats nothing.

use chrono::{DateTime, Utc};
use weir_core::{Quantity, Span, TenantId, Timestamp};

use super::payments::Payment;
use crate::StoreError;
use crate::postgres::Pool;

/// An invoice or a correction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredInvoice {
    /// Its id.
    pub id: String,
    /// `invoice` or `correction`.
    pub document_type: String,
    /// `finalized`, `paid` or `void`.
    pub status: String,
    /// Its number.
    pub number: String,
    /// Who billed.
    pub legal_entity: String,
    /// Who was billed.
    pub tenant: String,
    /// For which period.
    pub period: Span,
    /// 0: the invoice; 1…: its corrections.
    pub sequence: i32,
    /// ISO 4217.
    pub currency: String,
    /// The amount.
    pub total: Quantity,
    /// The document as billed: canonical JSON.
    pub document: String,
    /// Its hash.
    pub hash: String,
    /// When it was finalized.
    pub finalized_at: Option<Timestamp>,
    /// How it was paid.
    pub payment: Option<Payment>,
}

#[derive(sqlx::FromRow)]
struct InvoiceRow {
    id: String,
    document_type: String,
    status: String,
    number: String,
    legal_entity: String,
    tenant: String,
    period_start: DateTime<Utc>,
    period_end: DateTime<Utc>,
    sequence: i32,
    currency: String,
    total: String,
    document: String,
    hash: String,
    finalized_at: Option<DateTime<Utc>>,
    paid_at: Option<DateTime<Utc>>,
    reference: Option<String>,
}

impl InvoiceRow {
    fn into_invoice(self) -> Result<StoredInvoice, StoreError> {
        let total = Quantity::parse_total(&self.total)
            .map_err(|error| StoreError::corrupt("read an invoice", format!("{}: {error}", self.total)))?;
        Ok(StoredInvoice {
            id: self.id,
            document_type: self.document_type,
            status: self.status,
            number: self.number,
            legal_entity: self.legal_entity,
            tenant: self.tenant,
            period: Span { start: self.period_start.into(), end: self.period_end.into() },
            sequence: self.sequence,
            currency: self.currency,
            total,
            document: self.document,
            hash: self.hash,
            finalized_at: self.finalized_at.map(Timestamp::from),
            payment: self
                .paid_at
                .zip(self.reference)
                .map(|(paid_at, reference)| Payment { paid_at: paid_at.into(), reference }),
        })
    }
}

const GET: &str = "SELECT id, document_type, status, number, legal_entity, tenant, period_start, period_end,
        sequence, currency, total::text AS total, document, hash, finalized_at, paid_at, reference
    FROM invoice LEFT JOIN invoice_payment ON invoice = id
    WHERE (id = $1 OR number = $1) AND ($2::text IS NULL OR tenant = $2)";
const LIST: &str = "SELECT id, document_type, status, number, legal_entity, tenant, period_start, period_end,
        sequence, currency, total::text AS total, document, hash, finalized_at, paid_at, reference
    FROM invoice LEFT JOIN invoice_payment ON invoice = id
    WHERE ($1::text IS NULL OR tenant = $1) AND ($2::text IS NULL OR id > $2)
    ORDER BY id LIMIT $3";

/// The invoice with that id or number; when `only` is given, of that tenant.
pub async fn get(
    pool: &Pool,
    id_or_number: &str,
    only: Option<&TenantId>,
) -> Result<Option<StoredInvoice>, StoreError> {
    let row: Option<InvoiceRow> = sqlx::query_as(GET)
        .bind(id_or_number)
        .bind(only.map(TenantId::as_str))
        .fetch_optional(pool)
        .await
        .map_err(|error| StoreError::postgres("read an invoice", &error))?;
    row.map(InvoiceRow::into_invoice).transpose()
}

/// Up to `limit` invoices by rising id, those after `after`; `only`: of that tenant.
pub async fn list(
    pool: &Pool,
    only: Option<&TenantId>,
    after: Option<&str>,
    limit: i64,
) -> Result<Vec<StoredInvoice>, StoreError> {
    let rows: Vec<InvoiceRow> = sqlx::query_as(LIST)
        .bind(only.map(TenantId::as_str))
        .bind(after)
        .bind(limit)
        .fetch_all(pool)
        .await
        .map_err(|error| StoreError::postgres("list invoices", &error))?;
    rows.into_iter().map(InvoiceRow::into_invoice).collect()
}
