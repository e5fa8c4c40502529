//! The simulated books, called. A document is finalized in a transaction: whoever holds one
//! may be frozen or die, and others wait for what it holds.

use weir_backends::StoreError;
use weir_backends::books::{
    BilledPeriod, DuePeriod, Finalized, JournalReach, LastNumber, PeriodUsage, StoredPlan,
};
use weir_billing::{Invoice, InvoiceNumber, LegalEntityKey};
use weir_core::{Partition, Span, TenantId, Timestamp};
use weir_pipeline::world::{Books, FinalizingDocument};

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

/// A transaction that finalizes a document.
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

    async fn partitions(&self) -> Result<i32, StoreError> {
        let work = |servers: &mut Servers| Ok(i32::try_from(servers.journal.usage.len()).unwrap_or(0));
        self.ask("partitions", String::new, work).await
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

    async fn sequence_of_period(
        &self,
        subscription: &str,
        period: Span,
    ) -> Result<(Vec<Invoice>, i32), StoreError> {
        let found = self.ask_finalized(subscription, period, None).await?;
        let next = i32::try_from(found.len()).unwrap_or(i32::MAX);
        Ok((found, next))
    }

    async fn usage_of_period(
        &self,
        tenant: &TenantId,
        partition: Partition,
        period: Span,
    ) -> Result<Option<PeriodUsage>, StoreError> {
        self.ask_usage(tenant, partition, period, None).await
    }

    async fn insert_draft(&self, draft: &Invoice, sequence: i32, _: Timestamp) -> Result<String, StoreError> {
        let detail = || format!("{} from {}, {sequence}", draft.tenant, draft.period.start);
        let draft = draft.clone();
        let work = move |servers: &mut Servers| Ok(servers.insert_draft(draft, sequence));
        self.ask("insert a draft", detail, work).await
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
    async fn ask_finalized(
        &self,
        subscription: &str,
        period: Span,
        transaction: Option<u64>,
    ) -> Result<Vec<Invoice>, StoreError> {
        let detail = || format!("{subscription} from {}", period.start);
        let subscription = subscription.to_owned();
        let work = move |servers: &mut Servers| {
            transaction.map_or(Ok(()), |transaction| servers.under_way(transaction))?;
            let found = servers.ledger.books.finalized(&subscription, period.start);
            Ok(found.into_iter().cloned().collect())
        };
        self.ask("documents of the period", detail, work).await
    }

    async fn ask_usage(
        &self,
        tenant: &TenantId,
        partition: Partition,
        period: Span,
        transaction: Option<u64>,
    ) -> Result<Option<PeriodUsage>, StoreError> {
        let detail = || format!("{tenant} from {}", period.start);
        let tenant = tenant.clone();
        let work = move |servers: &mut Servers| {
            transaction.map_or(Ok(()), |transaction| servers.under_way(transaction))?;
            Ok(servers.usage_of_period(&tenant, partition, period))
        };
        self.ask("usage of the period", detail, work).await
    }
}

impl FinalizingDocument for SimFinalizing {
    fn number(&self) -> &InvoiceNumber {
        &self.number
    }

    async fn is_draft(&mut self, id: &str) -> Result<bool, StoreError> {
        let (transaction, name) = (self.held.transaction, id.to_owned());
        let work = move |servers: &mut Servers| {
            servers.under_way(transaction)?;
            Ok(servers.is_draft(&name))
        };
        self.ledger.ask("lock the draft", || id.to_owned(), work).await
    }

    async fn earlier(&mut self, subscription: &str, period: Span) -> Result<Vec<Invoice>, StoreError> {
        self.ledger.ask_finalized(subscription, period, Some(self.held.transaction)).await
    }

    async fn usage(
        &mut self,
        tenant: &TenantId,
        partition: Partition,
        period: Span,
    ) -> Result<Option<PeriodUsage>, StoreError> {
        self.ledger.ask_usage(tenant, partition, period, Some(self.held.transaction)).await
    }

    async fn drop_draft(self, id: &str) -> Result<(), StoreError> {
        let (transaction, name) = (self.held.transaction, id.to_owned());
        let work = move |servers: &mut Servers| servers.drop_draft(transaction, &name);
        self.ledger.ask("drop the draft", || id.to_owned(), work).await
    }

    async fn store(self, invoice: &Invoice, told: &Finalized) -> Result<(), StoreError> {
        let (transaction, document, told) = (self.held.transaction, invoice.clone(), told.clone());
        let detail = || format!("{} {} {}", self.number, invoice.tenant, invoice.total);
        let work = move |servers: &mut Servers| servers.store_document(transaction, document, &told);
        self.ledger.ask("store the document", detail, work).await
    }
}
