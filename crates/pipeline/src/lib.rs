//! The shell around the pure shards: it reads the journal, carries out what applying a
//! batch says, commits, folds, projects, archives, delivers, bills and proves. It decides nothing
//! about usage or money, and knows nothing of HTTP's routes.

pub mod accept_topic;
pub mod aggregator;
pub mod archive;
pub mod clock;
mod counting;
mod fold;
mod group;
mod projection;
mod recount;
mod watchdog;
pub mod world;

pub mod billing;
pub mod dead_letters;
mod differences;
pub mod ledger_check;
pub mod outbox;
pub mod widen_topic;

pub mod error;
pub mod metrics;
pub mod progress;
pub mod settings;
pub mod settings_watch;
pub mod status;
pub mod told;

pub use aggregator::{Aggregator, run_aggregator};
pub use clock::Clock;
pub use error::PipelineError;
pub use group::{Counting, count};
pub use metrics::PipelineMetrics;
pub use settings::CountingSettings;
pub use status::PipelineStatus;
