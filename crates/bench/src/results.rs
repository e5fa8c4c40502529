//! What was measured, in one JSON file: by bench, one entry for each measurement with the values of
//! all runs. A bench that is run again replaces its own entries and leaves the others.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::machine::Machine;

/// One measured value.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    /// What.
    pub name: String,
    /// In which unit.
    pub unit: &'static str,
    /// How much.
    pub value: f64,
}

impl Measured {
    /// A value.
    pub(crate) fn new(name: impl Into<String>, unit: &'static str, value: f64) -> Self {
        Self { name: name.into(), unit, value }
    }
}

/// Everything that was measured.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Results {
    /// By the bench's name.
    pub benches: BTreeMap<String, Entry>,
}

/// What one bench measured.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// On what.
    pub machine: Machine,
    /// In the order in which they were measured.
    pub measurements: Vec<Series>,
}

/// The values of one measurement.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Series {
    /// What.
    pub name: String,
    /// In which unit.
    pub unit: String,
    /// One for each run.
    pub values: Vec<f64>,
}

impl Series {
    /// The middle value, or the mean of the two in the middle.
    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        match (sorted.len() / 2, sorted.len() % 2) {
            (0, 0) => 0.0,
            (middle, 1) => sorted[middle],
            (middle, _) => f64::midpoint(sorted[middle - 1], sorted[middle]),
        }
    }

    /// The smallest and the largest value.
    pub(crate) fn range(&self) -> (f64, f64) {
        let smallest = self.values.iter().copied().fold(f64::INFINITY, f64::min);
        (smallest, self.values.iter().copied().fold(f64::NEG_INFINITY, f64::max))
    }
}

impl Results {
    /// Reads the file; nothing was measured when it is not there.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} holds no results", path.display()))
    }

    /// Writes the file.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).context("write results")?;
        fs::write(path, text + "\n").with_context(|| format!("write {}", path.display()))
    }

    /// The middle value of a measurement.
    pub(crate) fn median(&self, bench: &str, name: &str) -> Option<f64> {
        let series = self.benches.get(bench)?.measurements.iter().find(|series| series.name == name)?;
        Some(series.median())
    }

    /// Adds a run; the first one replaces what was measured before.
    pub(crate) fn keep(&mut self, bench: &str, run: u32, measured: Vec<Measured>) {
        let entry = self.benches.entry(bench.to_owned()).or_default();
        if run == 1 {
            *entry = Entry { machine: Machine::this(), measurements: Vec::new() };
        }
        for one in measured {
            match entry.measurements.iter_mut().find(|series| series.name == one.name) {
                Some(series) => series.values.push(one.value),
                None => entry.measurements.push(Series {
                    name: one.name,
                    unit: one.unit.to_owned(),
                    values: vec![one.value],
                }),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        let cases: &[(&[f64], f64)] =
            &[(&[], 0.0), (&[3.0], 3.0), (&[9.0, 1.0, 2.0], 2.0), (&[4.0, 2.0], 3.0)];
        for (values, expected) in cases {
            let series = Series { name: String::new(), unit: String::new(), values: values.to_vec() };
            assert!((series.median() - expected).abs() < 1e-9, "{values:?}");
        }
    }

    #[test]
    fn a_first_run_replaces_what_was_there() {
        let mut results = Results::default();
        for (run, value) in [(1, 1.0), (2, 2.0), (1, 5.0)] {
            results.keep("one", run, vec![Measured::new("rate", "events/s", value)]);
        }
        assert_eq!(results.benches["one"].measurements[0].values, [5.0]);
    }
}
