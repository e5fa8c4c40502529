//! Giving documents their numbers: one transaction that holds the legal entity's row.
//!
//! Whoever opens it waits for the one before, and then sees what that has finalized. Numbers,
//! documents, lines, counter and what is told of them are committed together or not at all, so
//! numbers have no gaps. Many documents share a transaction: what it costs is mostly its round
//! trips and one flush of the disk.

use chrono::{DateTime, Utc};
use sqlx::{Postgres, Transaction};
use weir_billing::canonical::canonical_json;
use weir_billing::number::NumberPrefix;
use weir_billing::{Invoice, InvoiceLine, InvoiceNumber, LegalEntityKey};
use weir_core::Timestamp;
use weir_wire::alert::INVOICE_FINALIZED;
use weir_wire::invoice_number;

use super::documents::{documents_of, type_text};
use super::failed;
use super::usage::{PeriodUsage, SubscribedPeriod, usage_of};
use crate::StoreError;
use crate::outbox::{OutboxKind, OutboxMessage, WebhookMessage, enqueue, enqueue_webhook_events};
use crate::postgres::Pool;

const ATTEMPT: &str = "finalize documents";

const LOCK_ENTITY: &str = "SELECT number_prefix, next_number FROM legal_entity WHERE key = $1 FOR UPDATE";
const DOCUMENTS: &str = "INSERT INTO invoice (id, document_type, status, number, legal_entity, tenant, subscription,
        period_start, period_end, sequence, currency, total, cut_generation, cut_partition, cut_offset,
        document, hash, created_at, finalized_at)
    SELECT id, document_type, 'finalized', number, $1, tenant, subscription, period_start, period_end, sequence,
        currency, total::numeric, cut_generation, cut_partition, cut_offset, document, hash, issued_at, issued_at
    FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::timestamptz[], $8::timestamptz[],
        $9::integer[], $10::text[], $11::text[], $12::integer[], $13::integer[], $14::bigint[], $15::text[],
        $16::text[], $17::timestamptz[])
        AS d (id, document_type, number, tenant, subscription, period_start, period_end, sequence, currency,
            total, cut_generation, cut_partition, cut_offset, document, hash, issued_at)";
