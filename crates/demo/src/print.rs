//! How the demo speaks: titles, tables and indented texts, at most 120 columns. Results go to
//! standard output, what is being done to standard error. `NO_COLOR` is respected.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use comfy_table::{Cell, CellAlignment, ContentArrangement, LineStyle, Table, TableStyle};

/// The widest line.
const COLUMNS_MAX: u16 = 120;
/// One line below the header and none elsewhere.
const STYLE: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// Prints the title of a section.
pub fn title(text: &str) {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    match std::io::stdout().is_terminal() && !plain {
        true => println!("\n\x1b[1m{text}\x1b[0m"),
        false => println!("\n{text}"),
    }
    println!("{}", "─".repeat(text.chars().count()));
}

/// Prints a paragraph.
pub fn say(text: &str) {
    println!("{text}");
}

/// Prints a text of several lines, moved to the right. Sentences that are too long are broken;
/// rows of tables are not.
pub fn indented(text: &str) {
    for line in text.trim_end().lines() {
        for part in broken(line) {
            println!("  {part}");
        }
    }
}

/// A line in parts that fit, the later ones moved to the right.
fn broken(line: &str) -> Vec<String> {
    let width = usize::from(COLUMNS_MAX) - 2;
    let mut parts = Vec::new();
    let mut rest = line.to_owned();
    while rest.chars().count() > width && !line.starts_with('|') {
        let fits = rest.char_indices().nth(width).map_or(rest.len(), |(at, _)| at);
        let Some(at) = rest[..fits].rfind(' ').filter(|at| *at > width / 2) else { break };
        let later = format!("    {}", rest[at..].trim_start());
        rest.truncate(at);
        parts.push(std::mem::replace(&mut rest, later));
    }
    parts.push(rest);
    parts
}

/// Says what is being done now.
pub fn doing(text: &str) {
    eprintln!("… {text}");
}

/// Prints a table. Columns whose header begins with `>` are aligned to the right.
pub fn table<R: IntoIterator<Item = Vec<String>>>(header: &[&str], rows: R) {
    let mut table = Table::new();
    table.load_style(STYLE).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(COLUMNS_MAX);
    table.set_header(header.iter().map(|name| Cell::new(name.trim_start_matches('>'))));
    for (index, name) in header.iter().enumerate() {
        if let Some(column) = table.column_mut(index).filter(|_| name.starts_with('>')) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for row in rows {
        table.add_row(row);
    }
    println!("{table}");
}

/// Where time went.
#[derive(Debug)]
pub struct Stopwatch {
    begin: Instant,
    lap: Instant,
    laps: Vec<(String, Duration)>,
}

impl Default for Stopwatch {
    fn default() -> Self {
        let now = Instant::now();
        Self { begin: now, lap: now, laps: Vec::new() }
    }
}

impl Stopwatch {
    /// Ends a part.
    pub fn lap(&mut self, name: &str) -> Duration {
        let now = Instant::now();
        let took = now - self.lap;
        self.laps.push((name.to_owned(), took));
        self.lap = now;
        took
    }

    /// Prints all parts.
    pub fn print(&self) {
        let row = |name: &str, took: Duration| vec![name.to_owned(), format!("{:.2} s", took.as_secs_f64())];
        let laps = self.laps.iter().map(|(name, took)| row(name, *took));
        table(&["part", ">time"], laps.chain([row("all", self.begin.elapsed())]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_broken_at_spaces_and_tables_are_not() {
        let words = "word ".repeat(40);
        let parts = broken(words.trim_end());
        assert_eq!(parts.len(), 2);
        assert!(parts.iter().all(|part| part.chars().count() <= 118 && part.ends_with("word")));
        assert!(parts[1].starts_with("    word"));
        let row = format!("| {words}");
        assert_eq!(broken(&row), std::slice::from_ref(&row));
        assert_eq!(broken(&"x".repeat(300)), ["x".repeat(300)]);
    }
}
