//! The books in memory: what is billed, the documents made of it, and the transactions in
//! which they get their numbers. They follow the statements of `weir-backends::books`.

use std::collections::{BTreeMap, BTreeSet};

use weir_backends::StoreError;
use weir_backends::books::{
    BilledPeriod, DuePeriod, Finalized, JournalReach, LastNumber, MeterTotals, PeriodUsage, StoredPlan,
};
use weir_backends::outbox::OutboxKind;
use weir_billing::{Invoice, InvoiceNumber, NumberPrefix, PlanVersion, Subscription};
use weir_core::{Partition, Position, Quantity, Span, TenantId, Timestamp};
use weir_wire::alert::INVOICE_FINALIZED;
use weir_wire::invoice_number;

use super::usage::{UsageLine, UsageRowKey};
use super::{INVOICES, Servers};
use crate::mutation::Mutation;
use crate::scenario::LEGAL_ENTITIES;

/// Subscription, start of the period, sequence.
pub(crate) type DocumentKey = (String, i64, i32);

/// The tables of the books.
#[derive(Clone, Debug, Default)]
pub(crate) struct BookTables {
    pub(crate) plans: Vec<PlanVersion>,
    pub(crate) subscriptions: BTreeMap<TenantId, Subscription>,
    /// What each legal entity gives next.
    pub(crate) next_numbers: BTreeMap<String, u64>,
    /// The rows of `invoice`.
    pub(crate) documents: BTreeMap<DocumentKey, Invoice>,
}

/// Transactions under way, and the legal entities whose rows they hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct Transactions {
    open: BTreeSet<u64>,
    holders: BTreeMap<String, u64>,
}

impl Transactions {
    /// Begins one.
    pub(crate) fn begin(&mut self, transaction: u64) {
        self.open.insert(transaction);
    }

    /// Ends one: what it held is free.
    pub(crate) fn end(&mut self, transaction: u64) {
        self.open.remove(&transaction);
        self.holders.retain(|_, holder| *holder != transaction);
    }
}

/// What is told of a document once it is stored.
struct Told {
    /// The document's.
    id: String,
    tenant: String,
    /// Of the record in the topic of numbers.
    key: String,
    webhook: serde_json::Value,
    topic: serde_json::Value,
}

impl BookTables {
    /// Books in which nobody is billed yet.
    pub(crate) fn new(plans: Vec<PlanVersion>) -> Self {
        let next_numbers = LEGAL_ENTITIES.iter().map(|entity| ((*entity).to_owned(), 1)).collect();
        Self { plans, next_numbers, ..Self::default() }
    }

    /// The documents of a period, in order of issue.
    pub(crate) fn finalized(&self, subscription: &str, period_start: Timestamp) -> Vec<&Invoice> {
        let start_ms = period_start.millis();
        let range = (subscription.to_owned(), start_ms, 0)..=(subscription.to_owned(), start_ms, i32::MAX);
        self.documents.range(range).map(|(_, document)| document).collect()
    }
}

fn number(entity: &str, counter: u64) -> Result<InvoiceNumber, StoreError> {
    let corrupt = |error| StoreError::corrupt("finalize documents", error);
    let prefix = NumberPrefix::new(&entity.to_uppercase()).map_err(corrupt)?;
    InvoiceNumber::new(prefix, counter).map_err(corrupt)
}

impl Servers {
    /// `counters`.
    pub(crate) fn counters(&self) -> Vec<LastNumber> {
        let line = |(entity, next): (&String, &u64)| LastNumber {
            legal_entity: entity.clone(),
            prefix: entity.to_uppercase(),
            next_number: i64::try_from(*next).unwrap_or(i64::MAX),
        };
        self.ledger.books.next_numbers.iter().map(line).collect()
    }

    /// `last_numbers_in_topic`.
    pub(crate) fn last_numbers(&self) -> Result<BTreeMap<String, i64>, StoreError> {
        let corrupt = |why| StoreError::corrupt("read the topic of invoice numbers", why);
        let mut last = BTreeMap::new();
        if self.mistaken(Mutation::CounterNotCompared) {
            return Ok(last);
        }
        for record in self.journal.other.iter().filter(|record| record.topic == INVOICES) {
            let (Some(key), Some(value)) = (&record.key, &record.value) else { continue };
            let given = invoice_number::decode(key, value).map_err(corrupt)?;
            let known: &mut i64 = last.entry(given.legal_entity).or_default();
            *known = (*known).max(i64::try_from(given.number.counter()).unwrap_or(i64::MAX));
        }
        Ok(last)
    }

