//! Rows for people, machines and spreadsheets.

use std::fmt;

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{ContentArrangement, Table};
use serde_json::{Map, Value};

use crate::cli::OutputFormat;
use crate::out;

/// One value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cell {
    /// A whole number; a number in JSON.
    Number(i128),
    /// Words, instants, decimals; a text in JSON.
    Text(String),
}

impl From<i32> for Cell {
    fn from(number: i32) -> Self {
        Self::Number(number.into())
    }
}

impl From<i64> for Cell {
    fn from(number: i64) -> Self {
        Self::Number(number.into())
    }
}

impl From<u64> for Cell {
    fn from(number: u64) -> Self {
        Self::Number(number.into())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl Cell {
    fn json(&self) -> Value {
        let number = |number: i128| {
            i64::try_from(number).map(Value::from).or_else(|_| u64::try_from(number).map(Value::from))
        };
        match self {
            Self::Number(whole) => number(*whole).unwrap_or_else(|_| Value::from(whole.to_string())),
            Self::Text(text) => Value::from(text.as_str()),
        }
    }
}

/// Prints rows under named columns to stdout.
pub(crate) fn print(format: OutputFormat, columns: &[&str], rows: &[Vec<Cell>]) -> anyhow::Result<()> {
    match format {
        OutputFormat::Table => {
            let mut table = Table::new();
            table.load_style(ASCII_MARKDOWN).set_content_arrangement(ContentArrangement::Dynamic);
            table.set_header(columns.iter().copied());
            table.add_rows(rows);
            out::line(table)?;
        }
        OutputFormat::Json => {
            let objects: Vec<Value> = rows
                .iter()
                .map(|row| {
                    let members =
                        columns.iter().zip(row).map(|(name, cell)| ((*name).to_owned(), cell.json()));
                    Value::Object(members.collect::<Map<_, _>>())
                })
                .collect();
            out::line(serde_json::to_string_pretty(&objects)?)?;
        }
        OutputFormat::Csv => {
            let mut writer = csv::Writer::from_writer(Vec::new());
            writer.write_record(columns)?;
            for row in rows {
                writer.write_record(row.iter().map(ToString::to_string))?;
            }
            out::bytes(&writer.into_inner()?)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_numbers_in_json_and_texts_stay_texts() {
        let cells = [Cell::from(-1_i64), Cell::from(u64::MAX), Cell::from("7".to_owned())];
        let json: Vec<String> = cells.iter().map(|cell| cell.json().to_string()).collect();
        assert_eq!(json, ["-1", "18446744073709551615", "\"7\""]);
    }
}
