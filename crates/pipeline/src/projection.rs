//! The projection's writer: one task a process gathers the committed rows of all its
//! partitions into one insert a few times a second, and brings up what is missing from the
//! journal (invariant 13). Counting never waits for it: rows that find no room are dropped
//! here and read again later.

mod queue;
mod writer;

pub(crate) use queue::{CommittedRows, ProjectionQueue};
pub(crate) use writer::run;
