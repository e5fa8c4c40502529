//! The shell around the pure shards: it reads the journal, carries out what applying a
//! batch says, commits, folds, projects, delivers, bills and proves. It decides nothing
//! about usage or money, and knows nothing of HTTP's routes.

pub mod ledger_check;
pub mod billing;
pub mod outbox;
pub mod aggregator;
pub mod error;
pub mod fold;
pub mod metrics;
pub mod settings;
pub mod status;
mod counting;
mod projection;

pub use aggregator::{Aggregator, run_aggregator};
pub use error::PipelineError;
pub use metrics::PipelineMetrics;
pub use settings::CountingSettings;
pub use status::PipelineStatus;
