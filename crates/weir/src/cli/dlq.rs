//! The arguments of `weir dlq`.

use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand};
use weir_core::{Partition, Position, TenantId, Timestamp};

use super::Output;
use crate::help;

/// `weir dlq`.
#[derive(Debug, Subcommand)]
pub(crate) enum Dlq {
    /// List records that were not counted, each once, by time of arrival.
    #[command(after_help = help::DLQ_LIST)]
    List(DlqList),
    /// Show one record in full: why it was not counted, its headers, what it holds.
    #[command(after_help = help::DLQ_SHOW)]
    Show {
        /// Where it stood first: generation/partition/offset, as `weir dlq list` shows it.
        position: Position,
    },
    /// Send records again whose cause is gone.
    #[command(after_help = help::DLQ_REPLAY)]
    Replay(DlqReplay),
}

/// Which records.
#[derive(Debug, Args)]
pub(crate) struct DlqFilter {
    /// Rejected for this reason (a code such as unknown_tenant); may be repeated.
    #[arg(long = "reason", value_name = "CODE", value_parser = clap::builder::PossibleValuesParser::new(REASONS))]
    pub reasons: Vec<String>,
    /// This tenant's.
    #[arg(long)]
    pub tenant: Option<TenantArgument>,
    /// The broker had them at this time or later (RFC 3339).
    #[arg(long, value_name = "TIME", value_parser = Timestamp::parse)]
    pub since: Option<Timestamp>,
    /// The broker had them before this time (RFC 3339).
    #[arg(long, value_name = "TIME", value_parser = Timestamp::parse)]
    pub until: Option<Timestamp>,
    /// They stood in this partition of the usage topic.
    #[arg(long)]
    pub partition: Option<Partition>,
}

/// A tenant's id, which need not exist.
#[derive(Clone, Debug)]
pub(crate) struct TenantArgument(pub TenantId);

impl std::str::FromStr for TenantArgument {
    type Err = weir_core::tenant::InvalidTenantId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        TenantId::new(text).map(Self)
    }
}

/// Every code that a dead letter can carry.
const REASONS: [&str; 11] = [
    "malformed",
    "unknown_schema",
    "invalid_event",
    "invalid_value",
    "unknown_tenant",
    "too_late",
    "in_future",
    "misrouted",
    "oversized",
    "refused_by_store",
    "conflict",
];

/// `weir dlq list`.
#[derive(Debug, Args)]
pub(crate) struct DlqList {
    /// Which.
    #[command(flatten)]
    pub filter: DlqFilter,
    /// At most so many, the latest ones; 0: all.
    #[arg(long, default_value_t = 100)]
    pub limit: usize,
    /// How.
    #[command(flatten)]
    pub output: Output,
}

/// `weir dlq replay`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("which").required(true).multiple(true)
    .args(["positions", "reasons", "tenant", "since", "until", "partition", "all"])))]
pub(crate) struct DlqReplay {
    /// Where they stood first: generation/partition/offset, as `weir dlq list` shows it.
    pub positions: Vec<Position>,
    /// Which.
    #[command(flatten)]
    pub filter: DlqFilter,
    /// All of them.
    #[arg(long)]
    pub all: bool,
    /// At most so many, the earliest ones.
    #[arg(long)]
    pub limit: Option<usize>,
    /// Send nothing; say what would be sent, and why some would not.
    #[arg(long)]
    pub dry_run: bool,
    /// Send those of earlier generations too, whose event ids are forgotten: what was sent again by
    /// its producer since counts twice.
    #[arg(long)]
    pub earlier_generations: bool,
    /// How many seconds to wait until what was sent is counted.
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub wait: Duration,
    /// How.
    #[command(flatten)]
    pub output: Output,
}

fn seconds(text: &str) -> Result<Duration, std::num::ParseIntError> {
    text.parse().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::cli::Cli;

    #[test]
    fn a_replay_says_which() {
        let call = |words: &[&str]| {
            Cli::try_parse_from(["weir", "dlq", "replay"].iter().chain(words))
                .map_err(|error| error.to_string())
        };
        assert!(call(&[]).is_err());
        assert!(call(&["--dry-run"]).is_err());
        assert!(call(&["1/3"]).unwrap_err().contains("generation, partition, offset"));
        assert!(call(&["--reason", "bad_luck"]).unwrap_err().contains("unknown_tenant"));
        for words in
            [&["1/3/4711", "1/3/4712"][..], &["--all"], &["--reason", "too_late", "--tenant", "acme"]]
        {
            assert!(call(words).is_ok(), "{words:?}");
        }
    }

    /// The codes are wire's; a new one must be a filter, too.
    #[test]
    fn every_code_is_a_filter() {
        use weir_metering::outcome::{RejectReason, Verdict};
        use weir_wire::dead_letter::{reason_code, verdict_code};
        let reasons = [
            RejectReason::Malformed,
            RejectReason::UnknownSchema,
            RejectReason::InvalidEvent,
            RejectReason::InvalidValue,
            RejectReason::UnknownTenant,
            RejectReason::TooLate,
            RejectReason::InFuture,
            RejectReason::Misrouted,
            RejectReason::Oversized,
            RejectReason::RefusedByStore,
        ];
        let codes = reasons.map(reason_code).into_iter().chain([verdict_code(Verdict::Conflict)]);
        assert_eq!(codes.collect::<Vec<_>>(), super::REASONS);
    }
}
