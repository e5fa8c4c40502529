//! Giving a draft its number: one transaction that holds the legal entity's row.
//!
//! Whoever opens it waits for the one before; a draft that another run finalized
//! meanwhile is found out and left alone. Number, document, lines, counter and what is
//! told of it are committed together or not at all, so numbers have no gaps.

use sqlx::{Postgres, Transaction};
use weir_billing::number::NumberPrefix;
use weir_billing::{Invoice, InvoiceLine, InvoiceNumber, LegalEntityKey};
use weir_core::{Partition, Span, TenantId, Timestamp};
use weir_wire::alert::INVOICE_FINALIZED;
use weir_wire::invoice_number;

use super::documents;
use super::failed;
use super::usage::{PeriodUsage, period_usage};
use crate::StoreError;
use crate::outbox::{OutboxKind, OutboxMessage, enqueue, enqueue_webhook_event};
use crate::postgres::Pool;

const ATTEMPT: &str = "finalize a document";

const LOCK_ENTITY: &str = "SELECT number_prefix, next_number FROM legal_entity WHERE key = $1 FOR UPDATE";
const LOCK_DRAFT: &str = "SELECT status FROM invoice WHERE id = $1 FOR UPDATE";
const FINALIZE: &str = "UPDATE invoice SET status = 'finalized', number = $2, currency = $3,
        total = $4::numeric, cut_generation = $5, cut_partition = $6, cut_offset = $7, document = $8,
        hash = $9, finalized_at = $10
    WHERE id = $1 AND status = 'draft'";
