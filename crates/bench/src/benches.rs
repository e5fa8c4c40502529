//! The list of benches: name, what it measures, and its budgets. Which code runs is decided here
//! and nowhere else.

use anyhow::{Result, ensure};

use crate::adversary::{self, Adversary, Sends};
use crate::backlog::{self, Backlog};
use crate::billing::{self, Billing};
use crate::day::{self, Day};
use crate::latency::{self, Latency, Rate};
use crate::micro::{self, Micro};
use crate::quota::{self, Quota};
use crate::restart::{self, Restart};
use crate::results::{Measured, Results};

/// A bench.
#[derive(Debug)]
pub(crate) struct Bench {
    /// What it is run by.
    pub name: &'static str,
    /// What it measures.
    pub about: &'static str,
    /// What must be reached, by the name of a measurement.
    pub budgets: &'static [Budget],
    /// How often it is run unless somebody says otherwise.
    pub runs: u32,
    /// Whether it takes so long that it is run only when its name is given.
    pub by_name: bool,
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
    Latency(Latency),
    Quota(Quota),
    Restart(Restart),
    Billing(Billing),
    Day(Day),
    Adversary(Adversary),
    Micro(Micro),
}

const fn at_least(measurement: &'static str, value: f64) -> Budget {
    Budget { measurement, value, more: true }
}

const fn at_most(measurement: &'static str, value: f64) -> Budget {
    Budget { measurement, value, more: false }
}

const USUAL: Backlog =
    Backlog { events: 10_000_000, tenants: 10_000, commit_interval_ms: 1_000, snapshot: false };

/// What a bad neighbour may do to others.
const ADVERSARY: &[Budget] = &[at_most("factor in other partitions", 2.0)];

