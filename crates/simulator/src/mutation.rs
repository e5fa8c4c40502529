//! Deliberate mistakes, to show that the simulator finds such. Each is made in the
//! simulator's own servers, or where it hands a batch to the shard: the product holds none
//! of them, not even switched off.

/// A deliberate mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mutation {
    /// The commit does not compare the owner's token.
    NoOwnerToken,
    /// Owner tokens are counted in the ledger, and so repeat after a restore.
    CounterToken,
    /// Epochs of partitions are counted in the ledger, and so repeat after a restore.
    CounterEpoch,
    /// Versions of the catalogue are counted in the ledger, and so repeat after a restore.
    CounterVersion,
    /// An insert into the projection is acknowledged before it is done.
    ProjectedBeforeInsert,
    /// The fold does not compare `folded_to`.
    FoldTwice,
    /// Thresholds are judged where a batch ends.
    ThresholdAtBatchEnd,
    /// Lateness is judged by the worker's clock.
    WallClockLateness,
    /// An id is forgotten when the time of its event leaves the window.
    ForgetByEventTime,
    /// The ledger keeps no fingerprint of the last record.
    NoFingerprint,
    /// Nothing is removed from the projection when the ledger went back in time.
    KeepPhantoms,
    /// Rollups of a time that the ledger has lost are not looked for.
    KeepLostRollups,
    /// Records that were rejected are taken for accepted when they are read again.
    DecideAgain,
    /// Dead letters and forwards are not waited for before the commit.
    ForwardsNotWaitedFor,
    /// Ids that are in files are not looked for there.
    FilesNotAsked,
    /// Numbers are taken without holding the legal entity's row.
    NoEntityLock,
    /// A document's cut is read at another moment than its usage.
    CutFromElsewhere,
    /// A period is closed by a clock.
    ClosedByClock,
    /// The counter of numbers is not compared with the topic of numbers.
    CounterNotCompared,
    /// After a lost answer, a partition that is still ours is taken for a commit that happened.
    FoundOutByOwner,
    /// A shard that is built again does not know which adjustments were counted.
    AdjustmentsForgotten,
    /// A message of the outbox is marked as delivered when it is taken.
    MarkedBeforeSent,
    /// A webhook that is tried again has another id.
    IdOfAttempt,
    /// What became of a message is written to whichever has its id.
    SettledById,
    /// Tenants live where they would if they were created now, however few partitions there were.
    TenantsMove,
    /// Widening keeps no home for a name that has limits, but no tenant yet.
    NamesNotKept,
    /// A billing run knows tenants that are created later, and where they would have lived when it began.
    HomesOfBefore,
}

/// A mistake, how it is called, and within how many seeds it must be found.
#[derive(Clone, Copy, Debug)]
pub struct MutationCase {
    /// Which.
    pub mutation: Mutation,
    /// Its name on the command line.
    pub name: &'static str,
    /// What is done wrong, in words.
    pub words: &'static str,
    /// Seeds from 1 on within which it must be found.
    pub seeds_max: u64,
}

/// All of them.
pub const MUTATIONS: &[MutationCase] = &[
    case(Mutation::NoOwnerToken, "no-owner-token", "the commit does not compare the owner's token", 200),
    case(Mutation::CounterToken, "counter-token", "owner tokens are a counter in the ledger", 1_000),
    case(Mutation::CounterEpoch, "counter-epoch", "epochs are a counter in the ledger", 2_000),
    case(
        Mutation::CounterVersion,
        "counter-version",
        "versions of the catalogue are a counter in the ledger",
        2_000,
    ),
    case(
        Mutation::ProjectedBeforeInsert,
        "projected-before-insert",
        "an insert is acknowledged before it is done",
        500,
    ),
    case(Mutation::FoldTwice, "fold-twice", "the fold does not compare folded_to", 200),
    case(
        Mutation::ThresholdAtBatchEnd,
        "threshold-at-batch-end",
        "thresholds are judged where a batch ends",
        100,
    ),
    case(Mutation::WallClockLateness, "wall-clock-lateness", "lateness is judged by the worker's clock", 100),
    case(
        Mutation::ForgetByEventTime,
        "forget-by-event-time",
        "an id is forgotten when its event's time leaves the window",
        200,
    ),
    case(Mutation::NoFingerprint, "no-fingerprint", "the last record's fingerprint is not compared", 1_000),
    case(Mutation::KeepPhantoms, "keep-phantoms", "phantoms stay after a restored ledger", 500),
    case(
        Mutation::KeepLostRollups,
        "keep-lost-rollups",
        "rollups of a time that the ledger has lost are not looked for",
        1_000,
    ),
    case(
        Mutation::DecideAgain,
        "decide-again",
        "records are decided again instead of reading the exceptions",
        200,
    ),
    case(
        Mutation::ForwardsNotWaitedFor,
        "forwards-not-waited-for",
        "dead letters and forwards are not acknowledged before the commit",
        200,
    ),
    case(Mutation::FilesNotAsked, "files-not-asked", "ids that are in files are not looked for there", 200),
    case(Mutation::NoEntityLock, "no-entity-lock", "numbers are taken without a lock", 500),
    case(
        Mutation::CutFromElsewhere,
        "cut-from-elsewhere",
        "a document's cut is of another moment than its usage",
        2_000,
    ),
    case(Mutation::ClosedByClock, "closed-by-clock", "a period is closed by a clock", 500),
    case(
        Mutation::CounterNotCompared,
        "counter-not-compared",
        "the counter of numbers is not compared with the topic",
        3_000,
    ),
    case(
        Mutation::FoundOutByOwner,
        "found-out-by-owner",
        "after a lost answer only the owner is looked at",
        500,
    ),
    case(
        Mutation::AdjustmentsForgotten,
        "adjustments-forgotten",
        "a shard that is built again does not know the adjustments",
        500,
    ),
    case(
        Mutation::MarkedBeforeSent,
        "marked-before-sent",
        "a message of the outbox is marked as delivered before it is sent",
        200,
    ),
    case(Mutation::IdOfAttempt, "id-of-attempt", "a webhook that is tried again has another id", 200),
    case(
        Mutation::SettledById,
        "settled-by-id",
        "what became of a message is written to whichever has its id",
        1_000,
    ),
    case(Mutation::TenantsMove, "tenants-move", "tenants move when the topic is widened", 500),
    case(
        Mutation::NamesNotKept,
        "names-not-kept",
        "widening keeps no home for a name that has limits, but no tenant yet",
        1_000,
    ),
    case(
        Mutation::HomesOfBefore,
        "homes-of-before",
        "a billing run bills who was created after it began, at the home of when it began",
        2_000,
    ),
];

const fn case(mutation: Mutation, name: &'static str, words: &'static str, seeds_max: u64) -> MutationCase {
    MutationCase { mutation, name, words, seeds_max }
}

/// The mistake of a name.
pub fn named(name: &str) -> Option<&'static MutationCase> {
    MUTATIONS.iter().find(|case| case.name == name)
}
