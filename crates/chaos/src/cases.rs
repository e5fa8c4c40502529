//! The failure table, row by row: each a case that can be run alone. Where a test beside the code is
//! the case already, its command stands here instead of a second one.

use local_stack::{Kind, Moment};

use crate::fault::{Between, Fault, POINTS};

/// How a case is run.
#[derive(Clone, Debug)]
pub enum Way {
    /// `weir-chaos case NAME`: load, and these faults in turn.
    Here(Vec<Fault>),
    /// Another command.
    Test(&'static str),
}

/// A row.
#[derive(Clone, Debug)]
pub struct Case {
    /// By which it is run.
    pub name: &'static str,
    /// What happens, in the words of the failure table.
    pub what: &'static str,
    /// How.
    pub way: Way,
}

/// All rows.
pub fn all() -> Vec<Case> {
    let killed_at = |between: &[Between]| {
        let points = POINTS.iter().filter(|point| between.contains(&point.between));
        points.map(|point| Fault::KillAt(*point)).collect::<Vec<_>>()
    };
    let moments = [Moment::BeforeRequest, Moment::AfterRequest, Moment::BeforeAnswer];
    let here = |name, what, faults| Case { name, what, way: Way::Here(faults) };
    let test = |name, what, command| Case { name, what, way: Way::Test(command) };
    let steps = killed_at(&[Between::Postgres, Between::ClickHouse]);
    let mut cases = vec![
        here("killed", "killed at any moment", vec![Fault::Kill, Fault::KillAll]),
        here("killed-at-steps", "killed before, during or after any step of a batch", steps),
        here("killed-at-webhook", "killed after a webhook was received", vec![Fault::KillAtWebhook]),
        here("frozen", "owner frozen past the session timeout, then woken", vec![Fault::Freeze]),
        test(
            "frozen-in-transaction",
            "owner frozen inside its transaction, then woken",
            "cargo test -p weir-pipeline --test counting an_owner",
        ),
        here(
            "commit-answer-lost",
            "the connection drops while COMMIT is answered",
            moments.map(Fault::Cut).to_vec(),
        ),
        here("connections-cut", "all connections to Postgres drop", vec![Fault::CutAll]),
        here(
            "moved",
            "partitions move while events flow",
            vec![Fault::Move { killed: false }, Fault::Move { killed: true }],
        ),
        here("ledger-restored", "ledger restored to some batches ago", vec![Fault::LedgerRestored]),
        test(
            "tenant-lost",
            "the same, with a tenant created in the lost part",
            "cargo test -p weir-pipeline --test counting a_ledger_restored",
        ),
        test(
            "numbers-ahead",
            "the same, with invoice numbers that left the house",
            "cargo test -p weir-pipeline --test billing a_counter_behind",
        ),
        here(
            "clickhouse-down",
            "ClickHouse down, and a restart meanwhile",
            vec![Fault::Server(Kind::ClickHouse), Fault::Kill],
        ),
        here("clickhouse-lost", "ClickHouse dropped", vec![Fault::ClickHouseLost]),
        here("postgres-down", "Postgres down", vec![Fault::Server(Kind::Postgres), Fault::Kill]),
        test(
            "long-snapshot",
            "a long snapshot under load (only that it stays right)",
            "cargo test -p weir-pipeline --test counting a_backlog_is_counted",
        ),
        here("kafka-down", "Kafka down", vec![Fault::Server(Kind::Kafka), Fault::Kill]),
    ];
    for (name, what, kind) in [
        ("disk-full-kafka", "the disk of Kafka is full", Kind::Kafka),
        ("disk-full-postgres", "the disk of Postgres is full", Kind::Postgres),
        ("disk-full-clickhouse", "the disk of ClickHouse is full", Kind::ClickHouse),
    ] {
        cases.push(here(name, what, vec![Fault::DiskFull(kind)]));
    }
    cases.extend([
        test(
            "topic-changed",
            "topic recreated, trimmed, compacted, widened, at start",
            "cargo test -p weir-pipeline --test counting topics::",
        ),
        test(
            "topic-changed-running",
            "the same while running",
            "cargo test -p weir-pipeline --test counting while_running::a_topic",
        ),
        test(
            "topic-widened",
            "topic and ledger widened under load, also after a restoration",
            "cargo test -p weir-pipeline --test counting widened::",
        ),
        test(
            "clock",
            "broker time far ahead; the last record an aborted transaction",
            "cargo test -p weir-pipeline --test counting time::",
        ),
        test(
            "future-and-copies",
            "events stamped in the future; copies with another `time`; broker time steps back",
            "cargo test -p weir-metering",
        ),
    ]);
    cases.extend([
        here(
            "input",
            "malformed, late, future, NUL; same id, other payload; another partitioner",
            Vec::new(),
        ),
        test(
            "store-refuses",
            "a store refuses the data itself",
            "cargo test -p weir-pipeline --test counting refusals::",
        ),
        test(
            "late-event",
            "a late event after finalization",
            "cargo test -p weir-pipeline --test billing a_late_event",
        ),
        test(
            "two-billing-runs",
            "two billing runs at once",
            "cargo test -p weir-pipeline --test billing two_runs_at_once",
        ),
        here("billing-killed", "a billing run killed half way", killed_at(&[Between::Billing])),
        test(
            "many-series",
            "a million different dimension values (with a lower bound)",
            "cargo test -p weir-metering series_past_the_bound",
        ),
    ]);
    cases
}

/// The case of that name.
pub fn of(name: &str) -> Option<Case> {
    all().into_iter().find(|case| case.name == name)
}

/// Servers that need a small disk of their own for these faults.
pub fn own_disks(faults: &[Fault]) -> Vec<Kind> {
    let disk = |fault: &Fault| match fault {
        Fault::DiskFull(kind) => Some(*kind),
        _ => None,
    };
    faults.iter().filter_map(disk).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = all().iter().map(|case| case.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