/// All of them, in the order of the table.
pub(crate) const ALL: &[Bench] = &[
    Bench {
        name: "backlog-10k",
        about: "Kafka to committed and projected, 10,000 active tenants, commits 1 s apart",
        budgets: &[at_least("projected", 400_000.0), at_most("CPU of weir", 2.0)],
        runs: 3,
        by_name: false,
        what: What::Backlog(USUAL),
    },
    Bench {
        name: "backlog-100k",
        about: "the same with 100,000 active tenants",
        budgets: &[at_least("projected", 350_000.0), at_most("CPU of weir", 2.0)],
        runs: 1,
        by_name: false,
        what: What::Backlog(Backlog { tenants: 100_000, ..USUAL }),
    },
    Bench {
        name: "backlog-1m",
        about: "the same with 1,000,000 active tenants",
        budgets: &[at_least("projected", 250_000.0), at_most("CPU of weir", 2.0)],
        runs: 1,
        by_name: false,
        what: What::Backlog(Backlog { tenants: 1_000_000, ..USUAL }),
    },
    Bench {
        name: "backlog-100ms",
        about: "10,000 tenants, commits 100 ms apart",
        budgets: &[],
        runs: 1,
        by_name: false,
        what: What::Backlog(Backlog { commit_interval_ms: 100, ..USUAL }),
    },
    Bench {
        name: "backlog-snapshot",
        about: "10,000 tenants, commits 1 s apart, a snapshot held open meanwhile",
        budgets: &[at_least("projected", 400_000.0 * 0.9)],
        runs: 1,
        by_name: false,
        what: What::Backlog(Backlog { snapshot: true, ..USUAL }),
    },
    Bench {
        name: "latency-100k",
        about: "acknowledged to answered and to visible, 100,000 events/s",
        budgets: &[at_most("acknowledged to visible, p99", 1_000.0)],
        runs: 1,
        by_name: false,
        what: What::Latency(Latency { rate: Rate::Events(100_000), seconds: 60 }),
    },
    Bench {
        name: "latency-half",
        about: "the same at half of what backlog-10k has projected",
        budgets: &[
            at_most("acknowledged to visible, p99", 2_000.0),
            at_most("acknowledged to a quota answer, p99", 250.0),
        ],
        runs: 1,
        by_name: false,
        what: What::Latency(Latency { rate: Rate::HalfOf("backlog-10k"), seconds: 60 }),
    },
    Bench {
        name: "quota-answers",
        about: "quota answers over HTTP, 10,000 requests/s from another process",
        budgets: &[at_most("answer, p99", 1.0)],
        runs: 3,
        by_name: false,
        what: What::Quota(Quota { rate: 10_000, seconds: 20, events: 20_000 }),
    },
    Bench {
        name: "restart-10m",
        about: "restart after kill -9 with 10 million ids remembered",
        budgets: &[at_most("first commit, from local files", 5.0), at_most("first commit, from Kafka", 10.0)],
        runs: 1,
        by_name: false,
        what: What::Restart(Restart { ids: 10_000_000 }),
    },
    Bench {
        name: "restart-100m",
        about: "the same with 100 million (by its name alone: a quarter of an hour, 25 GB of disk)",
        budgets: &[
            at_most("first commit, from local files", 30.0),
            at_most("first commit, from Kafka", 90.0),
        ],
        runs: 1,
        by_name: true,
        what: What::Restart(Restart { ids: 100_000_000 }),
    },
    Bench {
        name: "billing",
        about: "10,000 ten-line invoices from counted events, then the proof of each",
        budgets: &[at_least("invoices written", 100_000.0 / 60.0)],
        runs: 1,
        by_name: false,
        what: What::Billing(Billing { tenants: 10_000 }),
    },
    Bench {
        name: "billing-100k",
        about: "the same with 100,000 (by its name alone: it may take half an hour)",
        budgets: &[at_most("weir bill run", 60.0)],
        runs: 1,
        by_name: true,
        what: What::Billing(Billing { tenants: 100_000 }),
    },
    Bench {
        name: "day",
        about: "24 hours of 100 events/s from 10,000 tenants, the month's invoices, 1,000 of them proved",
        budgets: &[at_least("invoices written", 100_000.0 / 60.0)],
        runs: 1,
        by_name: false,
        what: What::Day(Day { events: 8_640_000, tenants: 10_000, proved: 1_000 }),
    },
    Bench {
        name: "adversary-garbage",
        about: "a million records of garbage under one key, as fast as Kafka takes them",
        budgets: ADVERSARY,
        runs: 1,
        by_name: false,
        what: What::Adversary(Adversary { sends: Sends::Garbage, records: 1_000_000 }),
    },
    Bench {
        name: "adversary-dimensions",
        about: "one tenant with a million values of a dimension",
        budgets: ADVERSARY,
        runs: 1,
        by_name: false,
        what: What::Adversary(Adversary { sends: Sends::Dimensions, records: 1_000_000 }),
    },
    Bench {
        name: "adversary-enormous",
        about: "a record of 950 kB five times a second",
        budgets: ADVERSARY,
        runs: 1,
        by_name: false,
        what: What::Adversary(Adversary { sends: Sends::Enormous(200), records: 100 }),
    },
    Bench {
        name: "adversary-same-id",
        about: "one event a million times",
        budgets: ADVERSARY,
        runs: 1,
        by_name: false,
        what: What::Adversary(Adversary { sends: Sends::SameId, records: 1_000_000 }),
    },
    Bench {
        name: "micro-json",
        about: "CloudEvents JSON into an event",
        budgets: &[],
        runs: 3,
        by_name: false,
        what: What::Micro(Micro { part: "json", units: 2_000_000, ids: 0 }),
    },
    Bench {
        name: "micro-avro",
        about: "Avro records into a batch",
        budgets: &[],
        runs: 3,
        by_name: false,
        what: What::Micro(Micro { part: "avro", units: 5_000_000, ids: 0 }),
    },
    Bench {
        name: "micro-hash",
        about: "the three hashes of each event",
        budgets: &[],
        runs: 3,
        by_name: false,
        what: What::Micro(Micro { part: "hash", units: 5_000_000, ids: 0 }),
    },
    Bench {
        name: "micro-apply",
        about: "the shard: 10,000 tenants with shares as 1/k, 1 % duplicates",
        budgets: &[at_least("rate on one core", 2_000_000.0)],
        runs: 3,
        by_name: false,
        what: What::Micro(Micro { part: "apply", units: 5_000_000, ids: 0 }),
    },
    Bench {
        name: "micro-apply-even",
        about: "the same with the same share for each tenant",
        budgets: &[],
        runs: 3,
        by_name: false,
        what: What::Micro(Micro { part: "apply-even", units: 5_000_000, ids: 0 }),
    },
    Bench {
        name: "micro-apply-sealed",
        about: "the shard with 100 million ids over 36 days behind it, 1 % repeated from any of them",
        budgets: &[
            at_least("rate on one core", 1_000_000.0),
            at_most("memory of a sealed id", 4.0),
            at_most("memory of a hot id", 32.0),
        ],
        runs: 1,
        by_name: false,
        what: What::Micro(Micro { part: "apply-sealed", units: 2_000_000, ids: 100_000_000 }),
    },
    Bench {
        name: "micro-deltas",
        about: "what usage grew by into a batch's blob",
        budgets: &[],
        runs: 3,
        by_name: false,
        what: What::Micro(Micro { part: "deltas", units: 2_000_000, ids: 0 }),
    },
    Bench {
        name: "micro-rating",
        about: "a quantity and a price into a rounded amount, ten price models in turn",
        budgets: &[at_least("rate on one core", 1_000_000.0)],
        runs: 3,
        by_name: false,
        what: What::Micro(Micro { part: "rating", units: 5_000_000, ids: 0 }),
    },
    Bench {
        name: "micro-draft",
        about: "usage into ten-line invoices, each line and the whole hashed",
        budgets: &[],
        runs: 3,
        by_name: false,
        what: What::Micro(Micro { part: "draft", units: 1_000_000, ids: 0 }),
    },
];

/// The benches of these names; all that are not too long when there is none. A name that ends with `*` stands for all
/// that begin like it.
pub(crate) fn chosen(names: &[String]) -> Result<Vec<&'static Bench>> {
    if names.is_empty() {
        return Ok(ALL.iter().filter(|bench| !bench.by_name).collect());
    }
    let mut found = Vec::new();
    for name in names {
        let fits = |bench: &&Bench| match name.strip_suffix('*') {
            Some(beginning) => bench.name.starts_with(beginning),
            None => bench.name == name,
        };
        let before = found.len();
        found.extend(ALL.iter().filter(fits));
        ensure!(found.len() > before, "no bench is called {name}; `weir-bench list` names them");
    }
    Ok(found)
}

/// Runs a bench once.
pub(crate) async fn run(bench: &Bench, scale: f64, kept: &Results) -> Result<Vec<Measured>> {
    match &bench.what {
        What::Backlog(backlog) => backlog::run(backlog, scale).await,
        What::Latency(latency) => latency::run(latency, scale, kept).await,
        What::Quota(quota) => quota::run(quota, scale).await,
        What::Restart(restart) => restart::run(restart, scale).await,
        What::Billing(billing) => billing::run(billing, scale).await,
        What::Day(day) => day::run(day, scale).await,
        What::Adversary(adversary) => adversary::run(adversary, scale).await,
        What::Micro(micro) => micro::run(micro, scale),
    }
}
