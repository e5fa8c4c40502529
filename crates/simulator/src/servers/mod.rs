//! The servers as they behave, in memory: a journal of records with the broker's time, a
//! ledger whose statements happen whole or not at all, a projection that keeps one row of
//! what is written twice. They follow the statements in `weir-backends` line by line and
//! know nothing of the code that calls them.

mod books;
mod commit;
mod journal;
mod ledger;
mod outbox;
mod projection;
mod receivers;
mod standing;
mod usage;

pub(crate) use books::{BookTables, Transactions};
pub(crate) use journal::{ALERTS, DEAD_LETTERS, INVOICES, Journal, Logged, PartitionLog, QUOTA, USAGE};
pub(crate) use ledger::Ledger;
pub(crate) use outbox::{Outbox, OutboxLine};
pub(crate) use projection::Projection;
pub(crate) use receivers::Receivers;
pub(crate) use usage::UsageRowKey;

use std::collections::BTreeMap;

use weir_backends::ledger::partition::OwnerToken;
use weir_core::TenantId;
use weir_metering::catalogue::TenantFacts;

use crate::chance::Chance;
use crate::mutation::Mutation;
use crate::scenario::{BEGIN_MS, Cast, METERS, MeterFacts, PLANS, PlanFacts};

/// All servers.
#[derive(Clone, Debug)]
pub(crate) struct Servers {
    /// Kafka.
    pub(crate) journal: Journal,
    /// Postgres.
    pub(crate) ledger: Ledger,
    /// ClickHouse.
    pub(crate) projection: Projection,
    /// Those who receive webhooks.
    pub(crate) receivers: Receivers,
    /// The time that brokers stamp records with, in milliseconds since 1970.
    pub(crate) broker_ms: i64,
    /// The clock of the ledger's server, in milliseconds since 1970. Restoring takes a moment.
    pub(crate) ledger_clock_ms: i64,
    /// Decisions of the simulation so far.
    pub(crate) step: u64,
    /// Set while a call happens only in part: which part.
    pub(crate) part: Option<Chance>,
    /// The mistake that is tried out.
    pub(crate) mutation: Option<Mutation>,
    /// For a mistake: the counter that stands for a token.
    pub(crate) counters: BTreeMap<OwnerToken, u64>,
    /// For a mistake: all tenants, also those that are not created yet.
    pub(crate) everyone: Vec<(TenantId, TenantFacts)>,
    /// A batch that was committed by someone who had lost the partition.
    pub(crate) zombie: Option<String>,
    /// Transactions of the ledger that are held open.
    pub(crate) transactions: Transactions,
}

impl Servers {
    /// Servers that nobody has used: meters are published, tenants are not created yet.
    pub(crate) fn new(cast: &Cast, seed: u64, mutation: Option<Mutation>) -> Self {
        let meters = METERS.iter().filter_map(MeterFacts::definition).collect();
        let books = BookTables::new(PLANS.iter().filter_map(PlanFacts::definition).collect());
        Self {
            journal: Journal::new(usize::try_from(cast.partitions).unwrap_or(1)),
            ledger: Ledger {
                catalogue_version: 1,
                meters,
                books,
                outbox: Outbox::new(&cast.endpoints),
                width: cast.partitions,
                ..Ledger::default()
            },
            projection: Projection::default(),
            receivers: Receivers::new(cast.endpoints.len(), Chance::of(seed, "receivers", 0)),
            broker_ms: 0,
            ledger_clock_ms: BEGIN_MS,
            step: 0,
            part: None,
            mutation,
            counters: BTreeMap::new(),
            everyone: cast.tenants.iter().filter_map(|one| Some((one.id()?, one.facts()))).collect(),
            zombie: None,
            transactions: Transactions::default(),
        }
    }

    /// The token as the ledger knows it.
    pub(crate) fn token(&self, owner: OwnerToken) -> OwnerToken {
        self.counters.get(&owner).map_or(owner, |counter| u128::from(*counter).to_be_bytes())
    }

    /// `given_once`, of an epoch; for a mistake, one by one.
    pub(crate) fn epoch_after(&self, last: i64) -> i64 {
        self.given_once(last, Mutation::CounterEpoch)
    }

    /// `given_once`, of a version of the catalogue; for a mistake, one by one.
    pub(crate) fn version_after(&self, last: i64) -> i64 {
        self.given_once(last, Mutation::CounterVersion)
    }

    fn given_once(&self, last: i64, one_by_one: Mutation) -> i64 {
        if self.mistaken(one_by_one) { last + 1 } else { self.ledger_clock_ms.max(last + 1) }
    }

    /// Whether a mistake is tried out.
    pub(crate) fn mistaken(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }
}
