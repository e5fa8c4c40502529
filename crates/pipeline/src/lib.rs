//! The shell around the pure shards: it reads the journal, carries out what applying a
//! batch says, commits, folds, projects, delivers, bills and proves. It decides nothing
//! about usage or money, and knows nothing of HTTP's routes.

pub mod ledger_check;
pub mod billing;
pub mod outbox;
