//! The list of benches: name, what it measures, and its budgets. Which code runs is decided here
//! and nowhere else.

use anyhow::{Context, Result};

use crate::backlog::{self, Backlog};
use crate::results::Measured;

/// A bench.
#[derive(Debug)]
pub(crate) struct Bench {
    /// What it is run by.
    pub name: &'static str,
    /// What it measures.
    pub about: &'static str,
    /// What must be reached, by the name of a measurement.
    pub budgets: &'static [Budget],
    what: What,
}

/// What must be reached.
#[derive(Debug)]
pub(crate) struct Budget {
    /// The measurement.
    pub measurement: &'static str,
    /// In its unit.
    pub value: f64,
    /// Whether more is better.
    pub more: bool,
}

#[derive(Debug)]
enum What {
    Backlog(Backlog),
}

const fn at_least(measurement: &'static str, value: f64) -> Budget {
    Budget { measurement, value, more: true }
}

const fn at_most(measurement: &'static str, value: f64) -> Budget {
    Budget { measurement, value, more: false }
}

const USUAL: Backlog =
    Backlog { events: 10_000_000, tenants: 10_000, commit_interval_ms: 1_000, snapshot: false };

/// All of them, in the order of the table.
pub(crate) const ALL: &[Bench] = &[
    Bench {
        name: "backlog-10k",
        about: "Kafka to committed and projected, 10,000 active tenants, commits 1 s apart",
        budgets: &[at_least("projected", 400_000.0), at_most("CPU of weir", 2.0)],
        what: What::Backlog(USUAL),
    },
    Bench {
        name: "backlog-100k",
        about: "the same with 100,000 active tenants",
        budgets: &[at_least("projected", 350_000.0), at_most("CPU of weir", 2.0)],
        what: What::Backlog(Backlog { tenants: 100_000, ..USUAL }),
    },
    Bench {
        name: "backlog-1m",
        about: "the same with 1,000,000 active tenants",
        budgets: &[at_least("projected", 250_000.0), at_most("CPU of weir", 2.0)],
        what: What::Backlog(Backlog { tenants: 1_000_000, ..USUAL }),
    },
    Bench {
        name: "backlog-100ms",
        about: "10,000 tenants, commits 100 ms apart",
        budgets: &[],
        what: What::Backlog(Backlog { commit_interval_ms: 100, ..USUAL }),
    },
    Bench {
        name: "backlog-snapshot",
        about: "10,000 tenants, commits 1 s apart, a snapshot held open meanwhile",
        budgets: &[at_least("projected", 400_000.0 * 0.9)],
        what: What::Backlog(Backlog { snapshot: true, ..USUAL }),
    },
];

/// The benches of these names; all when there is none.
pub(crate) fn chosen(names: &[String]) -> Result<Vec<&'static Bench>> {
    if names.is_empty() {
        return Ok(ALL.iter().collect());
    }
    let find = |name: &String| {
        let found = ALL.iter().find(|bench| bench.name == name);
        found.with_context(|| format!("no bench is called {name}; `weir-bench list` names them"))
    };
    names.iter().map(find).collect()
}

/// Runs a bench once.
pub(crate) async fn run(bench: &Bench, scale: f64) -> Result<Vec<Measured>> {
    match &bench.what {
        What::Backlog(backlog) => backlog::run(backlog, scale).await,
    }
}
