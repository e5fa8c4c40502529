//! The billing run: every period that the journal has closed gets its invoice, and every
//! finalized one whose usage has changed since gets a correction.
//!
//! It may run twice at once, be killed anywhere and run again: drafts have their place by
//! (subscription, period, sequence), and a draft is finalized once. Periods that cannot be
//! billed, and partitions whose usage cannot be folded, do not keep the others from it.

use std::collections::BTreeMap;

use weir_backends::StoreError;
use weir_backends::books::{BilledPeriod, DuePeriod, JournalReach, LastNumber};
use weir_backends::postgres::Pool;
use weir_billing::subscription::closable;
use weir_billing::{PlanVersion, Subscription};
use weir_core::journal::partition_of;
use weir_core::{Partition, Span, TenantId, Timestamp};
use weir_metering::meter::{Aggregation, MeterKey};

use super::finalize::{self, Outcome, Place};
use super::report::{Refused, RunReport, Waiting};
use super::{BillingError, BillingSettings};
use crate::fold::fold_step;
use crate::world::{Books, PostgresLedger};

/// Steps of folding a partition at most; each takes up to 64 batches, so a million batches.
const FOLD_STEPS_MAX: u32 = 16_384;

/// What every period of a run is billed by.
pub(super) struct Run<'a, B> {
    pub(super) books: &'a B,
    pub(super) settings: &'a BillingSettings,
    pub(super) now: Timestamp,
    pub(super) plans: Vec<PlanVersion>,
    pub(super) aggregations: BTreeMap<MeterKey, Aggregation>,
    partitions: i32,
    /// Why usage of a partition cannot be folded.
    unfoldable: BTreeMap<Partition, String>,
}

/// Bills and corrects what is to be billed and corrected, of one tenant or all.
///
/// `last_number_in_topic` is the highest counter that the topic of invoice numbers knows
/// for each legal entity; a ledger whose counter is behind it gives no numbers at all.
/// `now` dates the documents; it closes no period.
///
/// # Errors
/// A store's, or [`BillingError::CounterBehind`]. Documents finalized before stay, and the
/// next run goes on from there.
pub async fn run(
    pool: &Pool,
    settings: &BillingSettings,
    last_number_in_topic: &BTreeMap<String, i64>,
    now: Timestamp,
    only: Option<TenantId>,
) -> Result<RunReport, BillingError> {
    run_in(&PostgresLedger::new(pool.clone()), settings, last_number_in_topic, now, only).await
}

/// [`run`] in any world.
///
/// # Errors
/// As [`run`].
pub async fn run_in<B: Books>(
    books: &B,
    settings: &BillingSettings,
    last_number_in_topic: &BTreeMap<String, i64>,
    now: Timestamp,
    only: Option<TenantId>,
) -> Result<RunReport, BillingError> {
    check_counters(&books.counters().await?, last_number_in_topic)?;
    let mut run = Run::open(books, settings, now).await?;
    let newest = books.newest_broker_time().await?;
    run.fold().await?;
    let mut report = RunReport::default();
    let until = newest.map_or(now, |newest| newest.max(now));
    let since = newest.unwrap_or(now).plus_millis(-settings.corrections_ms);
    // What this run bills is billed by the usage of now: only what was billed before may differ.
    let billed = books.billed_periods(since, only.as_ref()).await?;
    for due in books.due_periods(until, only.as_ref()).await? {
        let (tenant, period) = (due.subscription.tenant.clone(), due.period);
        match refused(run.bill(due).await)? {
            Outcome::Made(made) => report.invoices.push(made),
            Outcome::Nothing => {}
            Outcome::Waiting(why) => report.waiting.push(Waiting { tenant, period, why }),
            Outcome::Refused(why) => report.refused.push(Refused { tenant, period, why }),
        }
    }
    for billed in billed {
        let (tenant, period) = (billed.subscription.tenant.clone(), billed.period);
        match refused(run.correct(billed).await)? {
            Outcome::Made(made) => report.corrections.push(made),
            Outcome::Nothing => {}
            Outcome::Waiting(why) => report.waiting.push(Waiting { tenant, period, why }),
            Outcome::Refused(why) => report.refused.push(Refused { tenant, period, why }),
        }
    }
    tracing::info!(
        invoices = report.invoices.len(),
        corrections = report.corrections.len(),
        waiting = report.waiting.len(),
        refused = report.refused.len(),
        "billing run ended"
    );
    Ok(report)
}

/// What a store refuses for good of one period is that period's; what may be over in a moment
/// ends the run.
fn refused(outcome: Result<Outcome, StoreError>) -> Result<Outcome, StoreError> {
    match outcome {
        Err(error) if !error.is_transient() => Ok(Outcome::Refused(error.to_string())),
        outcome => outcome,
    }
}

fn check_counters(counters: &[LastNumber], in_topic: &BTreeMap<String, i64>) -> Result<(), BillingError> {
    for counter in counters {
        let known = in_topic.get(&counter.legal_entity).copied().unwrap_or(0);
        if counter.next_number <= known {
            return Err(BillingError::CounterBehind {
                legal_entity: counter.legal_entity.clone(),
                next_number: counter.next_number,
                in_topic: known,
            });
        }
    }
    Ok(())
}

