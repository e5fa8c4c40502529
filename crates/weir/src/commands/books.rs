//! `weir bill`, `weir invoice`, `weir verify`, `weir export`: the money side.

use anyhow::{Context, bail};
use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};
use weir_backends::books::{self, DocumentRow, Selection};
use weir_backends::postgres::Pool;
use weir_backends::tenants::payments::{self, Payment};
use weir_billing::invoice::{Invoice as Document, InvoiceLine};
use weir_core::{Money, Timestamp};
use weir_pipeline::billing::{self, Outcome, Which, export};

use crate::cli::{Bill, Export, ExportFormat, Exported, Invoice, Output, OutputFormat, Verify};
use crate::config::Config;
use crate::out;
use crate::waiting::Waiting;

use super::{Answer, known_tenant_if, ledger_pool, now};

/// `weir bill`.
pub(crate) async fn bill(config: &Config, command: &Bill) -> anyhow::Result<bool> {
    match command {
        Bill::Run { tenant } => run(config, tenant.as_deref()).await,
        Bill::Retell => {
            let numbers = books::retell_numbers(&ledger_pool(config).await?).await?;
            let numbers = out::counted(numbers, "number");
            eprintln!("{numbers} will be told again by `weir serve` (role delivery).");
            Ok(true)
        }
    }
}

async fn run(config: &Config, tenant: Option<&str>) -> anyhow::Result<bool> {
    if !config.ledger.single_node {
        eprintln!(
            "weir: note: invoice numbers leave the house; without a synchronous standby set ledger.single_node = true to say so"
        );
    }
    let pool = ledger_pool(config).await?;
    let only = known_tenant_if(&pool, tenant).await?;
    let last = billing::numbers_in_topic(&pool, &config.kafka).await?;
    let report = billing::run(&pool, &config.billing, &last, now(), only, &Waiting::begin()).await?;
    out::line(&report)?;
    Ok(report.ok())
}

/// `weir invoice`.
pub(crate) async fn invoice(config: &Config, command: &Invoice) -> anyhow::Result<bool> {
    let pool = ledger_pool(config).await?;
    match command {
        Invoice::Show { number, output } => show(&pool, number, *output).await,
        Invoice::Paid { number, at, reference } => {
            let paid_at = Timestamp::parse(at).context("--at is a time such as 2026-11-24T09:30:00Z")?;
            let payment = Payment { paid_at, reference: reference.clone() };
            payments::record(&pool, number, &payment, now(), "cli").await?;
            eprintln!("{number} is recorded as paid at {paid_at} ({reference}).");
            Ok(true)
        }
    }
}

async fn show(pool: &Pool, number: &str, output: Output) -> anyhow::Result<bool> {
    let selection = Selection { number: Some(number.to_owned()), ..Selection::default() };
    let Some(row) = books::documents(pool, &selection).await?.into_iter().next() else {
        bail!("there is no finalized document {number}; `weir export invoices` lists them");
    };
    match output.output {
        OutputFormat::Json => out::line(&row.document)?,
        OutputFormat::Csv => {
            bail!("an invoice is shown as a table or as JSON; `weir export lines --format csv` has rows")
        }
        OutputFormat::Table => print_invoice(&row)?,
    }
    Ok(true)
}

fn print_invoice(row: &DocumentRow) -> anyhow::Result<()> {
    let document: Document = books::stored_invoice(&row.document)?;
    let title = match &document.corrects {
        Some(corrected) => {
            format!("Correction {} of {}", row.number, corrected.number)
        }
        None => format!("Invoice {}", row.number),
    };
    let mut lines = vec![
        title,
        format!("  issued by    {} ({})", row.legal_entity_name, row.legal_entity),
        format!("  billed to    {} ({})", row.tenant_name, row.tenant),
        format!("  period       {} to {} ({})", document.period.start, document.period.end, document.zone),
    ];
    lines.extend(document.issued_at.map(|issued_at| format!("  issued at    {issued_at}")));
    lines.extend([
        match &row.payment {
            Some(payment) => format!("  paid at      {} ({})", payment.paid_at, payment.reference),
            None => "  paid at      not paid".to_owned(),
        },
        format!("  events below {} (generation/partition/offset)", document.cut),
        lines_table(&document).to_string(),
        format!("  total        {}", document.total),
        format!("  hash         {}", document.hash),
    ]);
    out::line(lines.join("\n"))
}

/// The lines. Those of a correction say what the usage costs now, what was billed for it so
/// far, and the difference, which is what they bill.
fn lines_table(document: &Document) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    if document.corrects.is_some() {
        let amounts = ["rate now", "billed so far", "difference"];
        table.set_header(
            ["", "what", "quantity +/-", "unit", "events +/-", "price"].into_iter().chain(amounts),
        );
    } else {
        table.set_header(["", "what", "quantity", "unit", "events", "price", "unrounded", "amount"]);
    }
    for line in &document.lines {
        table.add_row(line_cells(line, document.corrects.is_some()));
    }
    for column in [2, 4, 6, 7, 8] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn line_cells(line: &InvoiceLine, is_correction: bool) -> Vec<String> {
    let mut cells = vec![
        line.line.to_string(),
        line.description.clone(),
        line.quantity.to_string(),
        line.unit.clone(),
        line.event_count.to_string(),
        format!("{} v{}", line.plan, line.plan_version),
    ];
    if is_correction {
        let billed = line.previously_billed.unwrap_or_else(|| Money::zero(line.amount.currency));
        let now = line.amount.checked_add(billed).map(|now| now.amount.to_string()).unwrap_or_default();
        cells.extend([now, billed.amount.to_string()]);
    } else {
        cells.push(line.unrounded_amount.to_string());
    }
    cells.push(line.amount.to_string());
    cells
}

/// `weir verify`.
pub(crate) async fn verify(config: &Config, asked: &Verify) -> anyhow::Result<Answer> {
    let pool = ledger_pool(config).await?;
    let which = if asked.all { Which::All } else { Which::Numbers(asked.invoice.clone()) };
    let waiting = Waiting::begin();
    let report = if asked.ledger_only {
        billing::verify_ledger_only(&pool, which, &waiting).await?
    } else {
        billing::verify(&pool, &config.clickhouse, which, &waiting).await?
    };
    drop(waiting);
    out::line(&report)?;
    if report.outcome() != Outcome::Proved && config.archive.url.is_none() {
        eprintln!(
            "weir: note: there is no archive (archive.url): raw events that ClickHouse lacks can be written again only as far back as Kafka reaches"
        );
    }
    Ok(match report.outcome() {
        Outcome::Proved => Answer::Yes,
        Outcome::Differs => Answer::No,
        Outcome::Unproved => {
            eprintln!(
                "weir: not everything could be proved from raw events; --ledger-only does without them"
            );
            Answer::Open
        }
    })
}

/// `weir export`.
pub(crate) async fn export(config: &Config, what: &Export) -> anyhow::Result<bool> {
    let pool = ledger_pool(config).await?;
    let tenant = known_tenant_if(&pool, what.tenant.as_deref()).await?;
    let selection = Selection { tenant, ..Selection::default() };
    let format = match what.format {
        ExportFormat::Csv => export::Format::Csv,
        ExportFormat::Json => export::Format::Json,
    };
    let documents = books::documents(&pool, &selection).await?;
    let mut exported = Vec::new();
    match what.what {
        Exported::Invoices => export::invoices(&documents, format, &mut exported)?,
        Exported::Lines => export::lines(&documents, format, &mut exported)?,
    }
    out::bytes(&exported)?;
    Ok(true)
}
