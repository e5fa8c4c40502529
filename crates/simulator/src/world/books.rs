//! The simulated books, called. Documents are finalized in a transaction: whoever holds one
//! may be frozen or die, and others wait for what it holds.

use weir_backends::StoreError;
use weir_backends::books::{
    BilledPeriod, DuePeriod, Finalized, JournalReach, LastNumber, PeriodUsage, StoredPlan, SubscribedPeriod,
};
use weir_billing::{Invoice, InvoiceNumber, LegalEntityKey};
use weir_core::{Partition, TenantId, Timestamp};
use weir_pipeline::world::{Books, FinalizingDocuments};

use super::SimLedger;
use crate::servers::Servers;
use crate::stage::{Hand, Sleep};

/// How often a row that is held is asked for again.
const ASK_AGAIN_MS: i64 = 500;

/// A transaction; it ends when this is dropped.
struct Held {
    hand: Hand,
    transaction: u64,
}

impl Held {
    fn begin(hand: &Hand) -> Self {
        let mut state = hand.stage.state();
        let transaction = state.fresh_id();
        state.servers.transactions.begin(transaction);
        drop(state);
        Self { hand: hand.clone(), transaction }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.hand.stage.state().servers.transactions.end(self.transaction);
    }
}

/// A transaction that finalizes documents.
pub(crate) struct SimFinalizing {
    ledger: SimLedger,
    held: Held,
    number: InvoiceNumber,
}

impl Books for SimLedger {
    type Finalizing = SimFinalizing;

    fn fresh_document_id(&self) -> String {
        format!("inv_{:016x}", self.0.stage.state().tokens.bits())
    }

    async fn counters(&self) -> Result<Vec<LastNumber>, StoreError> {
        self.ask("counters", String::new, |servers| Ok(servers.counters())).await
    }

    async fn plans(&self) -> Result<Vec<StoredPlan>, StoreError> {
        self.ask("plans", String::new, |servers| Ok(servers.plans())).await
    }

    async fn newest_broker_time(&self) -> Result<Option<Timestamp>, StoreError> {
        self.ask("newest broker time", String::new, |servers| Ok(servers.newest_broker_time())).await
    }

    async fn due_periods(
        &self,
        until: Timestamp,
        only: Option<&TenantId>,
    ) -> Result<Vec<DuePeriod>, StoreError> {
        let only = only.cloned();
        let work = move |servers: &mut Servers| Ok(servers.due_periods(until, only.as_ref()));
        self.ask("due periods", || until.to_string(), work).await
    }

    async fn billed_periods(
        &self,
        since: Timestamp,
        only: Option<&TenantId>,
    ) -> Result<Vec<BilledPeriod>, StoreError> {
        let only = only.cloned();
        let work = move |servers: &mut Servers| Ok(servers.billed_periods(since, only.as_ref()));
        self.ask("billed periods", || since.to_string(), work).await
    }

    async fn journal_reach(&self, partition: Partition) -> Result<Option<JournalReach>, StoreError> {
        let work = move |servers: &mut Servers| Ok(servers.journal_reach(partition));
        self.ask("journal reach", || partition.to_string(), work).await
    }

    async fn documents_of_periods(
        &self,
        periods: &[SubscribedPeriod],
    ) -> Result<Vec<Vec<Invoice>>, StoreError> {
        self.ask_documents(periods, None).await
    }

    async fn usage_of_periods(
        &self,
        periods: &[SubscribedPeriod],
    ) -> Result<Vec<Option<PeriodUsage>>, StoreError> {
        self.ask_usage(periods, None).await
    }

    async fn open_finalizing(&self, entity: &LegalEntityKey) -> Result<SimFinalizing, StoreError> {
        let held = Held::begin(&self.0);
        let transaction = held.transaction;
        loop {
            let name = entity.to_string();
            let work = move |servers: &mut Servers| servers.lock_entity(transaction, &name);
            if let Some(number) = self.ask("lock the legal entity", || entity.to_string(), work).await? {
                return Ok(SimFinalizing { ledger: self.clone(), held, number });
            }
            let due_ms = self.0.stage.state().now_ms + ASK_AGAIN_MS;
            Sleep::until(self.0.clone(), due_ms).await;
        }
    }
}

impl SimLedger {
    async fn ask_documents(
        &self,
        periods: &[SubscribedPeriod],
        transaction: Option<u64>,
    ) -> Result<Vec<Vec<Invoice>>, StoreError> {
        let periods = periods.to_vec();
        let detail = || words(&periods);
        let asked = periods.clone();
        let work = move |servers: &mut Servers| {
            transaction.map_or(Ok(()), |transaction| servers.under_way(transaction))?;
            let found =
                asked.iter().map(|one| servers.ledger.books.finalized(&one.subscription, one.period.start));
            Ok(found.map(|documents| documents.into_iter().cloned().collect()).collect())
        };
        self.ask("documents of periods", detail, work).await
    }

    async fn ask_usage(
        &self,
        periods: &[SubscribedPeriod],
        transaction: Option<u64>,
    ) -> Result<Vec<Option<PeriodUsage>>, StoreError> {
        let periods = periods.to_vec();
        let detail = || words(&periods);
        let asked = periods.clone();
        let work = move |servers: &mut Servers| {
            transaction.map_or(Ok(()), |transaction| servers.under_way(transaction))?;
            Ok(asked
                .iter()
                .map(|one| servers.usage_of_period(&one.tenant, one.partition, one.period))
                .collect())
        };
        self.ask("usage of periods", detail, work).await
    }
}

fn words(periods: &[SubscribedPeriod]) -> String {
    let one = |one: &SubscribedPeriod| format!("{} from {}", one.tenant, one.period.start);
    periods.iter().map(one).collect::<Vec<_>>().join(", ")
}

impl FinalizingDocuments for SimFinalizing {
    fn number(&self) -> &InvoiceNumber {
        &self.number
    }

    async fn earlier(&mut self, periods: &[SubscribedPeriod]) -> Result<Vec<Vec<Invoice>>, StoreError> {
        self.ledger.ask_documents(periods, Some(self.held.transaction)).await
    }

    async fn usage(&mut self, periods: &[SubscribedPeriod]) -> Result<Vec<Option<PeriodUsage>>, StoreError> {
        self.ledger.ask_usage(periods, Some(self.held.transaction)).await
    }

    async fn store(self, documents: &[Finalized]) -> Result<(), StoreError> {
        let transaction = self.held.transaction;
        let detail = || {
            let one = |one: &Finalized| format!("{} {}", one.invoice.tenant, one.invoice.total);
            format!("from {}: {}", self.number, documents.iter().map(one).collect::<Vec<_>>().join(", "))
        };
        let stored = documents.to_vec();
        let work = move |servers: &mut Servers| servers.store_documents(transaction, stored);
        self.ledger.ask("store documents", detail, work).await
    }
}
