//! That an invoice was paid: recorded once, beside a document that never changes. Whole
//! documents only; it moves no money and matches no bank statements.

use chrono::{DateTime, Utc};
use serde_json::json;
use weir_core::Timestamp;

use super::audit;
use super::error::TenantError;
use crate::StoreError;
use crate::postgres::Pool;

/// The longest reference, in bytes.
pub const REFERENCE_BYTES_MAX: usize = 256;

/// A payment of a whole document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// When the money came.
    pub paid_at: Timestamp,
    /// Of the bank or the payment service.
    pub reference: String,
}

const DOCUMENT: &str = "SELECT i.id, i.status, i.tenant, p.paid_at, p.reference
    FROM invoice AS i LEFT JOIN invoice_payment AS p ON p.invoice = i.id
    WHERE i.id = $1 OR i.number = $1 FOR UPDATE OF i";
const RECORD: &str = "INSERT INTO invoice_payment (invoice, paid_at, reference, recorded_at, recorded_by)
    VALUES ($1, $2, $3, $4, $5)";
const MARK: &str = "UPDATE invoice SET status = 'paid' WHERE id = $1";

type DocumentRow = (String, String, String, Option<DateTime<Utc>>, Option<String>);

/// Records that a finalized document was paid. The same payment again changes nothing.
///
/// # Errors
/// [`TenantError::Invalid`] for a reference that is empty, too long or not printable,
/// [`TenantError::NotFound`], and [`TenantError::State`] for a document that is void or
/// has another payment.
pub async fn record(
    pool: &Pool,
    id_or_number: &str,
    payment: &Payment,
    now: Timestamp,
    actor: &str,
) -> Result<(), TenantError> {
    let failed = |error: sqlx::Error| StoreError::postgres("record a payment", &error);
    let reference = payment.reference.as_str();
    if reference.is_empty() || reference.len() > REFERENCE_BYTES_MAX || reference.contains(char::is_control) {
        let words = format!("must have 1 to {REFERENCE_BYTES_MAX} bytes and no control characters");
        return Err(TenantError::invalid("/reference", words));
    }
    let missing = || TenantError::not_found("invoice", id_or_number);
    if id_or_number.contains('\0') {
        return Err(missing());
    }
    let mut transaction = pool.begin().await.map_err(failed)?;
    let found: Option<DocumentRow> = sqlx::query_as(DOCUMENT)
        .bind(id_or_number)
        .fetch_optional(&mut *transaction)
        .await
        .map_err(failed)?;
    let (id, status, tenant, paid_at, earlier) = found.ok_or_else(missing)?;
    if let (Some(paid_at), Some(earlier)) = (paid_at, earlier) {
        let held = Payment { paid_at: paid_at.into(), reference: earlier };
        return if held == *payment { Ok(()) } else { Err(paid_before(&held)) };
    }
    if status != "finalized" {
        return Err(TenantError::State(format!("a document in the state {status} cannot be paid")));
    }
    sqlx::query(RECORD)
        .bind(&id)
        .bind(payment.paid_at.to_chrono())
        .bind(reference)
        .bind(now.to_chrono())
        .bind(actor)
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
    sqlx::query(MARK).bind(&id).execute(&mut *transaction).await.map_err(failed)?;
    let detail = json!({"invoice": id, "paid_at": payment.paid_at.to_string(), "reference": reference});
    audit::record(&mut transaction, now, actor, "invoice.paid", Some(&tenant), detail).await?;
    transaction.commit().await.map_err(failed)?;
    Ok(())
}

fn paid_before(held: &Payment) -> TenantError {
    TenantError::State(format!("it was paid at {} already (reference {:?})", held.paid_at, held.reference))
}
