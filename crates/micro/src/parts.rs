//! The list of parts: name, what each does, and the function that measures it.

use anyhow::{Context, Result};

use crate::clock::Stopwatch;
use crate::{counting, decoding, money, sealed};

/// How much a part is given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// Events, or lines of invoices.
    pub units: u64,
    /// Event ids that are remembered before it begins.
    pub ids: u64,
}

/// What was measured: name, unit, value.
pub(crate) type Line = (&'static str, &'static str, f64);

/// A part.
#[derive(Debug)]
pub(crate) struct Part {
    /// What it is run by.
    pub name: &'static str,
    /// What it does.
    pub about: &'static str,
    run: fn(Size) -> Result<Vec<Line>>,
}

impl Part {
    /// Measures it.
    pub(crate) fn run(&self, size: Size) -> Result<Vec<Line>> {
        (self.run)(size)
    }
}

/// All of them, in the order in which an event meets them.
pub(crate) const ALL: &[Part] = &[
    Part { name: "json", about: "CloudEvents JSON into an event", run: decoding::json },
    Part { name: "avro", about: "Avro records into a batch", run: decoding::avro },
    Part { name: "hash", about: "the three hashes of each event of a batch", run: decoding::hash },
    Part { name: "apply", about: "the shard, tenants' shares as 1/k", run: counting::apply_skewed },
    Part { name: "apply-even", about: "the shard, tenants' shares all the same", run: counting::apply_even },
    Part { name: "apply-sealed", about: "the shard with ids in sealed files", run: sealed::apply },
    Part { name: "deltas", about: "what usage grew by into a batch's blob", run: counting::deltas },
    Part { name: "rating", about: "a quantity and a price into a rounded amount", run: money::rating },
    Part { name: "draft", about: "usage into ten-line invoices with hashes", run: money::draft },
];

/// The part of this name.
pub(crate) fn find(name: &str) -> Result<&'static Part> {
    let found = ALL.iter().find(|part| part.name == name);
    found.with_context(|| format!("no part is called {name}; `weir-micro list` names them"))
}

/// Nanoseconds for each and how many a second, under the name of what there are many of.
pub(crate) fn speed(watch: &Stopwatch, units: f64, names: [&'static str; 3]) -> Vec<Line> {
    let [name, each, rate] = names;
    vec![
        (name, each, watch.nanoseconds() / units),
        (rate_name(name), rate, units * 1e9 / watch.nanoseconds()),
    ]
}

/// What the rate of a measurement is called.
fn rate_name(name: &'static str) -> &'static str {
    match name {
        "processor time" => "rate on one core",
        other => other,
    }
}