    /// `plans`.
    pub(crate) fn plans(&self) -> Vec<StoredPlan> {
        let stored = |plan: &PlanVersion| StoredPlan { plan: plan.clone(), content_hash: String::new() };
        self.ledger.books.plans.iter().map(stored).collect()
    }

    /// `due_periods`.
    pub(crate) fn due_periods(&self, until: Timestamp, only: Option<&TenantId>) -> Vec<DuePeriod> {
        let mut due = Vec::new();
        for (subscription, period) in self.periods(only) {
            let key = (subscription.id.clone(), period.start.millis(), 0);
            if period.end > until || self.ledger.books.documents.contains_key(&key) {
                continue;
            }
            let (subscription, currency) = (subscription.clone(), "EUR".to_owned());
            due.push(DuePeriod { subscription, period, currency });
        }
        due.sort_by_key(|due| (due.period.end, due.subscription.legal_entity.clone()));
        due
    }

    /// `billed_periods`.
    pub(crate) fn billed_periods(&self, since: Timestamp, only: Option<&TenantId>) -> Vec<BilledPeriod> {
        let is_billed = |(subscription, period): &(&Subscription, Span)| {
            let key = (subscription.id.clone(), period.start.millis(), 0);
            period.end >= since && self.ledger.books.documents.contains_key(&key)
        };
        let billed = self.periods(only).filter(is_billed);
        let mut billed: Vec<_> = billed
            .map(|(subscription, period)| BilledPeriod { subscription: subscription.clone(), period })
            .collect();
        billed.sort_by_key(|billed| (billed.period.end, billed.subscription.legal_entity.clone()));
        billed
    }

    /// The periods that subscriptions cover, of one tenant or of all.
    fn periods(&self, only: Option<&TenantId>) -> impl Iterator<Item = (&Subscription, Span)> {
        let meant = move |subscription: &&Subscription| only.is_none_or(|only| subscription.tenant == *only);
        self.ledger.books.subscriptions.values().filter(meant).flat_map(|subscription| {
            let facts = self.ledger.tenants.get(&subscription.tenant);
            let periods = facts.map(|facts| facts.periods.as_slice()).unwrap_or_default();
            let covered = periods.iter().filter(|period| period.end > subscription.starts_at);
            covered.map(move |period| (subscription, *period))
        })
    }

    /// `newest_broker_time`.
    pub(crate) fn newest_broker_time(&self) -> Option<Timestamp> {
        self.ledger.partitions.values().map(|line| line.row.broker_time_max).max()
    }

    /// `journal_reach`.
    pub(crate) fn journal_reach(&self, partition: Partition) -> Option<JournalReach> {
        let row = &self.ledger.partitions.get(&partition)?.row;
        let by_clock = self.mistaken(Mutation::ClosedByClock);
        let folded = self.folded_broker_time(partition);
        Some(JournalReach {
            generation: row.generation,
            partition,
            folded_to: row.folded_to,
            projected_to: row.projected_to,
            next_offset: row.next_offset,
            broker_time_max: row.broker_time_max,
            folded_broker_time: if by_clock { Timestamp::clamped(self.broker_ms) } else { folded },
        })
    }

    fn folded_broker_time(&self, partition: Partition) -> Timestamp {
        let Some(line) = self.ledger.partitions.get(&partition) else { return Timestamp::EPOCH };
        let chain = self.ledger.chain((partition, line.row.generation), i64::MIN);
        let folded = chain.take_while(|(_, batch)| batch.to <= line.row.folded_to).last();
        folded.map_or(Timestamp::EPOCH, |(_, batch)| batch.broker_time_max)
    }

