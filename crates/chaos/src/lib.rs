//! Breaks a whole Weir on purpose: several `weir` processes on real Kafka, Postgres and ClickHouse,
//! under load, with a seeded plan of faults; afterwards an independent count of the journal, the
//! ledger, ClickHouse, the alerts that arrived, the quota answers and the invoices must agree.
//! It sees Weir only from outside and shares no code with Weir's crates; the product holds no hook
//! for it: proxies in front of Postgres and ClickHouse and the webhook's receiver are its eyes.

pub mod cases;
pub mod plan;
pub mod report;
pub mod round;
pub mod soak;

mod act;
pub mod fault;
mod load;
mod loss;
pub mod watch;

mod books;
mod compare;
mod journal;

mod house;
mod member;
pub mod site;
