//! What can be done to a Weir, and the named points at which a process is killed. Values only.
//!
//! A point is bytes of a request and a moment of it, seen by the proxy between the process and its
//! server; no hook in the product is needed. SQL text passes once for each new connection, so the
//! points of prepared statements are met soon after a start; the commit's is in every request.

use local_stack::{Kind, Moment};

/// Where the bytes of a point pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Between {
    /// A member and Postgres.
    Postgres,
    /// A member and ClickHouse.
    ClickHouse,
    /// `weir bill run` and Postgres.
    Billing,
}

/// A named point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// For people.
    pub name: &'static str,
    /// Who is watched.
    pub between: Between,
    /// What the request holds.
    pub marker: &'static str,
    /// Which moment of it.
    pub moment: Moment,
}

/// Only a commit's request holds it: the version of the code that judged the batch.
pub const COMMIT: &str = concat!("weir ", env!("CARGO_PKG_VERSION"));

const fn at(name: &'static str, between: Between, marker: &'static str, moment: Moment) -> Point {
    Point { name, between, marker, moment }
}

const TAKE: &str = "UPDATE journal_partition SET owner = $2";
const FOLD: &str = "UPDATE journal_partition SET folded_to = $4";
const EVENTS: &str = "INSERT+INTO+events_raw+";
const ROLLUPS: &str = "INSERT+INTO+%60usage_hourly_raw%60";
const PROJECTED: &str = "SET projected_to = done.projected_to";
const ROLLED: &str = "UPDATE journal_partition SET rolled_to = $4";

/// All named points, in the order of a batch's life.
pub const POINTS: &[Point] = &[
    at("before a partition is taken", Between::Postgres, TAKE, Moment::BeforeRequest),
    at("while a partition is taken", Between::Postgres, TAKE, Moment::AfterRequest),
    at("partition taken, answer lost", Between::Postgres, TAKE, Moment::BeforeAnswer),
    at("before COMMIT's request", Between::Postgres, COMMIT, Moment::BeforeRequest),
    at("COMMIT sent, perhaps not begun", Between::Postgres, COMMIT, Moment::AfterRequest),
    at("COMMIT applied, answer lost", Between::Postgres, COMMIT, Moment::BeforeAnswer),
    at("before the insert of events", Between::ClickHouse, EVENTS, Moment::BeforeRequest),
    at("inside the insert of events", Between::ClickHouse, EVENTS, Moment::AfterRequest),
    at("events inserted, answer lost", Between::ClickHouse, EVENTS, Moment::BeforeAnswer),
    at("before projected_to moves", Between::Postgres, PROJECTED, Moment::BeforeRequest),
    at("projected_to moved, answer lost", Between::Postgres, PROJECTED, Moment::BeforeAnswer),
    at("fold: before usage rows", Between::Postgres, "INSERT INTO usage AS u", Moment::BeforeRequest),
    at("fold: usage rows written, not committed", Between::Postgres, FOLD, Moment::BeforeRequest),
    at("fold: folded_to written, not committed", Between::Postgres, FOLD, Moment::BeforeAnswer),
    at("before the insert of rollups", Between::ClickHouse, ROLLUPS, Moment::BeforeRequest),
    at("rollups inserted, answer lost", Between::ClickHouse, ROLLUPS, Moment::BeforeAnswer),
    at("before rolled_to moves", Between::Postgres, ROLLED, Moment::BeforeRequest),
    at("outbox message claimed", Between::Postgres, "UPDATE outbox o", Moment::BeforeAnswer),
    at("message delivered, not noted", Between::Postgres, "SET delivered_at = clock", Moment::BeforeRequest),
    at("billing: before a number is held", Between::Billing, "SELECT number_prefix", Moment::BeforeRequest),
    at("billing: a number is held", Between::Billing, "SELECT number_prefix", Moment::BeforeAnswer),
    at("billing: lines are written", Between::Billing, "INSERT INTO invoice_line", Moment::AfterRequest),
    at("billing: before the counter rises", Between::Billing, "SET next_number", Moment::BeforeRequest),
    at("billing: finalized, answer lost", Between::Billing, "COMMIT", Moment::BeforeAnswer),
];

/// One thing that is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// kill -9 of a member, at any moment.
    Kill,
    /// kill -9 of all members at once.
    KillAll,
    /// kill -9 at a named point.
    KillAt(Point),
    /// kill -9 of everyone who delivers, after a webhook was received and before its answer.
    KillAtWebhook,
    /// A member's connection to Postgres is cut around a commit; it lives on.
    Cut(Moment),
    /// All connections of a member to Postgres are cut; it lives on.
    CutAll,
    /// SIGSTOP past the session's timeout, then SIGCONT.
    Freeze,
    /// Another process joins, takes partitions, and leaves in order or is killed.
    Move {
        /// It is killed.
        killed: bool,
    },
    /// A server is killed and restarted.
    Server(Kind),
    /// ClickHouse is killed and its folder deleted.
    ClickHouseLost,
    /// The ledger is put back to a copy that is some seconds old.
    LedgerRestored,
    /// The disk of a server is full for some seconds.
    DiskFull(Kind),
}

impl Fault {
    /// For the table.
    pub fn name(self) -> String {
        match self {
            Self::Kill => "kill -9 at any moment".into(),
            Self::KillAll => "kill -9 of all processes at once".into(),
            Self::KillAt(point) => format!("kill -9: {}", point.name),
            Self::KillAtWebhook => "kill -9: webhook received, not answered".into(),
            Self::Cut(Moment::BeforeRequest) => "connection cut before COMMIT's request".into(),
            Self::Cut(Moment::AfterRequest) => "connection cut while COMMIT runs".into(),
            Self::Cut(Moment::BeforeAnswer) => "connection cut while COMMIT is answered".into(),
            Self::CutAll => "all connections to Postgres cut".into(),
            Self::Freeze => "SIGSTOP for 12 s, then SIGCONT".into(),
            Self::Move { killed: true } => "partitions moved: a process joins, is killed".into(),
            Self::Move { killed: false } => "partitions moved: a process joins, leaves".into(),
            Self::Server(kind) => format!("{kind} killed and restarted"),
            Self::ClickHouseLost => "ClickHouse's folder deleted".into(),
            Self::LedgerRestored => "ledger restored from an older copy".into(),
            Self::DiskFull(kind) => format!("{kind}'s disk full"),
        }
    }

    /// Whether nothing else may happen at the same time.
    pub fn is_exclusive(self) -> bool {
        matches!(self, Self::ClickHouseLost | Self::LedgerRestored)
    }
}
