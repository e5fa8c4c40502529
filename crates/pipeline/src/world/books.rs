//! The books as a billing run uses them. Like the ledger's calls, each is one statement or
//! one transaction; only documents are finalized in several steps, in a transaction that is
//! held open between them.

use weir_backends::StoreError;
use weir_backends::books::{
    BilledPeriod, DuePeriod, Finalized, JournalReach, LastNumber, PeriodUsage, StoredPlan, SubscribedPeriod,
};
use weir_billing::{Invoice, InvoiceNumber, LegalEntityKey};
use weir_core::{Partition, TenantId, Timestamp};

use super::Ledger;

/// The ledger with its books.
pub trait Books: Ledger {
    /// A transaction that finalizes documents.
    type Finalizing: FinalizingDocuments;

    /// An id that no document has.
    fn fresh_document_id(&self) -> String;

    /// The counters of all legal entities.
    fn counters(&self) -> impl Future<Output = Result<Vec<LastNumber>, StoreError>> + Send;

    /// All published versions of all plans.
    fn plans(&self) -> impl Future<Output = Result<Vec<StoredPlan>, StoreError>> + Send;

    /// The newest broker time of any partition; `None` before anything was counted.
    fn newest_broker_time(&self) -> impl Future<Output = Result<Option<Timestamp>, StoreError>> + Send;

    /// Periods that end by `until` and have no finalized invoice, the earliest first.
    fn due_periods(
        &self,
        until: Timestamp,
        only: Option<&TenantId>,
    ) -> impl Future<Output = Result<Vec<DuePeriod>, StoreError>> + Send;

    /// Periods with a finalized invoice that end at `since` or later, the earliest first.
    fn billed_periods(
        &self,
        since: Timestamp,
        only: Option<&TenantId>,
    ) -> impl Future<Output = Result<Vec<BilledPeriod>, StoreError>> + Send;

    /// How far a partition has come; `None` when nobody has counted it yet.
    fn journal_reach(
        &self,
        partition: Partition,
    ) -> impl Future<Output = Result<Option<JournalReach>, StoreError>> + Send;

    /// The documents of periods, in their order, each period's in order of issue.
    fn documents_of_periods(
        &self,
        periods: &[SubscribedPeriod],
    ) -> impl Future<Output = Result<Vec<Vec<Invoice>>, StoreError>> + Send;

    /// Usage of periods in their order, with its cuts, all of one moment; `None` where the
    /// tenant's partition was never counted.
    fn usage_of_periods(
        &self,
        periods: &[SubscribedPeriod],
    ) -> impl Future<Output = Result<Vec<Option<PeriodUsage>>, StoreError>> + Send;

    /// Opens a transaction and waits for the legal entity's row.
    fn open_finalizing(
        &self,
        entity: &LegalEntityKey,
    ) -> impl Future<Output = Result<Self::Finalizing, StoreError>> + Send;
}

/// A transaction in which documents of a legal entity may be finalized. Dropping it changes
/// nothing.
pub trait FinalizingDocuments: Send {
    /// The number that the first document will get; the others follow it.
    fn number(&self) -> &InvoiceNumber;

    /// The documents of periods, in their order, each period's in order of issue.
    fn earlier(
        &mut self,
        periods: &[SubscribedPeriod],
    ) -> impl Future<Output = Result<Vec<Vec<Invoice>>, StoreError>> + Send;

    /// Usage of periods as it stands now, in their order, with its cuts.
    fn usage(
        &mut self,
        periods: &[SubscribedPeriod],
    ) -> impl Future<Output = Result<Vec<Option<PeriodUsage>>, StoreError>> + Send;

    /// Stores the documents, raises the counter, puts what is told of them into the outbox, and
    /// commits.
    fn store(self, documents: &[Finalized]) -> impl Future<Output = Result<(), StoreError>> + Send;
}