const LINES: &str = "INSERT INTO invoice_line (invoice, line, meter, description, quantity, event_count,
        plan, plan_version, amount, document, hash)
    SELECT invoice, line, meter, description, quantity::numeric, event_count, plan, plan_version, amount::numeric,
        document, hash
    FROM unnest($1::text[], $2::integer[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::text[],
        $8::integer[], $9::text[], $10::text[], $11::text[])
        AS l (invoice, line, meter, description, quantity, event_count, plan, plan_version, amount, document, hash)";
const COUNT_UP: &str = "UPDATE legal_entity SET next_number = next_number + $3
    WHERE key = $1 AND next_number = $2";

/// A transaction in which documents of a legal entity may be finalized. Dropping it changes
/// nothing.
#[derive(Debug)]
pub struct Finalizing {
    transaction: Transaction<'static, Postgres>,
    entity: LegalEntityKey,
    number: InvoiceNumber,
}

/// A document with its number, and what is told of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Finalized {
    /// The document.
    pub invoice: Invoice,
    /// The how-manieth of its period: 0 the invoice, 1… its corrections.
    pub sequence: i32,
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
        let prefix = NumberPrefix::new(&prefix).map_err(corrupt)?;
        let counter = u64::try_from(counter).map_err(corrupt)?;
        let number = InvoiceNumber::new(prefix, counter).map_err(corrupt)?;
        Ok(Self { transaction, entity: entity.clone(), number })
    }

    /// The number that the first document will get; the others follow it.
    pub fn number(&self) -> &InvoiceNumber {
        &self.number
    }

    /// The documents of periods, in their order, each period's in order of issue.
    pub async fn earlier(&mut self, periods: &[SubscribedPeriod]) -> Result<Vec<Vec<Invoice>>, StoreError> {
        documents_of(&mut self.transaction, periods).await
    }

    /// Usage of periods as it stands now, in their order, with its cuts.
    pub async fn usage(
        &mut self,
        periods: &[SubscribedPeriod],
    ) -> Result<Vec<Option<PeriodUsage>>, StoreError> {
        usage_of(&mut self.transaction, periods).await
    }

    /// Stores the documents with their lines, raises the counter, puts what is told of them into
    /// the outbox, and commits. Their numbers must follow each other.
    pub async fn store(mut self, documents: &[Finalized]) -> Result<(), StoreError> {
        let first = i64::try_from(self.number.counter()).map_err(corrupt)?;
        let expected = self.number.counter()..;
        let follow = documents.iter().zip(expected).all(|(document, counter)| {
            let number = document.invoice.number.as_ref();
            number
                .is_some_and(|number| number.counter() == counter && number.prefix() == self.number.prefix())
        });
        if !follow {
            return Err(corrupt("the documents carry other numbers than the next ones"));
        }
        self.insert_documents(documents).await?;
        self.insert_lines(documents).await?;
        let counted = sqlx::query(COUNT_UP)
            .bind(self.entity.as_str())
            .bind(first)
            .bind(i64::try_from(documents.len()).map_err(corrupt)?)
            .execute(&mut *self.transaction)
            .await
            .map_err(failed(ATTEMPT))?;
        if counted.rows_affected() != 1 {
            return Err(corrupt("the counter of the legal entity moved under its lock"));
        }
        self.tell(documents).await?;
        self.transaction.commit().await.map_err(failed(ATTEMPT))
    }

    async fn insert_documents(&mut self, documents: &[Finalized]) -> Result<(), StoreError> {
        let all = || documents.iter().map(|document| &document.invoice);
        let texts = |of: fn(&Invoice) -> &str| all().map(of).collect::<Vec<_>>();
        let times = |of: fn(&Invoice) -> Timestamp| all().map(|one| of(one).to_chrono()).collect::<Vec<_>>();
        let numbers = all().map(|one| one.number.as_ref().map(ToString::to_string));
        let canonical = all().map(Invoice::canonical_json).collect::<Result<Vec<_>, _>>().map_err(corrupt)?;
        sqlx::query(DOCUMENTS)
            .bind(self.entity.as_str())
            .bind(texts(|one| one.id.as_str()))
            .bind(texts(|one| type_text(one.document_type)))
            .bind(numbers.collect::<Vec<_>>())
            .bind(texts(|one| one.tenant.as_str()))
            .bind(texts(|one| one.subscription_id.as_str()))
            .bind(times(|one| one.period.start))
            .bind(times(|one| one.period.end))
            .bind(documents.iter().map(|document| document.sequence).collect::<Vec<_>>())
            .bind(texts(|one| one.currency.code()))
            .bind(all().map(|one| one.total.amount.to_string()).collect::<Vec<_>>())
            .bind(all().map(|one| one.cut.generation).collect::<Vec<_>>())
            .bind(all().map(|one| one.cut.partition).collect::<Vec<_>>())
            .bind(all().map(|one| one.cut.offset).collect::<Vec<_>>())
            .bind(canonical)
            .bind(texts(|one| one.hash.as_str()))
            .bind(all().map(issued_at).collect::<Result<Vec<_>, _>>()?)
            .execute(&mut *self.transaction)
            .await
            .map_err(failed(ATTEMPT))?;
        Ok(())
    }

    async fn insert_lines(&mut self, documents: &[Finalized]) -> Result<(), StoreError> {
        let invoices = || documents.iter().map(|document| &document.invoice);
        let all = || invoices().flat_map(|invoice| invoice.lines.iter().map(move |line| (&invoice.id, line)));
        let texts = |of: fn(&InvoiceLine) -> String| all().map(|(_, line)| of(line)).collect::<Vec<_>>();
        let numbers = all().map(|(_, line)| i32::try_from(line.line));
        let versions = all().map(|(_, line)| i32::try_from(line.plan_version));
        let canonical = all().map(|(_, line)| canonical_json(line));
        sqlx::query(LINES)
            .bind(all().map(|(invoice, _)| invoice.as_str()).collect::<Vec<_>>())
            .bind(numbers.collect::<Result<Vec<_>, _>>().map_err(corrupt)?)
            .bind(all().map(|(_, line)| line.meter.as_ref().map(ToString::to_string)).collect::<Vec<_>>())
            .bind(texts(|line| line.description.clone()))
            .bind(texts(|line| line.quantity.to_string()))
            .bind(all().map(|(_, line)| line.event_count).collect::<Vec<_>>())
            .bind(texts(|line| line.plan.to_string()))
            .bind(versions.collect::<Result<Vec<_>, _>>().map_err(corrupt)?)
            .bind(texts(|line| line.amount.amount.to_string()))
            .bind(canonical.collect::<Result<Vec<_>, _>>().map_err(corrupt)?)
            .bind(texts(|line| line.hash.clone()))
            .execute(&mut *self.transaction)
            .await
            .map_err(failed(ATTEMPT))?;
        Ok(())
    }

    async fn tell(&mut self, documents: &[Finalized]) -> Result<(), StoreError> {
        let mut events = Vec::with_capacity(documents.len());
        let mut numbers = Vec::with_capacity(documents.len());
        for Finalized { invoice, webhook, topic, .. } in documents {
            let (id, tenant) = (&invoice.id, invoice.tenant.to_string());
            let number = invoice.number.as_ref().ok_or_else(|| corrupt("a document without a number"))?;
            // A key of its own: the topic is compacted, and an older number may be told last.
            let topic_key = Some(invoice_number::key(self.entity.as_str(), number));
            events.push(WebhookMessage {
                id: format!("invoice-finalized-{id}"),
                tenant: tenant.clone(),
                body: webhook.clone(),
            });
            numbers.push(OutboxMessage {
                id: format!("invoice-number-{id}"),
                kind: OutboxKind::InvoiceTopic,
                tenant: Some(tenant),
                endpoint_id: None,
                topic_key,
                body: topic.clone(),
            });
        }
        enqueue_webhook_events(&mut self.transaction, INVOICE_FINALIZED, &events).await?;
        enqueue(&mut self.transaction, &numbers).await
    }
}

fn issued_at(invoice: &Invoice) -> Result<DateTime<Utc>, StoreError> {
    invoice.issued_at.map(Timestamp::to_chrono).ok_or_else(|| corrupt("a document without a date"))
}

fn corrupt(error: impl std::fmt::Display) -> StoreError {
    StoreError::corrupt(ATTEMPT, error)
}