    /// `usage_of_period`: totals and cut of one moment.
    pub(crate) fn usage_of_period(
        &self,
        tenant: &TenantId,
        partition: Partition,
        period: Span,
    ) -> Option<PeriodUsage> {
        let row = &self.ledger.partitions.get(&partition)?.row;
        let elsewhere = self.mistaken(Mutation::CutFromElsewhere);
        let offset = if elsewhere { row.next_offset } else { row.folded_to };
        let mut by_meter: BTreeMap<_, Vec<(&UsageRowKey, &UsageLine)>> = BTreeMap::new();
        let within = |key: &UsageRowKey| key.key.tenant == *tenant && period.contains(key.key.hour);
        for (key, line) in self.ledger.usage.iter().filter(|(key, _)| within(key)) {
            by_meter.entry(key.key.meter.clone()).or_default().push((key, line));
        }
        let totals = |(meter, lines): (_, Vec<(&UsageRowKey, &UsageLine)>)| {
            let quantities = || lines.iter().map(|(_, line)| line.quantity);
            let latest = lines.iter().filter(|(_, line)| line.latest.is_some());
            let latest = latest.max_by_key(|(_, line)| (line.latest, line.quantity));
            let values = lines.iter().flat_map(|(key, _)| self.values_of(key));
            let unique = values.collect::<BTreeSet<_>>().len();
            MeterTotals {
                meter,
                sum: quantities().fold(Quantity::ZERO, |sum, more| sum.checked_add(more).unwrap_or(sum)),
                max: quantities().max().unwrap_or_default(),
                min: quantities().min().unwrap_or_default(),
                latest: latest.map(|(_, line)| line.quantity).unwrap_or_default(),
                unique: Quantity::from_units(i64::try_from(unique).unwrap_or(0)),
                event_count: lines.iter().map(|(_, line)| line.count).sum(),
            }
        };
        Some(PeriodUsage {
            cut: Position { generation: row.generation, partition, offset },
            meters: by_meter.into_iter().map(totals).collect(),
        })
    }

    fn values_of(&self, key: &UsageRowKey) -> impl Iterator<Item = weir_core::Hash128> {
        let from = (key.clone(), weir_core::Hash128(0));
        let ours = self.ledger.values.range(from..).take_while(move |(row, _)| row == key);
        ours.map(|(_, hash)| *hash)
    }

    /// The lock of `Finalizing::open`: the next number; `None` while another transaction has it.
    pub(crate) fn lock_entity(
        &mut self,
        transaction: u64,
        entity: &str,
    ) -> Result<Option<InvoiceNumber>, StoreError> {
        self.under_way(transaction)?;
        if !self.mistaken(Mutation::NoEntityLock) {
            let holder = self.transactions.holders.entry(entity.to_owned()).or_insert(transaction);
            if *holder != transaction {
                return Ok(None);
            }
        }
        let counter = self.ledger.books.next_numbers.get(entity).copied().unwrap_or(1);
        number(entity, counter).map(Some)
    }

    /// Fails where a transaction was ended, with its connection.
    pub(crate) fn under_way(&self, transaction: u64) -> Result<(), StoreError> {
        if self.transactions.open.contains(&transaction) {
            return Ok(());
        }
        let reason = "the connection was closed".to_owned();
        Err(StoreError::Transient { attempt: "finalize documents", reason })
    }

    /// `Finalizing::store`, committed: all of them or none.
    pub(crate) fn store_documents(
        &mut self,
        transaction: u64,
        documents: Vec<Finalized>,
    ) -> Result<(), StoreError> {
        self.under_way(transaction)?;
        let mut books = self.ledger.books.clone();
        let told = documents.into_iter().map(|document| self.store_document(&mut books, document));
        let told = told.collect::<Result<Vec<_>, _>>()?;
        self.ledger.books = books;
        for one in told {
            let Told { id, tenant, key, webhook, topic } = one;
            self.enqueue_event(&format!("invoice-finalized-{id}"), &tenant, INVOICE_FINALIZED, &webhook);
            let number = format!("invoice-number-{id}");
            self.enqueue(number, OutboxKind::InvoiceTopic, (&tenant, Some(key)), topic);
        }
        self.transactions.end(transaction);
        Ok(())
    }

    fn store_document(&self, books: &mut BookTables, finalized: Finalized) -> Result<Told, StoreError> {
        let corrupt = |why: String| StoreError::corrupt("finalize documents", why);
        let Finalized { invoice, sequence, webhook, topic } = finalized;
        let number =
            invoice.number.clone().ok_or_else(|| corrupt("a document without a number".to_owned()))?;
        let entity = invoice.legal_entity.to_string();
        let next = books.next_numbers.entry(entity.clone()).or_insert(1);
        if *next != number.counter() && !self.mistaken(Mutation::NoEntityLock) {
            return Err(corrupt("the counter of the legal entity moved under its lock".to_owned()));
        }
        *next = number.counter() + 1;
        let (tenant, id) = (invoice.tenant.to_string(), invoice.id.clone());
        let key = (invoice.subscription_id.clone(), invoice.period.start.millis(), sequence);
        if books.documents.insert(key, invoice).is_some() {
            return Err(corrupt(format!("{tenant} has such a document already")));
        }
        Ok(Told { id, tenant, key: invoice_number::key(&entity, &number), webhook, topic })
    }
}
