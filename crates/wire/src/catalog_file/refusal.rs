//! Why a catalogue file is refused, and where in it.

use std::fmt;

use weir_billing::MeterName;
use weir_billing::number::NumberPrefix;
use weir_billing::plan::PlanError;
use weir_core::Timestamp;
use weir_metering::meter::InvalidMeter;

/// A place in a file, for people: both count from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

/// One thing that is wrong with a catalogue file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {reason}")]
pub struct Refusal {
    /// Where.
    pub place: Place,
    /// Why.
    pub reason: Reason,
}

/// Why something in a catalogue file is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Not TOML, or not of the file's shape.
    #[error("{0}")]
    Syntax(String),
    /// Two definitions of one thing.
    #[error("{0} is defined twice")]
    DefinedTwice(String),
    /// Two legal entities would number alike.
    #[error("the number prefix {0} belongs to another legal entity")]
    PrefixTaken(NumberPrefix),
    /// Not a country code.
    #[error("{0:?} is not a country code of two capital letters such as DE")]
    Country(String),
    /// A text that must not be empty.
    #[error("{0} must not be empty")]
    Empty(&'static str),
    /// What is wrong with a meter.
    #[error("{0}")]
    Meter(InvalidMeter),
    /// A plan that names a meter and no price for it.
    #[error("the plan names the meter {0} without a price: give it a model and its amounts")]
    NoPrice(MeterName),
    /// Not one of the price models.
    #[error("{0:?} is not a price model: per_unit, graduated, volume or package")]
    UnknownModel(String),
    /// A price without what its model needs.
    #[error("a {model} price needs {field}")]
    FieldMissing {
        /// The model.
        model: String,
        /// What it needs.
        field: &'static str,
    },
    /// A price with what belongs to another model.
    #[error("a {model} price has no {field}")]
    FieldUnused {
        /// The model.
        model: String,
        /// What does not belong to it.
        field: &'static str,
    },
    /// What is wrong with a plan.
    #[error("{0}")]
    Plan(PlanError),
    /// A published legal entity with other content.
    #[error(
        "the legal entity {0} is published with other content; documents refer to it, so it does not change"
    )]
    EntityChanged(String),
    /// A published version with other content.
    #[error("{what} {key} version {version} is published with other content; publish version {next} instead")]
    VersionChanged {
        /// `meter` or `plan`.
        what: &'static str,
        /// Which.
        key: String,
        /// The version in the file.
        version: u32,
        /// The next free version.
        next: u32,
    },
    /// A version number that leaves a gap.
    #[error("the next version of {what} {key} is {next}, not {version}")]
    VersionGap {
        /// `meter` or `plan`.
        what: &'static str,
        /// Which.
        key: String,
        /// The version in the file.
        version: u32,
        /// The next free version.
        next: u32,
    },
    /// A new version that means something else.
    #[error("a new version of the {what} {key} cannot change its {field}; define another {what}")]
    MeaningChanged {
        /// `meter` or `plan`.
        what: &'static str,
        /// Which.
        key: String,
        /// What differs.
        field: &'static str,
    },
    /// A later version without a beginning.
    #[error("version {version} of {what} {key} needs begins_at, {earliest} or later")]
    NoBeginning {
        /// `meter` or `plan`.
        what: &'static str,
        /// Which.
        key: String,
        /// The version in the file.
        version: u32,
        /// The earliest that is allowed.
        earliest: Timestamp,
    },
    /// A later version that begins among events that may have been counted.
    #[error(
        "version {version} of {what} {key} begins at {begins_at}, too early: events are being counted already; {earliest} or later is possible"
    )]
    BeginsTooEarly {
        /// `meter` or `plan`.
        what: &'static str,
        /// Which.
        key: String,
        /// The version in the file.
        version: u32,
        /// Where it begins.
        begins_at: Timestamp,
        /// The earliest that is allowed.
        earliest: Timestamp,
    },
}

impl Place {
    /// The place of a byte in a text.
    pub(super) fn of(text: &str, byte: usize) -> Self {
        let before = text.get(..byte).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = before.matches('\n').count() + 1;
        Self { line, column: before[line_start..].chars().count() + 1 }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// What the TOML reader found, with a word on quotes where a bare number stands.
pub(super) fn syntax(text: &str, error: &toml::de::Error) -> Refusal {
    let place = Place::of(text, error.span().map_or(0, |span| span.start));
    let message = error.message().replace('\n', ", ");
    let bare = message.starts_with("invalid type") && message.ends_with("expected a string");
    let hint = if bare { "; amounts, quantities and times are written in quotes" } else { "" };
    Refusal { place, reason: Reason::Syntax(format!("{message}{hint}")) }
}