const LINES: &str = "INSERT INTO invoice_line (invoice, line, meter, description, quantity, event_count,
        plan, plan_version, amount, document, hash)
    SELECT $1, line, meter, description, quantity::numeric, event_count, plan, plan_version, amount::numeric,
        document, hash
    FROM unnest($2::integer[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::text[], $8::integer[],
        $9::text[], $10::text[], $11::text[])
        AS l (line, meter, description, quantity, event_count, plan, plan_version, amount, document, hash)";
const COUNT_UP: &str = "UPDATE legal_entity SET next_number = next_number + 1
    WHERE key = $1 AND next_number = $2";

/// A transaction in which one document of a legal entity may be finalized. Dropping it
/// changes nothing.
#[derive(Debug)]
pub struct Finalizing {
    transaction: Transaction<'static, Postgres>,
    entity: LegalEntityKey,
    number: InvoiceNumber,
}

/// What is told of a finalized document.
#[derive(Clone, Debug, PartialEq)]
pub struct Finalized {
    /// The body of the webhook event `invoice.finalized`.
    pub webhook: serde_json::Value,
    /// The value of the record in the topic of numbers.
    pub topic: serde_json::Value,
}

impl Finalizing {
    /// Opens the transaction and waits for the legal entity's row.
    pub async fn open(pool: &Pool, entity: &LegalEntityKey) -> Result<Self, StoreError> {
        let mut transaction = pool.begin().await.map_err(failed(ATTEMPT))?;
        let row: Option<(String, i64)> = sqlx::query_as(LOCK_ENTITY)
            .bind(entity.as_str())
            .fetch_optional(&mut *transaction)
            .await
            .map_err(failed(ATTEMPT))?;
        let (prefix, counter) =
            row.ok_or_else(|| StoreError::corrupt(ATTEMPT, format!("there is no legal entity {entity}")))?;
        let prefix = NumberPrefix::new(&prefix).map_err(|error| StoreError::corrupt(ATTEMPT, error))?;
        let counter = u64::try_from(counter).map_err(|error| StoreError::corrupt(ATTEMPT, error))?;
        let number =
            InvoiceNumber::new(prefix, counter).map_err(|error| StoreError::corrupt(ATTEMPT, error))?;
        Ok(Self { transaction, entity: entity.clone(), number })
    }

    /// The number that the document will get.
    pub fn number(&self) -> &InvoiceNumber {
        &self.number
    }

    /// Whether the document is still a draft; it is held until the transaction ends.
    pub async fn is_draft(&mut self, id: &str) -> Result<bool, StoreError> {
        let status: Option<String> = sqlx::query_scalar(LOCK_DRAFT)
            .bind(id)
            .fetch_optional(&mut *self.transaction)
            .await
            .map_err(failed(ATTEMPT))?;
        Ok(status.as_deref() == Some("draft"))
    }

    /// Usage of the period as it stands now, with its cut.
    pub async fn usage(
        &mut self,
        tenant: &TenantId,
        partition: Partition,
        period: Span,
    ) -> Result<Option<PeriodUsage>, StoreError> {
        period_usage(&mut self.transaction, tenant, partition, period).await
    }

    /// The finalized documents of the period, in order of issue.
    pub async fn earlier(&mut self, subscription: &str, period: Span) -> Result<Vec<Invoice>, StoreError> {
        documents::finalized_of_period(&mut self.transaction, subscription, period).await
    }

    /// Removes a draft that turned out to have nothing to say.
    pub async fn drop_draft(mut self, id: &str) -> Result<(), StoreError> {
        documents::delete_draft(&mut self.transaction, id).await?;
        self.transaction.commit().await.map_err(failed(ATTEMPT))
    }

    /// Stores the finalized document with its lines, raises the counter, puts what is told of
    /// it into the outbox, and commits.
    pub async fn store(mut self, invoice: &Invoice, told: &Finalized) -> Result<(), StoreError> {
        let corrupt = |error: &dyn std::fmt::Display| StoreError::corrupt(ATTEMPT, error);
        if invoice.number.as_ref() != Some(&self.number) {
            return Err(corrupt(&"the document carries another number than the next one"));
        }
        let issued_at = invoice.issued_at.ok_or_else(|| corrupt(&"the document has no date"))?;
        self.update(invoice, issued_at).await?;
        self.insert_lines(invoice).await?;
        let counter = i64::try_from(self.number.counter()).map_err(|error| corrupt(&error))?;
        let counted = sqlx::query(COUNT_UP)
            .bind(self.entity.as_str())
            .bind(counter)
            .execute(&mut *self.transaction)
            .await
            .map_err(failed(ATTEMPT))?;
        if counted.rows_affected() != 1 {
            return Err(corrupt(&"the counter of the legal entity moved under its lock"));
        }
        self.tell(invoice, told).await?;
        self.transaction.commit().await.map_err(failed(ATTEMPT))
    }

    async fn update(&mut self, invoice: &Invoice, issued_at: Timestamp) -> Result<(), StoreError> {
        let document = invoice.canonical_json().map_err(|error| StoreError::corrupt(ATTEMPT, error))?;
        let updated = sqlx::query(FINALIZE)
            .bind(invoice.id.as_str())
            .bind(self.number.to_string())
            .bind(invoice.currency.code())
            .bind(invoice.total.amount.to_string())
            .bind(invoice.cut.generation)
            .bind(invoice.cut.partition)
            .bind(invoice.cut.offset)
            .bind(document)
            .bind(invoice.hash.as_str())
            .bind(issued_at.to_chrono())
            .execute(&mut *self.transaction)
            .await
            .map_err(failed(ATTEMPT))?;
        if updated.rows_affected() == 1 {
            Ok(())
        } else {
            Err(StoreError::corrupt(ATTEMPT, format!("{} is not a draft", invoice.id)))
        }
    }

    async fn insert_lines(&mut self, invoice: &Invoice) -> Result<(), StoreError> {
        fn corrupt(error: impl std::fmt::Display) -> StoreError {
            StoreError::corrupt(ATTEMPT, error)
        }
        let lines = &invoice.lines;
        let numbers = lines.iter().map(|line| i32::try_from(line.line));
        let versions = lines.iter().map(|line| i32::try_from(line.plan_version));
        let documents = lines.iter().map(weir_billing::canonical::canonical_json);
        let texts = |of: fn(&InvoiceLine) -> String| lines.iter().map(of).collect::<Vec<_>>();
        sqlx::query(LINES)
            .bind(invoice.id.as_str())
            .bind(numbers.collect::<Result<Vec<_>, _>>().map_err(corrupt)?)
            .bind(lines.iter().map(|line| line.meter.as_ref().map(ToString::to_string)).collect::<Vec<_>>())
            .bind(texts(|line| line.description.clone()))
            .bind(texts(|line| line.quantity.to_string()))
            .bind(lines.iter().map(|line| line.event_count).collect::<Vec<_>>())
            .bind(texts(|line| line.plan.to_string()))
            .bind(versions.collect::<Result<Vec<_>, _>>().map_err(corrupt)?)
            .bind(texts(|line| line.amount.amount.to_string()))
            .bind(documents.collect::<Result<Vec<_>, _>>().map_err(corrupt)?)
            .bind(texts(|line| line.hash.clone()))
            .execute(&mut *self.transaction)
            .await
            .map_err(failed(ATTEMPT))?;
        Ok(())
    }

    async fn tell(&mut self, invoice: &Invoice, told: &Finalized) -> Result<(), StoreError> {
        let message = format!("invoice-finalized-{}", invoice.id);
        let tenant = invoice.tenant.as_str();
        enqueue_webhook_event(&mut self.transaction, &message, tenant, INVOICE_FINALIZED, &told.webhook)
            .await?;
        let number = OutboxMessage {
            id: format!("invoice-number-{}", invoice.id),
            kind: OutboxKind::InvoiceTopic,
            tenant: Some(tenant.to_owned()),
            endpoint_id: None,
            // A key of its own: the topic is compacted, and an older number may be told last.
            topic_key: Some(invoice_number::key(self.entity.as_str(), &self.number)),
            body: told.topic.clone(),
        };
        enqueue(&mut self.transaction, &[number]).await
    }
}
