//! The books of the product: Postgres. Thin: each call is one of `weir-backends`'.

use uuid::Uuid;
use weir_backends::StoreError;
use weir_backends::books::{
    self, BilledPeriod, DuePeriod, Finalized, Finalizing, JournalReach, LastNumber, PeriodUsage, StoredPlan,
    SubscribedPeriod,
};
use weir_billing::{Invoice, InvoiceNumber, LegalEntityKey};
use weir_core::{Partition, TenantId, Timestamp};

use super::{Books, FinalizingDocuments, PostgresLedger};

impl Books for PostgresLedger {
    type Finalizing = Finalizing;

    fn fresh_document_id(&self) -> String {
        format!("inv_{}", Uuid::now_v7().simple())
    }

    async fn counters(&self) -> Result<Vec<LastNumber>, StoreError> {
        books::counters(self.pool()).await
    }

    async fn plans(&self) -> Result<Vec<StoredPlan>, StoreError> {
        books::plans(self.pool()).await
    }

    async fn newest_broker_time(&self) -> Result<Option<Timestamp>, StoreError> {
        books::newest_broker_time(self.pool()).await
    }

    async fn due_periods(
        &self,
        until: Timestamp,
        only: Option<&TenantId>,
    ) -> Result<Vec<DuePeriod>, StoreError> {
        books::due_periods(self.pool(), until, only).await
    }

    async fn billed_periods(
        &self,
        since: Timestamp,
        only: Option<&TenantId>,
    ) -> Result<Vec<BilledPeriod>, StoreError> {
        books::billed_periods(self.pool(), since, only).await
    }

    async fn journal_reach(&self, partition: Partition) -> Result<Option<JournalReach>, StoreError> {
        books::journal_reach(self.pool(), partition).await
    }

    async fn documents_of_periods(
        &self,
        periods: &[SubscribedPeriod],
    ) -> Result<Vec<Vec<Invoice>>, StoreError> {
        books::documents_of_periods(self.pool(), periods).await
    }

    async fn usage_of_periods(
        &self,
        periods: &[SubscribedPeriod],
    ) -> Result<Vec<Option<PeriodUsage>>, StoreError> {
        books::usage_of_periods(self.pool(), periods).await
    }

    async fn open_finalizing(&self, entity: &LegalEntityKey) -> Result<Finalizing, StoreError> {
        Finalizing::open(self.pool(), entity).await
    }
}

impl FinalizingDocuments for Finalizing {
    fn number(&self) -> &InvoiceNumber {
        Finalizing::number(self)
    }

    async fn earlier(&mut self, periods: &[SubscribedPeriod]) -> Result<Vec<Vec<Invoice>>, StoreError> {
        Finalizing::earlier(self, periods).await
    }

    async fn usage(&mut self, periods: &[SubscribedPeriod]) -> Result<Vec<Option<PeriodUsage>>, StoreError> {
        Finalizing::usage(self, periods).await
    }

    async fn store(self, documents: &[Finalized]) -> Result<(), StoreError> {
        Finalizing::store(self, documents).await
    }
}
