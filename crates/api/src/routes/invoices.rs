//! Invoices as they were billed, and that they were paid. The document's text is passed
//! through untouched.

use axum::Json;
use axum::extract::{OriginalUri, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};
use weir_backends::tenants::documents::{self, StoredInvoice};
use weir_backends::tenants::payments::{self, Payment};
use weir_core::Timestamp;

use crate::credentials::{Caller, Scope};
use crate::extract::{JsonBody, PageQuery, PathOf, QueryOf};
use crate::problem::{Problem, ProblemBody};
use crate::state::ApiState;

/// Which invoices.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct InvoiceQuery {
    /// Of one tenant.
    tenant: Option<String>,
    /// How many items; 1 to 500, 50 unless given.
    limit: Option<u32>,
    /// Where to go on: `next_cursor` of the page before.
    cursor: Option<String>,
}

/// An amount of money.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct MoneyBody {
    /// A decimal.
    #[schema(example = "129")]
    amount: String,
    /// ISO 4217.
    #[schema(example = "EUR")]
    currency: String,
}

/// The payment of a whole document.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PaymentBody {
    /// When the money came, as RFC 3339.
    #[schema(example = "2026-11-24T09:30:00Z")]
    paid_at: String,
    /// Of the bank or the payment service.
    #[schema(example = "SEPA 2026-11-24/4711")]
    reference: String,
}

/// An invoice or a correction.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct InvoiceBody {
    /// Its id.
    id: String,
    /// `invoice` or `correction`.
    document_type: String,
    /// `finalized`, `paid` or `void`.
    status: String,
    /// Its number.
    number: String,
    /// Who billed.
    legal_entity: String,
    /// Who was billed.
    tenant: String,
    /// Start of the billing period.
    period_start: String,
    /// End of the billing period, not included.
    period_end: String,
    /// 0: the invoice; 1…: its corrections.
    sequence: i32,
    /// What is owed.
    total: MoneyBody,
    /// When it was finalized.
    finalized_at: Option<String>,
    /// How it was paid; null until then.
    payment: Option<PaymentBody>,
    /// SHA-256 of the document.
    hash: String,
    /// The document as billed, with its lines.
    #[schema(value_type = Object)]
    document: Option<Box<RawValue>>,
}

/// A page of invoices.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct InvoicePage {
    /// By rising id.
    items: Vec<InvoiceBody>,
    /// Of the next page; null on the last one.
    next_cursor: Option<String>,
}

impl From<StoredInvoice> for InvoiceBody {
    fn from(invoice: StoredInvoice) -> Self {
        Self {
            id: invoice.id,
            document_type: invoice.document_type,
            status: invoice.status,
            number: invoice.number,
            legal_entity: invoice.legal_entity,
            tenant: invoice.tenant,
            period_start: invoice.period.start.to_string(),
            period_end: invoice.period.end.to_string(),
            sequence: invoice.sequence,
            total: MoneyBody { amount: invoice.total.to_string(), currency: invoice.currency },
            finalized_at: invoice.finalized_at.map(|at| at.to_string()),
            payment: invoice.payment.map(|payment| PaymentBody {
                paid_at: payment.paid_at.to_string(),
                reference: payment.reference,
            }),
            hash: invoice.hash,
            document: RawValue::from_string(invoice.document).ok(),
        }
    }
}

/// List invoices and corrections.
#[utoipa::path(
    get, path = "/api/v1/invoices", tag = "invoices", operation_id = "listInvoices", params(InvoiceQuery),
    responses((status = 200, body = InvoicePage))
)]
pub async fn list(
    State(state): State<ApiState>,
    caller: Caller,
    OriginalUri(uri): OriginalUri,
    QueryOf(query): QueryOf<InvoiceQuery>,
) -> Result<Response, Problem> {
    caller.require(Scope::InvoicesRead)?;
    let only = caller.narrow(query.tenant.as_deref())?;
    let page = PageQuery { limit: query.limit, cursor: query.cursor }.read()?;
    let after = page.after.as_deref();
    let found = documents::list(&state.pool, only.as_ref(), after, page.fetch()).await?;
    Ok(page.answer(&uri, found, |invoice| invoice.id.clone(), InvoiceBody::from))
}

/// Read an invoice by its id or its number.
#[utoipa::path(
    get, path = "/api/v1/invoices/{id}", tag = "invoices", operation_id = "getInvoice",
    params(("id" = String, Path, description = "Id or number")),
    responses((status = 200, body = InvoiceBody), (status = 404, body = ProblemBody, content_type = "application/problem+json"))
)]
pub async fn get(
    State(state): State<ApiState>,
    caller: Caller,
    PathOf(id): PathOf<String>,
) -> Result<Json<InvoiceBody>, Problem> {
    caller.require(Scope::InvoicesRead)?;
    let missing = || Problem::not_found("invoice", &id);
    if id.contains('\0') {
        return Err(missing());
    }
    let found = documents::get(&state.pool, &id, caller.tenant.as_ref()).await?.ok_or_else(missing)?;
    Ok(Json(found.into()))
}

/// Record that a document was paid. The same payment again changes nothing.
#[utoipa::path(
    put, path = "/api/v1/invoices/{id}/payment", tag = "invoices", operation_id = "putInvoicePayment",
    request_body = PaymentBody,
    params(("id" = String, Path, description = "Id or number")),
    responses(
        (status = 200, body = InvoiceBody),
        (status = 404, body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, body = ProblemBody, content_type = "application/problem+json", description = "Void, or paid otherwise before"),
        (status = 422, body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn put_payment(
    State(state): State<ApiState>,
    caller: Caller,
    PathOf(id): PathOf<String>,
    JsonBody(input): JsonBody<PaymentBody>,
) -> Result<Json<InvoiceBody>, Problem> {
    caller.require(Scope::InvoicesWrite)?;
    caller.require_platform()?;
    let paid_at =
        Timestamp::parse(&input.paid_at).map_err(|error| Problem::invalid("/paid_at", error.to_string()))?;
    let payment = Payment { paid_at, reference: input.reference };
    payments::record(&state.pool, &id, &payment, state.now(), &caller.key).await?;
    let found = documents::get(&state.pool, &id, None).await?;
    Ok(Json(found.ok_or_else(|| Problem::not_found("invoice", &id))?.into()))
}
