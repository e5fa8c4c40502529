//! The projection's writer: one task a process gathers the committed rows of all its
//! partitions into one insert a few times a second, and brings up what is missing from the
//! journal (invariant 13). Counting never waits for it: rows that find no room are dropped
//! here and read again later.
//!
//! Everything that is written carries the partition's epoch, which the ledger raises whenever
//! the partition is taken or projected again. ClickHouse keeps the row of the highest epoch,
//! only rows of earlier epochs are ever removed, and the ledger takes progress of the present
//! epoch only. So it does not matter how late a frozen process writes or removes.

mod catch_up;
mod filling;
mod lost_rollups;
mod purge;
mod queue;
mod rounds;
mod sweep;
mod writer;

pub(crate) use queue::{CommittedRows, ProjectionQueue};
pub(crate) use writer::run;
