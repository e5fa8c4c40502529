//! Documents and lines as files for finance: CSV (RFC 4180, UTF-8, dot decimals, no
//! thousands separators) and JSON (one array). The columns and their order are fixed.
//!
//! Decimals are exact texts, never floats. A text that a spreadsheet would take for a
//! formula gets an apostrophe before it; numbers that begin with a minus sign do not.
//! Whoever calls chooses the documents; the order is theirs: by legal entity and number.

use std::io::{self, Write};

use serde_json::{Map, Value};
use weir_backends::books::{DocumentRow, stored_invoice};
use weir_billing::{DocumentType, Invoice, InvoiceLine};

use super::BillingError;

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A header and a row each, lines ending in CRLF.
    Csv,
    /// An array of objects: whole numbers are numbers, decimals and words texts, `null` for nothing.
    Json,
}

/// Why an export was not written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A stored document could not be read.
    #[error(transparent)]
    Billing(#[from] BillingError),
    /// The output did not take it.
    #[error("the export could not be written")]
    Output(#[from] io::Error),
}

/// A cell: words are guarded against formulas, the rest stands as it is.
enum Cell {
    Words(String),
    Exact(String),
    Whole(i64),
    Nothing,
}

const INVOICE_COLUMNS: [&str; 19] = [
    "invoice_id",
    "invoice_number",
    "document_type",
    "status",
    "issue_date",
    "period_start",
    "period_end",
    "tenant_id",
    "customer_name",
    "legal_entity",
    "subscription_id",
    "currency",
    "total",
    "original_invoice_number",
    "finalized_at",
    "cut",
    "hash",
    "paid_at",
    "payment_reference",
];

const LINE_COLUMNS: [&str; 17] = [
    "invoice_number",
    "line_no",
    "meter",
    "kind",
    "description",
    "service_period_start",
    "service_period_end",
    "quantity",
    "unit",
    "event_count",
    "amount_excl_tax",
    "currency",
    "plan",
    "price_version",
    "price_hash",
    "unrounded_amount",
    "hash",
];

/// Writes one row a document.
pub fn invoices(rows: &[DocumentRow], format: Format, out: &mut impl Write) -> Result<(), ExportError> {
    let mut table = Table::begin(&INVOICE_COLUMNS, format, out)?;
    for row in rows {
        let invoice = stored_invoice(&row.document).map_err(BillingError::from)?;
        table.row(&invoice_cells(row, &invoice))?;
    }
    table.end()
}

/// Writes one row a line of each document.
pub fn lines(rows: &[DocumentRow], format: Format, out: &mut impl Write) -> Result<(), ExportError> {
    let mut table = Table::begin(&LINE_COLUMNS, format, out)?;
    for row in rows {
        let invoice = stored_invoice(&row.document).map_err(BillingError::from)?;
        for line in &invoice.lines {
            table.row(&line_cells(&invoice, line)?)?;
        }
    }
    table.end()
}

fn invoice_cells(row: &DocumentRow, invoice: &Invoice) -> [Cell; 19] {
    let at = |at: Option<weir_core::Timestamp>| at.map_or(Cell::Nothing, |at| Cell::Exact(at.to_string()));
    let original = invoice.corrects.as_ref().map(|corrected| corrected.number.to_string());
    let issued_on = invoice.issued_at.map(|at| at.to_string().chars().take(10).collect());
    let document_type = match invoice.document_type {
        DocumentType::Invoice => "invoice",
        DocumentType::Correction => "correction",
    };
    [
        Cell::Words(invoice.id.clone()),
        Cell::Words(row.number.clone()),
        Cell::Words(document_type.to_owned()),
        Cell::Words(row.status.as_str().to_owned()),
        issued_on.map_or(Cell::Nothing, Cell::Exact),
        Cell::Exact(invoice.period.start.to_string()),
        Cell::Exact(invoice.period.end.to_string()),
        Cell::Words(row.tenant.clone()),
        Cell::Words(row.tenant_name.clone()),
        Cell::Words(row.legal_entity.clone()),
        Cell::Words(row.subscription.clone()),
        Cell::Words(invoice.currency.code().to_owned()),
        Cell::Exact(invoice.total.amount.to_string()),
        original.map_or(Cell::Nothing, Cell::Words),
        at(row.finalized_at),
        Cell::Exact(invoice.cut.to_string()),
        Cell::Words(invoice.hash.clone()),
        at(row.payment.as_ref().map(|payment| payment.paid_at)),
        row.payment.as_ref().map_or(Cell::Nothing, |payment| Cell::Words(payment.reference.clone())),
    ]
}

fn line_cells(invoice: &Invoice, line: &InvoiceLine) -> Result<[Cell; 17], ExportError> {
    let json = |error: serde_json::Error| ExportError::Output(io::Error::other(error));
    let word = |value: Value| value.as_str().map(str::to_owned).unwrap_or_default();
    let kind = word(serde_json::to_value(line.kind).map_err(json)?);
    let unrounded = word(serde_json::to_value(line.unrounded_amount).map_err(json)?);
    let number = invoice.number.as_ref().map(ToString::to_string);
    Ok([
        number.map_or(Cell::Nothing, Cell::Words),
        Cell::Whole(line.line.into()),
        line.meter.as_ref().map_or(Cell::Nothing, |meter| Cell::Words(meter.to_string())),
        Cell::Words(kind),
        Cell::Words(line.description.clone()),
        Cell::Exact(line.period.start.to_string()),
        Cell::Exact(line.period.end.to_string()),
        Cell::Exact(line.quantity.to_string()),
        Cell::Words(line.unit.clone()),
        Cell::Whole(line.event_count),
        Cell::Exact(line.amount.amount.to_string()),
        Cell::Words(line.amount.currency.code().to_owned()),
        Cell::Words(line.plan.to_string()),
        Cell::Whole(line.plan_version.into()),
        Cell::Words(line.price_hash.clone()),
        Cell::Exact(unrounded),
        Cell::Words(line.hash.clone()),
    ])
}

struct Table<'a, W: Write> {
    columns: &'a [&'static str],
    format: Format,
    out: &'a mut W,
    rows: usize,
}

