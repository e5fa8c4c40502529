//! The arguments of `weir adjust` and `weir void-event`.

use clap::Args;
use weir_core::{Position, Quantity, Timestamp};
use weir_metering::meter::MeterKey;

use super::Output;

/// `weir adjust`.
#[derive(Debug, Args)]
pub(crate) struct Adjust {
    /// Whose usage.
    #[arg(long)]
    pub tenant: String,
    /// Which meter; it must count or add up.
    #[arg(long, value_parser = MeterKey::new)]
    pub meter: MeterKey,
    /// When the usage happened (RFC 3339): as long ago as you like.
    #[arg(long, value_name = "TIME", value_parser = Timestamp::parse)]
    pub at: Timestamp,
    /// How much; below zero takes usage away.
    #[arg(long, allow_hyphen_values = true, value_parser = Quantity::parse)]
    pub quantity: Quantity,
    /// From how many events (default: a counting meter's quantity, else none).
    #[arg(long, allow_hyphen_values = true, value_name = "COUNT")]
    pub events: Option<i64>,
    /// A dimension's value; may be repeated.
    #[arg(long = "dimension", value_name = "NAME=VALUE", value_parser = pair)]
    pub dimensions: Vec<(String, String)>,
    /// Unique within the tenant, for ever: the same call again by the same --who changes nothing
    /// (default: made, and shown).
    #[arg(long)]
    pub id: Option<String>,
    /// Why, and who says so.
    #[command(flatten)]
    pub because: Because,
}

/// `weir void-event`.
#[derive(Debug, Args)]
pub(crate) struct VoidEvent {
    /// Whose event.
    #[arg(long)]
    pub tenant: String,
    /// Its CloudEvents source.
    #[arg(long)]
    pub source: String,
    /// Its CloudEvents id.
    #[arg(long)]
    pub id: String,
    /// Where it stands (generation/partition/offset), for an id that was counted more than once.
    #[arg(long)]
    pub position: Option<Position>,
    /// Why, and who says so.
    #[command(flatten)]
    pub because: Because,
}

/// Why something is changed, and who says so.
#[derive(Debug, Args)]
pub(crate) struct Because {
    /// Why, in words; kept with what is changed.
    #[arg(long)]
    pub why: String,
    /// Who decided it; kept with what is changed.
    #[arg(long, default_value = "cli")]
    pub who: String,
    /// Show what would change; changes nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// How.
    #[command(flatten)]
    pub output: Output,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, value) = pair.ok_or_else(|| format!("{text:?} is not NAME=VALUE"))?;
    Ok((name.to_owned(), value.to_owned()))
}
