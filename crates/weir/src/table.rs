//! Rows for people, machines and spreadsheets.

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{ContentArrangement, Table};
use serde_json::{Map, Value};

use crate::cli::OutputFormat;

/// Prints rows under named columns to stdout.
pub(crate) fn print(format: OutputFormat, columns: &[&str], rows: &[Vec<String>]) -> anyhow::Result<()> {
    match format {
        OutputFormat::Table => {
            let mut table = Table::new();
            table.load_style(ASCII_MARKDOWN).set_content_arrangement(ContentArrangement::Dynamic);
            table.set_header(columns.iter().copied());
            table.add_rows(rows);
            println!("{table}");
        }
        OutputFormat::Json => {
            let objects: Vec<Value> = rows
                .iter()
                .map(|row| {
                    let members = columns
                        .iter()
                        .zip(row)
                        .map(|(name, cell)| ((*name).to_owned(), Value::from(cell.clone())));
                    Value::Object(members.collect::<Map<_, _>>())
                })
                .collect();
            println!("{}", serde_json::to_string_pretty(&objects)?);
        }
        OutputFormat::Csv => {
            let mut writer = csv::Writer::from_writer(std::io::stdout());
            writer.write_record(columns)?;
            for row in rows {
                writer.write_record(row)?;
            }
            writer.flush()?;
        }
    }
    Ok(())
}
