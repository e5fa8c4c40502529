//! The books of the product: Postgres. Thin: each call is one of `weir-backends`'.

use uuid::Uuid;
use weir_backends::StoreError;
use weir_backends::books::{
    self, BilledPeriod, DuePeriod, Finalized, Finalizing, JournalReach, LastNumber, PeriodUsage, StoredPlan,
};
use weir_billing::{Invoice, InvoiceNumber, LegalEntityKey};
use weir_core::{Partition, Span, TenantId, Timestamp};

use super::{Books, FinalizingDocument, PostgresLedger};

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

    async fn partitions(&self) -> Result<i32, StoreError> {
        books::partitions(self.pool()).await
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

    async fn sequence_of_period(
        &self,
        subscription: &str,
        period: Span,
    ) -> Result<(Vec<Invoice>, i32), StoreError> {
        books::sequence_of_period(self.pool(), subscription, period).await
    }

    async fn usage_of_period(
        &self,
        tenant: &TenantId,
        partition: Partition,
        period: Span,
    ) -> Result<Option<PeriodUsage>, StoreError> {
        books::usage_of_period(self.pool(), tenant, partition, period).await
    }

    async fn insert_draft(
        &self,
        draft: &Invoice,
        sequence: i32,
        now: Timestamp,
    ) -> Result<String, StoreError> {
        books::insert_draft(self.pool(), draft, sequence, now).await
    }

    async fn open_finalizing(&self, entity: &LegalEntityKey) -> Result<Finalizing, StoreError> {
        Finalizing::open(self.pool(), entity).await
    }
}

impl FinalizingDocument for Finalizing {
    fn number(&self) -> &InvoiceNumber {
        Finalizing::number(self)
    }

    async fn is_draft(&mut self, id: &str) -> Result<bool, StoreError> {
        Finalizing::is_draft(self, id).await
    }

    async fn earlier(&mut self, subscription: &str, period: Span) -> Result<Vec<Invoice>, StoreError> {
        Finalizing::earlier(self, subscription, period).await
    }

    async fn usage(
        &mut self,
        tenant: &TenantId,
        partition: Partition,
        period: Span,
    ) -> Result<Option<PeriodUsage>, StoreError> {
        Finalizing::usage(self, tenant, partition, period).await
    }

    async fn drop_draft(self, id: &str) -> Result<(), StoreError> {
        Finalizing::drop_draft(self, id).await
    }

    async fn store(self, invoice: &Invoice, told: &Finalized) -> Result<(), StoreError> {
        Finalizing::store(self, invoice, told).await
    }
}
