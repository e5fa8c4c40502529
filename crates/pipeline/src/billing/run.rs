//! The billing run: every period that the journal has closed gets its invoice, and every
//! finalized one whose usage has changed since gets a correction.
//!
//! It may run twice at once, be killed anywhere and run again: documents have their place by
//! (subscription, period, sequence), and each is finalized once, in groups that are finalized whole
//! or not at all. Periods that cannot be billed, and partitions whose usage cannot be folded, do not
//! keep the others from it.

use std::collections::{BTreeMap, BTreeSet};

use weir_backends::StoreError;
use weir_backends::books::{
    BilledPeriod, DuePeriod, JournalReach, LastNumber, PeriodUsage, SubscribedPeriod,
};
use weir_backends::postgres::Pool;
use weir_billing::subscription::closable;
use weir_billing::{Invoice, PlanVersion, Subscription};
use weir_core::{Partition, Span, TenantId, Timestamp};
use weir_metering::catalogue::Catalogue;
use weir_metering::meter::{Aggregation, MeterKey};

use super::finalize::{self, Outcome, Place};
use super::report::{MadeDocument, Refused, RunReport, Waiting};
use super::{BillingError, BillingSettings};
use crate::fold::fold_step;
use crate::told::{Told, many};
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
    /// Tenants and their homes when the run began.
    catalogue: Catalogue,
    /// Why usage of a partition cannot be folded.
    unfoldable: BTreeMap<Partition, String>,
    told: &'a dyn Told,
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
    told: &dyn Told,
) -> Result<RunReport, BillingError> {
    run_in(&PostgresLedger::new(pool.clone()), settings, last_number_in_topic, now, only, told).await
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
    told: &dyn Told,
) -> Result<RunReport, BillingError> {
    check_counters(&books.counters().await?, last_number_in_topic)?;
    let mut run = Run::open(books, settings, now, told).await?;
    let newest = books.newest_broker_time().await?;
    run.fold().await?;
    let mut report = RunReport::default();
    let until = newest.map_or(now, |newest| newest.max(now));
    let since = newest.unwrap_or(now).plus_millis(-settings.corrections_ms);
    // What this run bills is billed by the usage of now: only what was billed before may differ.
    let mut billed = books.billed_periods(since, only.as_ref()).await?;
    billed.retain(|billed| run.knows(&billed.subscription));
    let due = books.due_periods(until, only.as_ref()).await?;
    run.bill(due, &mut report).await?;
    run.correct(&billed, &mut report).await?;
    tracing::info!(
        invoices = report.invoices.len(),
        corrections = report.corrections.len(),
        waiting = report.waiting.len(),
        refused = report.refused.len(),
        "billing run ended"
    );
    Ok(report)
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
    async fn open(
        books: &'a B,
        settings: &'a BillingSettings,
        now: Timestamp,
        told: &'a dyn Told,
    ) -> Result<Self, StoreError> {
        let plans = books.plans().await?.into_iter().map(|stored| stored.plan).collect();
        let catalogue = books.catalogue().await?;
        let aggregations = catalogue.meters().map(|meter| (meter.key.clone(), meter.aggregation)).collect();
        let unfoldable = BTreeMap::new();
        Ok(Self { books, settings, now, plans, aggregations, catalogue, unfoldable, told })
    }

    /// Folds what is committed into the usage rows. Bounded: what is committed while it folds
    /// may wait for the next run. A partition that cannot be folded for good is noted.
    async fn fold(&mut self) -> Result<(), StoreError> {
        for partition in 0..self.catalogue.homes.partitions() {
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
        self.catalogue.homes.of(subscription.tenant.as_str())
    }

    /// Whether the tenant was there when the run began: the home of another is not known.
    fn knows(&self, subscription: &Subscription) -> bool {
        self.catalogue.tenants.contains_key(&subscription.tenant)
    }

    /// Where usage of a place is found.
    pub(super) fn subscribed(&self, place: &Place<'_>) -> SubscribedPeriod {
        self.period_of(&place.subscription, place.period)
    }

    fn period_of(&self, subscription: &Subscription, period: Span) -> SubscribedPeriod {
        SubscribedPeriod {
            subscription: subscription.id.clone(),
            tenant: subscription.tenant.clone(),
            partition: self.partition(subscription),
            period,
        }
    }

    /// The invoices of periods that have none.
    async fn bill(&self, due: Vec<DuePeriod>, report: &mut RunReport) -> Result<(), StoreError> {
        let known = due.iter().map(|due| &due.subscription).filter(|one| self.knows(one));
        let reaches = self.reaches(known).await?;
        let mut places = Vec::new();
        for due in due {
            let (tenant, period) = (due.subscription.tenant.clone(), due.period);
            if !self.knows(&due.subscription) {
                let why = "the tenant was created while this run began; the next one bills it".to_owned();
                report.waiting.push(Waiting { tenant, period, why });
            } else if let Some(why) = self.hindrance(&due.subscription) {
                report.refused.push(Refused { tenant, period, why });
            } else if let Some(why) = self.open_still(&due.subscription, period, &reaches) {
                report.waiting.push(Waiting { tenant, period, why });
            } else {
                match self.plan_of(&due) {
                    Ok(plan) => {
                        let subscription = due.subscription;
                        places.push(Place { subscription, period, sequence: 0, plan });
                    }
                    Err(why) => report.refused.push(Refused { tenant, period, why }),
                }
            }
        }
        let made = self.finalize("invoices written", &places, &mut report.refused).await?;
        report.invoices.extend(made);
        Ok(())
    }

    fn plan_of(&self, due: &DuePeriod) -> Result<&PlanVersion, String> {
        let DuePeriod { subscription, period, currency } = due;
        let plan = PlanVersion::in_force(&self.plans, &subscription.plan, period.start);
        let plan = plan.ok_or_else(|| {
            format!("plan {} has no version that had begun by {}", subscription.plan, period.start)
        })?;
        if plan.currency.code() == currency {
            return Ok(plan);
        }
        let (key, version, priced) = (&plan.key, plan.version, plan.currency);
        Err(format!("plan {key} v{version} is priced in {priced}, but the tenant is billed in {currency}"))
    }

    /// The corrections of periods whose usage has changed since they were billed.
    async fn correct(&self, billed: &[BilledPeriod], report: &mut RunReport) -> Result<(), StoreError> {
        let mut places = Vec::new();
        let mut compared = 0;
        for group in billed.chunks(self.settings.documents_at_once.max(1)) {
            self.told.told("billed periods compared", compared, Some(many(billed.len())));
            compared += many(group.len());
            let periods = group.iter().map(|billed| self.period_of(&billed.subscription, billed.period));
            let periods: Vec<SubscribedPeriod> = periods.collect();
            let earlier = self.books.documents_of_periods(&periods).await?;
            let usage = self.books.usage_of_periods(&periods).await?;
            for ((billed, earlier), usage) in group.iter().zip(&earlier).zip(usage) {
                let (tenant, period) = (billed.subscription.tenant.clone(), billed.period);
                match self.differs(billed, earlier, usage)? {
                    Ok(place) => places.extend(place),
                    Err(why) => report.refused.push(Refused { tenant, period, why }),
                }
            }
        }
        let made = self.finalize("corrections written", &places, &mut report.refused).await?;
        report.corrections.extend(made);
        Ok(())
    }

    /// The place of a correction, if one is due, or why there can be none.
    fn differs(
        &self,
        billed: &BilledPeriod,
        earlier: &[Invoice],
        usage: Option<PeriodUsage>,
    ) -> Result<Result<Option<Place<'_>>, String>, StoreError> {
        if let Some(why) = self.hindrance(&billed.subscription) {
            return Ok(Err(why));
        }
        let used = earlier.first().and_then(|first| first.lines.first());
        let plan = used.and_then(|line| {
            self.plans.iter().find(|plan| plan.key == line.plan && plan.version == line.plan_version)
        });
        let Some(plan) = plan else {
            return Ok(Err("the plan version that it was billed by is not published".into()));
        };
        let sequence = i32::try_from(earlier.len())
            .map_err(|error| StoreError::corrupt("look for corrections", error))?;
        let BilledPeriod { subscription, period } = billed.clone();
        let place = Place { subscription, period, sequence, plan };
        let drafted = finalize::draft(self, &place, earlier, usage)?;
        Ok(drafted.map(|drafted| drafted.map(|_| place)))
    }

    /// Finalizes places in groups: those of a legal entity that follow each other share a transaction.
    async fn finalize(
        &self,
        what: &str,
        places: &[Place<'_>],
        refused: &mut Vec<Refused>,
    ) -> Result<Vec<MadeDocument>, StoreError> {
        let mut made = Vec::new();
        let mut done = 0;
        for of_entity in
            places.chunk_by(|one, next| one.subscription.legal_entity == next.subscription.legal_entity)
        {
            for group in of_entity.chunks(self.settings.documents_at_once.max(1)) {
                self.told.told(what, done, Some(many(places.len())));
                done += many(group.len());
                let outcomes = finalize::finalize(self, group).await?;
                for (place, outcome) in group.iter().zip(outcomes) {
                    let (tenant, period) = (place.subscription.tenant.clone(), place.period);
                    match outcome {
                        Outcome::Made(document) => made.push(document),
                        Outcome::Nothing => {}
                        Outcome::Refused(why) => refused.push(Refused { tenant, period, why }),
                    }
                }
            }
        }
        Ok(made)
    }

    /// How far the partitions of tenants have come.
    async fn reaches(
        &self,
        subscriptions: impl Iterator<Item = &Subscription>,
    ) -> Result<BTreeMap<Partition, JournalReach>, StoreError> {
        let partitions: BTreeSet<Partition> = subscriptions.map(|one| self.partition(one)).collect();
        let mut reaches = BTreeMap::new();
        for partition in partitions {
            if let Some(reach) = self.books.journal_reach(partition).await? {
                reaches.insert(partition, reach);
            }
        }
        Ok(reaches)
    }

    /// What keeps the period open, in words; `None` when the journal has closed it.
    fn open_still(
        &self,
        subscription: &Subscription,
        period: Span,
        reaches: &BTreeMap<Partition, JournalReach>,
    ) -> Option<String> {
        let partition = self.partition(subscription);
        let grace_ms = self.settings.grace_ms;
        let Some(reach) = reaches.get(&partition) else {
            return Some(format!("partition {partition} has not been read yet"));
        };
        let JournalReach { broker_time_max, folded_broker_time, folded_to, next_offset, .. } = reach;
        if closable(period, grace_ms, *folded_broker_time) {
            return None;
        }
        let read = format!("partition {partition} has been read to {broker_time_max}");
        Some(if closable(period, grace_ms, *broker_time_max) {
            format!("{read}, but its usage is folded only to offset {folded_to} of {next_offset}")
        } else {
            format!("{read}, the period closes at {}", period.end.plus_millis(grace_ms))
        })
    }
}
