//! The books as a billing run uses them. Like the ledger's calls, each is one statement or
//! one transaction; only a document is finalized in several steps, in a transaction that is
//! held open between them.

use weir_backends::StoreError;
use weir_backends::books::{
    BilledPeriod, DuePeriod, Finalized, JournalReach, LastNumber, PeriodUsage, StoredPlan,
};
use weir_billing::{Invoice, InvoiceNumber, LegalEntityKey};
use weir_core::{Partition, Span, TenantId, Timestamp};

use super::Ledger;

/// The ledger with its books.
pub trait Books: Ledger {
    /// A transaction that finalizes a document.
    type Finalizing: FinalizingDocument;

    /// An id that no document has.
    fn fresh_document_id(&self) -> String;

    /// The counters of all legal entities.
    fn counters(&self) -> impl Future<Output = Result<Vec<LastNumber>, StoreError>> + Send;

    /// All published versions of all plans.
    fn plans(&self) -> impl Future<Output = Result<Vec<StoredPlan>, StoreError>> + Send;

    /// How many partitions the usage topic has.
    fn partitions(&self) -> impl Future<Output = Result<i32, StoreError>> + Send;

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

    /// The finalized documents of a period in order of issue, and which sequence number is next.
    fn sequence_of_period(
        &self,
        subscription: &str,
        period: Span,
    ) -> impl Future<Output = Result<(Vec<Invoice>, i32), StoreError>> + Send;

    /// A tenant's usage in a period, and its cut; `None` when its partition was never counted.
    fn usage_of_period(
        &self,
        tenant: &TenantId,
        partition: Partition,
        period: Span,
    ) -> impl Future<Output = Result<Option<PeriodUsage>, StoreError>> + Send;

    /// Inserts a draft and returns the id of the document that has this place in the period:
    /// the draft's own, or that of one that was there before.
    fn insert_draft(
        &self,
        draft: &Invoice,
        sequence: i32,
        now: Timestamp,
    ) -> impl Future<Output = Result<String, StoreError>> + Send;

    /// Opens a transaction and waits for the legal entity's row.
    fn open_finalizing(
        &self,
        entity: &LegalEntityKey,
    ) -> impl Future<Output = Result<Self::Finalizing, StoreError>> + Send;
}

/// A transaction in which one document of a legal entity may be finalized. Dropping it
/// changes nothing.
pub trait FinalizingDocument: Send {
    /// The number that the document will get.
    fn number(&self) -> &InvoiceNumber;

    /// Whether the document is still a draft; it is held until the transaction ends.
    fn is_draft(&mut self, id: &str) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// The finalized documents of the period, in order of issue.
    fn earlier(
        &mut self,
        subscription: &str,
        period: Span,
    ) -> impl Future<Output = Result<Vec<Invoice>, StoreError>> + Send;

    /// Usage of the period as it stands now, with its cut.
    fn usage(
        &mut self,
        tenant: &TenantId,
        partition: Partition,
        period: Span,
    ) -> impl Future<Output = Result<Option<PeriodUsage>, StoreError>> + Send;

    /// Removes a draft that turned out to have nothing to say, and commits.
    fn drop_draft(self, id: &str) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Stores the finalized document, raises the counter, puts what is told of it into the
    /// outbox, and commits.
    fn store(
        self,
        invoice: &Invoice,
        told: &Finalized,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}
