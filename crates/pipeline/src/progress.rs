//! What a partition's worker and the services beside it are at, for the watchdog and for people.
//! Saying so costs a number behind a lock; it is said some ten times a batch.

use serde::Serialize;
use weir_core::Partition;

/// A step of counting a partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Waiting before the partition is taken, again or for the first time.
    #[default]
    Pausing,
    /// Asking ledger and journal for the partition, comparing them, adding up its totals.
    Taking,
    /// Folding what was committed before it was taken.
    Folding,
    /// Reading event ids again, from files or the journal.
    RecallingIds,
    /// Waiting for records of the journal.
    Fetching,
    /// Asking whether the topic is still the one that was counted.
    Comparing,
    /// Waiting for this machine's clock to reach the broker's.
    AwaitingClock,
    /// Asking the registry for schemas.
    AskingSchemas,
    /// Decoding records.
    Decoding,
    /// Asking the ledger for a newer catalogue.
    RefreshingCatalogue,
    /// Asking files of event ids about suspects.
    SettlingIds,
    /// Applying the batch.
    Applying,
    /// Sending dead letters and forwards, which must be acknowledged.
    SendingLetters,
    /// Committing the batch.
    Committing,
    /// Writing event ids to files.
    SealingIds,
}

impl Step {
    /// As in "it has been … since".
    pub fn words(self) -> &'static str {
        match self {
            Self::Pausing => "waiting before it is taken again",
            Self::Taking => "taking it",
            Self::Folding => "folding what was committed before it was taken",
            Self::RecallingIds => "reading event ids again",
            Self::Fetching => "fetching records",
            Self::Comparing => "asking Kafka whether the topic is still the one that was counted",
            Self::AwaitingClock => "waiting for this machine's clock to reach the broker's",
            Self::AskingSchemas => "asking the registry for schemas",
            Self::Decoding => "decoding records",
            Self::RefreshingCatalogue => "asking the ledger for the catalogue",
            Self::SettlingIds => "settling event ids by their files",
            Self::Applying => "applying a batch",
            Self::SendingLetters => "sending dead letters and forwards",
            Self::Committing => "committing a batch",
            Self::SealingIds => "writing event ids to files",
        }
    }
}

/// What a service of all partitions is at; nothing while it waits for its next turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Turn {
    /// What, as in "it has been … since", and of which partition.
    pub work: Option<(&'static str, Option<Partition>)>,
    /// How often it has begun something, so that the same again is not taken for still the same.
    pub begun: u64,
}

impl Turn {
    /// Begins something else, or waits.
    pub(crate) fn begin(&mut self, work: Option<(&'static str, Option<Partition>)>) {
        self.work = work;
        self.begun = self.begun.wrapping_add(1);
    }
}