impl<'a, B: Books> Run<'a, B> {
    async fn open(books: &'a B, settings: &'a BillingSettings, now: Timestamp) -> Result<Self, StoreError> {
        let plans = books.plans().await?.into_iter().map(|stored| stored.plan).collect();
        let catalogue = books.catalogue().await?;
        let aggregations = catalogue.meters().map(|meter| (meter.key.clone(), meter.aggregation)).collect();
        let partitions = books.partitions().await?;
        let unfoldable = BTreeMap::new();
        Ok(Self { books, settings, now, plans, aggregations, partitions, unfoldable })
    }

    /// Folds what is committed into the usage rows. Bounded: what is committed while it folds
    /// may wait for the next run. A partition that cannot be folded for good is noted.
    async fn fold(&mut self) -> Result<(), StoreError> {
        for partition in 0..self.partitions {
            for _ in 0..FOLD_STEPS_MAX {
                match fold_step(self.books, partition).await {
                    Ok(true) => break,
                    Ok(false) => {}
                    Err(error) if error.is_transient() => return Err(error),
                    Err(error) => {
                        tracing::error!(partition, %error, "usage cannot be folded, so its tenants are not billed");
                        self.unfoldable.insert(partition, error.to_string());
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// Why a subscription cannot be billed whatever its period; `None` when nothing is in the way.
    fn hindrance(&self, subscription: &Subscription) -> Option<String> {
        let partition = self.partition(subscription);
        let why = self.unfoldable.get(&partition)?;
        Some(format!("usage of partition {partition} cannot be folded: {why}"))
    }

    pub(super) fn partition(&self, subscription: &Subscription) -> Partition {
        partition_of(subscription.tenant.as_str().as_bytes(), self.partitions)
    }

    /// The invoice of a period that has none.
    async fn bill(&self, due: DuePeriod) -> Result<Outcome, StoreError> {
        let DuePeriod { subscription, period, currency, draft } = due;
        if let Some(why) = self.hindrance(&subscription) {
            return Ok(Outcome::Refused(why));
        }
        if let Some(why) = self.open_still(&subscription, period).await? {
            return Ok(Outcome::Waiting(why));
        }
        let Some(plan) = PlanVersion::in_force(&self.plans, &subscription.plan, period.start) else {
            let why = format!("plan {} has no version that had begun by {}", subscription.plan, period.start);
            return Ok(Outcome::Refused(why));
        };
        if plan.currency.code() != currency {
            let (key, version) = (&plan.key, plan.version);
            let why = format!(
                "plan {key} v{version} is priced in {}, but the tenant is billed in {currency}",
                plan.currency
            );
            return Ok(Outcome::Refused(why));
        }
        let place = Place { subscription: &subscription, period, sequence: 0, plan };
        let id = match draft {
            Some(id) => id,
            None => match finalize::draft(self, &place, self.books.fresh_document_id()).await? {
                Ok(Some(draft)) => self.books.insert_draft(&draft, 0, self.now).await?,
                Ok(None) => return Ok(Outcome::Nothing),
                Err(why) => return Ok(Outcome::Refused(why)),
            },
        };
        finalize::finalize(self, &place, &id).await
    }

    /// The correction of a period whose usage has changed since it was billed.
    async fn correct(&self, billed: BilledPeriod) -> Result<Outcome, StoreError> {
        let BilledPeriod { subscription, period } = billed;
        if let Some(why) = self.hindrance(&subscription) {
            return Ok(Outcome::Refused(why));
        }
        let (earlier, sequence) = self.books.sequence_of_period(&subscription.id, period).await?;
        let used = earlier.first().and_then(|first| first.lines.first());
        let plan = used.and_then(|line| {
            self.plans.iter().find(|plan| plan.key == line.plan && plan.version == line.plan_version)
        });
        let Some(plan) = plan else {
            return Ok(Outcome::Refused("the plan version that it was billed by is not published".into()));
        };
        let place = Place { subscription: &subscription, period, sequence, plan };
        let draft = match finalize::draft(self, &place, self.books.fresh_document_id()).await? {
            Ok(Some(draft)) => draft,
            Ok(None) => return Ok(Outcome::Nothing),
            Err(why) => return Ok(Outcome::Refused(why)),
        };
        let id = self.books.insert_draft(&draft, sequence, self.now).await?;
        finalize::finalize(self, &place, &id).await
    }

    /// What keeps the period open, in words; `None` when the journal has closed it.
    async fn open_still(
        &self,
        subscription: &Subscription,
        period: Span,
    ) -> Result<Option<String>, StoreError> {
        let partition = self.partition(subscription);
        let grace_ms = self.settings.grace_ms;
        let closes_at = period.end.plus_millis(grace_ms);
        let Some(reach) = self.books.journal_reach(partition).await? else {
            return Ok(Some(format!("partition {partition} has not been read yet")));
        };
        let JournalReach { broker_time_max, folded_broker_time, folded_to, next_offset, .. } = reach;
        if closable(period, grace_ms, folded_broker_time) {
            return Ok(None);
        }
        let read = format!("partition {partition} has been read to {broker_time_max}");
        Ok(Some(if closable(period, grace_ms, broker_time_max) {
            format!("{read}, but its usage is folded only to offset {folded_to} of {next_offset}")
        } else {
            format!("{read}, the period closes at {closes_at}")
        }))
    }
}
