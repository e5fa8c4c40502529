//! Why counting stops. What passes by itself is waited for and shows in the status instead.

use weir_backends::StoreError;
use weir_core::Partition;

/// A failure of the pipeline.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// A store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A partition does not hold what the ledger counted: counting on would count twice or never.
    #[error("partition {partition} is not counted: {reason}")]
    Refused {
        /// Which partition.
        partition: Partition,
        /// Why, and the way out.
        reason: String,
    },
    /// The topic is not the one that this ledger counts.
    #[error("{0}")]
    OtherTopic(String),
    /// The topic has more partitions than the ledger counts, until that is widened as well.
    #[error("{0}")]
    WiderTopic(String),
    /// A server's settings would break a promise; whoever looks after it may correct them.
    #[error("{0}")]
    Settings(String),
    /// A part of the process ended that must not.
    #[error("{part} ended: {reason}")]
    Ended {
        /// Which part.
        part: &'static str,
        /// Why.
        reason: String,
    },
}

impl PipelineError {
    /// Whether the same attempt may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Store(error) => error.is_transient(),
            Self::WiderTopic(_) | Self::Settings(_) => true,
            Self::Refused { .. } | Self::OtherTopic(_) | Self::Ended { .. } => false,
        }
    }
}
