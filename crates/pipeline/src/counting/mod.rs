//! Counting: from records of a partition to a commit. What is decided here is only the
//! order of acts; what is counted, the shard decides.

pub(crate) mod catalogue_cache;
pub(crate) mod caution;
pub(crate) mod decoder;
pub(crate) mod ids;
pub(crate) mod letters;
pub(crate) mod levels;
pub(crate) mod recovery;
pub(crate) mod reread;
pub(crate) mod retry;
pub(crate) mod shared;
pub(crate) mod step;
pub(crate) mod topic_watch;
pub(crate) mod worker;

pub(crate) use letters::rejected_by;
