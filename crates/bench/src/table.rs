//! The results as a table: budget, measured, ratio.

use comfy_table::{Table, TableStyle, presets};

use crate::benches::{self, Bench};
use crate::results::{Results, Series};

const COLUMNS: [&str; 6] = ["bench", "measurement", "budget", "median", "spread", "reached"];

/// For a terminal.
pub(crate) fn text(results: &Results) -> String {
    table(results, presets::UTF8_BORDERS_ONLY).to_string()
}

/// The document that stands in `docs/`.
pub(crate) fn markdown(results: &Results) -> String {
    let machines: Vec<_> = results.benches.values().map(|entry| &entry.machine).collect();
    let on = machines.first().map_or(String::new(), |machine| {
        format!(
            "{} cores ({}), {} GiB, Linux {}",
            machine.cores, machine.processor, machine.memory_gib, machine.kernel
        )
    });
    format!(
        "# Benchmarks\nMade by `make bench` (`weir-bench table --markdown`) from `docs/benchmarks.json`; not \
         written by hand.\n\nMachine: {on}. All servers and the load run on it too.\n\n{}\n\n{METHOD}\n",
        table(results, presets::ASCII_MARKDOWN)
    )
}

const METHOD: &str = include_str!("method.md");

fn table(results: &Results, style: TableStyle) -> Table {
    let mut table = Table::new();
    table.load_style(style).set_header(COLUMNS);
    for bench in benches::ALL {
        let Some(entry) = results.benches.get(bench.name) else { continue };
        for series in &entry.measurements {
            table.add_row(row(bench, series));
        }
    }
    table
}

fn row(bench: &Bench, series: &Series) -> [String; 6] {
    let budget = bench.budgets.iter().find(|budget| budget.measurement == series.name);
    let median = series.median();
    let (smallest, largest) = series.range();
    let unit = &series.unit;
    let reached = budget.map(|budget| {
        let ratio = if budget.more { median / budget.value } else { budget.value / median };
        format!("{:.0} %", ratio * 100.0)
    });
    let wanted = budget.map(|budget| {
        let bound = if budget.more { "at least" } else { "at most" };
        format!("{bound} {}", number(budget.value))
    });
    [
        bench.name.to_owned(),
        series.name.clone(),
        wanted.unwrap_or_default(),
        format!("{} {unit}", number(median)),
        format!("{} to {} ({} runs)", number(smallest), number(largest), series.values.len()),
        reached.unwrap_or_default(),
    ]
}

/// Three digits that mean something, thousands parted by commas.
fn number(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    let text = format!("{value:.digits$}");
    let (whole, rest) = text.split_once('.').unwrap_or((&text, ""));
    let mut out = String::new();
    for (at, digit) in whole.chars().enumerate() {
        let left = whole.len() - at;
        if at > 0 && left.is_multiple_of(3) && !out.ends_with('-') {
            out.push(',');
        }
        out.push(digit);
    }
    if rest.is_empty() { out } else { format!("{out}.{rest}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let cases = [
            (0.123, "0.12"),
            (12.34, "12.3"),
            (1_234_567.8, "1,234,568"),
            (-1_000.0, "-1,000"),
            (-100.0, "-100"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
    }
}
