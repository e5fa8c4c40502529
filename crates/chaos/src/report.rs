//! The table of a run.

use std::collections::BTreeMap;
use std::time::Duration;

use weir_demo::decimal::thousands;
use weir_demo::print;

use crate::round::Outcome;
use crate::watch::Seen;

/// What was seen in all rounds so far.
#[derive(Debug, Default)]
pub struct Report {
    seen: BTreeMap<String, (Seen, u64)>,
    rounds: u64,
    failed: u64,
    kills: u64,
    records: u64,
    accepted: u64,
    alerts: usize,
    documents: usize,
    again: u64,
    ended: usize,
}

impl Report {
    /// Adds a round.
    pub fn add(&mut self, outcome: &Outcome) {
        let failed = u64::from(!outcome.differences.is_empty());
        for (name, seen) in &outcome.seen {
            let (sum, failures) = self.seen.entry(name.clone()).or_default();
            sum.times += seen.times;
            sum.missed += seen.missed;
            sum.recovery_max = sum.recovery_max.max(seen.recovery_max);
            *failures += failed;
        }
        self.rounds += 1;
        self.failed += failed;
        self.kills += outcome.kills;
        self.records += outcome.records;
        self.accepted += outcome.accepted;
        self.alerts += outcome.alerts;
        self.documents += outcome.documents;
        self.again += outcome.again;
        self.ended += outcome.ended.len();
    }

    /// Processes killed so far.
    pub fn kills(&self) -> u64 {
        self.kills
    }

    /// Prints the table.
    pub fn print(&self, took: Duration) {
        print::title("Faults");
        let rows = self.seen.iter().filter(|(_, (seen, _))| seen.times > 0 || seen.missed > 0);
        let row = |(name, (seen, failures)): (&String, &(Seen, u64))| {
            let held = match failures {
                0 => "everything".to_owned(),
                count => format!("NOT in {count} rounds with it"),
            };
            let recovery = format!("{:.1} s", seen.recovery_max.as_secs_f64());
            vec![name.clone(), seen.times.to_string(), seen.missed.to_string(), held, recovery]
        };
        print::table(&["fault", ">times", ">not met", "what held", ">longest recovery"], rows.map(row));
        let number = |number: u64| thousands(&number.to_string());
        print::say(&format!(
            "\n{} rounds, {} failed, {} processes killed, in {:.0} s. {} records in the journals, {} events \
             counted,\n{} alerts, {} invoices and corrections; producers sent {} batches again; {} processes \
             ended by\nthemselves, started while a server was away, and were started again.",
            self.rounds,
            self.failed,
            number(self.kills),
            took.as_secs_f64(),
            number(self.records),
            number(self.accepted),
            self.alerts,
            self.documents,
            number(self.again),
            self.ended
        ));
        print::say(
            "Recovery: from the fault until everything was counted that stood in the journal half a second after it,\n\
             whatever else happened meanwhile.",
        );
    }
}
