//! The inner parts by themselves: `weir-micro` beside this program, which sees them from within.
//! This one only asks it and keeps what it says.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::results::Measured;

/// A part, and how much it is given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Micro {
    /// The part's name.
    pub part: &'static str,
    /// Events or lines at scale 1.
    pub units: u32,
    /// Event ids remembered before, at scale 1.
    pub ids: u32,
}

/// Units in which `weir-micro` may answer.
const UNITS: &[&str] = &[
    "ns/event",
    "events/s",
    "ns/line",
    "lines/s",
    "ns/key",
    "keys/s",
    "keys/event",
    "bytes/key",
    "bytes",
    "ids",
];

/// Runs it once.
pub(crate) fn run(micro: &Micro, scale: f64) -> Result<Vec<Measured>> {
    let program = program()?;
    let scaled = |count: u32| format!("{:.0}", (f64::from(count) * scale).ceil());
    let mut command = Command::new(&program);
    command.args(["run", micro.part, "--units", &scaled(micro.units), "--ids", &scaled(micro.ids)]);
    let output = command.output().context("run weir-micro")?;
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "weir-micro run {} ended with {}: {words}", micro.part, output.status);
    String::from_utf8_lossy(&output.stdout).lines().map(read).collect()
}

/// The program beside this one.
pub(crate) fn program() -> Result<PathBuf> {
    let program = std::env::current_exe().context("find this program")?.with_file_name("weir-micro");
    ensure!(program.is_file(), "{} is missing: `make bench` builds it", program.display());
    Ok(program)
}

/// A line of what it prints: name, unit, value, parted by tabs.
fn read(line: &str) -> Result<Measured> {
    let mut parts = line.split('\t');
    let mut next = || parts.next().with_context(|| format!("weir-micro said {line:?}"));
    let (name, unit, value) = (next()?, next()?, next()?);
    let unit = UNITS.iter().find(|known| **known == unit);
    let unit = unit.with_context(|| format!("weir-micro said {line:?}, a unit that nobody knows"))?;
    Ok(Measured::new(name, unit, value.parse().with_context(|| format!("weir-micro said {line:?}"))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read() {
        let found = read("rate on one core\tevents/s\t1234.5").unwrap();
        assert_eq!((found.name.as_str(), found.unit), ("rate on one core", "events/s"));
        assert!((found.value - 1234.5).abs() < 1e-9);
        for bad in ["", "rate", "rate\tevents/s", "rate\tfurlongs\t1", "rate\tevents/s\tmany"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