impl<'a, W: Write> Table<'a, W> {
    fn begin(columns: &'a [&'static str], format: Format, out: &'a mut W) -> Result<Self, ExportError> {
        match format {
            Format::Csv => write!(out, "{}\r\n", columns.join(","))?,
            Format::Json => write!(out, "[")?,
        }
        Ok(Self { columns, format, out, rows: 0 })
    }

    fn row(&mut self, cells: &[Cell]) -> Result<(), ExportError> {
        match self.format {
            Format::Csv => {
                let texts: Vec<_> = cells.iter().map(Cell::csv).collect();
                write!(self.out, "{}\r\n", texts.join(","))?;
            }
            Format::Json => {
                let members = self.columns.iter().zip(cells);
                let members: Map<String, Value> =
                    members.map(|(name, cell)| ((*name).to_owned(), cell.json())).collect();
                let comma = if self.rows == 0 { "\n" } else { ",\n" };
                write!(self.out, "{comma}{}", Value::Object(members))?;
            }
        }
        self.rows += 1;
        Ok(())
    }

    fn end(self) -> Result<(), ExportError> {
        if self.format == Format::Json {
            writeln!(self.out, "\n]")?;
        }
        self.out.flush()?;
        Ok(())
    }
}

impl Cell {
    fn csv(&self) -> String {
        let text = match self {
            Self::Nothing => return String::new(),
            Self::Exact(text) => text.clone(),
            Self::Whole(number) => number.to_string(),
            Self::Words(text) if text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) => {
                format!("'{text}")
            }
            Self::Words(text) => text.clone(),
        };
        if text.contains(['"', ',', '\r', '\n']) {
            format!("\"{}\"", text.replace('"', "\"\""))
        } else {
            text
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Nothing => Value::Null,
            Self::Whole(number) => Value::from(*number),
            Self::Words(text) | Self::Exact(text) => Value::from(text.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_and_guarded() {
        let words = |text: &str| Cell::Words(text.to_owned()).csv();
        assert_eq!(words("plain"), "plain");
        assert_eq!(words("a, \"b\""), "\"a, \"\"b\"\"\"");
        assert_eq!(words("=HYPERLINK(1)"), "'=HYPERLINK(1)");
        assert_eq!(words("@x,y"), "\"'@x,y\"");
        assert_eq!(Cell::Exact("-1.50".to_owned()).csv(), "-1.50");
        assert_eq!(Cell::Nothing.csv(), "");
    }
}
