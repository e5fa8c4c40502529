//! A guard against slow changes that does not depend on how busy the machine is: instructions an
//! event of the inner parts, counted by valgrind on fixed input and compared with a file that is
//! kept beside the code.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use comfy_table::{Table, presets};
use tempfile::TempDir;

use crate::micro;

/// How much more than the kept number is let through: what the hash maps' random keys and another
/// glibc or valgrind may change. Measured between runs: below half a per cent.
const TOLERANCE_PERCENT: f64 = 3.0;
/// All measured work of `weir-micro` goes through this function.
const MEASURED: &str = "*weir_micro::clock::measured*";
const HEAD: &str = "# Instructions an event (or line, or key) of the inner parts, in a release build on x86-64.\n\
    # Written by `make bench-instructions UPDATE=1`; `make bench-instructions` compares with it.\n";

/// The parts, how many units each is given, and how many ids are remembered before.
const PARTS: &[(&str, u32, u32)] = &[
    ("json", 20_000, 0),
    ("avro", 50_000, 0),
    ("hash", 50_000, 0),
    ("apply", 100_000, 0),
    ("apply-even", 100_000, 0),
    ("apply-sealed", 50_000, 200_000),
    ("deltas", 50_000, 0),
    ("rating", 20_000, 0),
    ("draft", 2_000, 0),
];

/// Counts all parts and compares, or writes the file anew.
pub(crate) fn run(baseline: &Path, update: bool) -> Result<()> {
    let folder = tempfile::tempdir().context("make a folder")?;
    let mut counted = BTreeMap::new();
    for (part, units, ids) in PARTS {
        eprintln!("{part}: {units} under valgrind");
        let total = count(&folder, part, *units, *ids).with_context(|| format!("count the part {part}"))?;
        counted.insert(*part, total / f64::from(*units));
    }
    if update {
        return write(baseline, &counted);
    }
    let kept = read(baseline)?;
    println!("{}", table(&kept, &counted));
    let worse: Vec<_> = counted.iter().filter_map(|(part, now)| worse(part, kept.get(*part), *now)).collect();
    ensure!(
        worse.is_empty(),
        "{}.\nIf that is what the change is worth, `make bench-instructions UPDATE=1` keeps the new numbers",
        worse.join(";\n")
    );
    println!(
        "No part takes more than {TOLERANCE_PERCENT} % more instructions than {} says.",
        baseline.display()
    );
    Ok(())
}

/// Instructions of one run inside the measured function.
fn count(folder: &TempDir, part: &str, units: u32, ids: u32) -> Result<f64> {
    let out = folder.path().join(part);
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", &format!("--callgrind-out-file={}", out.display())]);
    command.arg(format!("--toggle-collect={MEASURED}"));
    command.arg(micro::program()?);
    command.args(["run", part, "--units", &units.to_string(), "--ids", &ids.to_string()]);
    let ended = match command.stdin(Stdio::null()).output() {
        Ok(ended) => ended,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            bail!("valgrind is missing. Install it: apt-get install valgrind")
        }
        Err(error) => return Err(error).context("run valgrind"),
    };
    let words = String::from_utf8_lossy(&ended.stderr);
    ensure!(ended.status.success(), "valgrind ended with {}: {words}", ended.status);
    let text = fs::read_to_string(&out).context("read what valgrind counted")?;
    let total = total(&text).with_context(|| format!("valgrind counted nothing: {words}"))?;
    ensure!(total > 0.0, "no instruction was counted: is {MEASURED} still the function's name?");
    Ok(total)
}

/// The sum that stands in a file of callgrind's.
fn total(text: &str) -> Option<f64> {
    let line =
        text.lines().find_map(|line| line.strip_prefix("summary:").or(line.strip_prefix("totals:")))?;
    line.split_whitespace().next()?.parse().ok()
}

fn worse(part: &str, kept: Option<&f64>, now: f64) -> Option<String> {
    let Some(kept) = kept else { return Some(format!("{part} is not in the file")) };
    let percent = (now / kept - 1.0) * 100.0;
    (percent > TOLERANCE_PERCENT).then(|| {
        format!("{part} takes {now:.0} instructions each, {percent:.1} % more than the {kept:.0} before")
    })
}

fn table(kept: &BTreeMap<String, f64>, counted: &BTreeMap<&str, f64>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY).set_header(["part", "instructions each", "kept", "change"]);
    for (part, _, _) in PARTS {
        let Some(now) = counted.get(part) else { continue };
        let before = kept.get(*part);
        let change = before.map(|before| format!("{:+.1} %", (now / before - 1.0) * 100.0));
        let before = before.map(|before| format!("{before:.0}")).unwrap_or_default();
        table.add_row([(*part).to_owned(), format!("{now:.0}"), before, change.unwrap_or_default()]);
    }
    table
}

fn read(path: &Path) -> Result<BTreeMap<String, f64>> {
    let text = fs::read_to_string(path);
    let text = text.with_context(|| format!("read {}; UPDATE=1 writes it", path.display()))?;
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let entry = |line: &str| {
        let (part, number) = line.split_once('\t')?;
        Some((part.to_owned(), number.parse().ok()?))
    };
    lines
        .map(|line| entry(line).with_context(|| format!("{} has the line {line:?}", path.display())))
        .collect()
}

fn write(path: &Path, counted: &BTreeMap<&str, f64>) -> Result<()> {
    let mut text = HEAD.to_owned();
    for (part, _, _) in PARTS {
        if let Some(number) = counted.get(part) {
            writeln!(text, "{part}\t{number:.1}")?;
        }
    }
    fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
    println!("{} is written.", path.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_found() {
        assert_eq!(total("version: 1\nevents: Ir\nsummary: 123456\nfn=(1) main\n"), Some(123_456.0));
        assert_eq!(total("events: Ir\nfn=(1)\n1 2\ntotals: 77\n"), Some(77.0));
        assert_eq!(total("events: Ir\n"), None);
    }

    #[test]
    fn only_more_than_the_tolerance_is_worse() {
        let cases = [
            (Some(100.0), 102.9, false),
            (Some(100.0), 103.1, true),
            (Some(100.0), 50.0, false),
            (None, 1.0, true),
        ];
        for (kept, now, expected) in cases {
            assert_eq!(worse("apply", kept.as_ref(), now).is_some(), expected, "{kept:?} {now}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("instructions.tsv");
        write(&path, &BTreeMap::from([("apply", 1_234.5), ("json", 99.0)])).unwrap();
        let kept = BTreeMap::from([("apply".to_owned(), 1_234.5), ("json".to_owned(), 99.0)]);
        assert_eq!(read(&path).unwrap(), kept);
        fs::write(&path, "apply 12\n").unwrap();
        assert!(read(&path).is_err());
    }
}
