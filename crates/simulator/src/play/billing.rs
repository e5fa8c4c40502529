//! Billing runs in a play: they begin in a process, several at once if so, and die with it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use weir_backends::StoreError;
use weir_core::{Partition, TenantId, Timestamp};
use weir_pipeline::billing::{BillingError, BillingSettings, RunReport, run_in};
use weir_pipeline::world::{Runtime, Tasks};

use super::director::Play;
use crate::scenario::GRACE_MS;
use crate::servers::Servers;
use crate::stage::{Hand, Server, SimTasks, lock};
use crate::world::{SimLedger, SimRuntime};

/// Decisions that one run at the end may take.
const STEPS_MAX: u64 = 20_000;
/// Runs at the end after which there must be nothing left to do: one may find drafts of
/// others, one makes what is due, one finds nothing.
const RUNS_MAX: usize = 4;

type Ended = Arc<Mutex<Option<Result<RunReport, BillingError>>>>;

/// A billing run under way, or over.
pub(crate) struct BillingRun {
    /// Dropping them ends it.
    _tasks: SimTasks,
    ended: Ended,
}

/// What the last run saw, or why nobody can bill.
pub(crate) enum Billed {
    /// How far each partition was counted before the last run began.
    To(BTreeMap<Partition, Timestamp>),
    /// The topic of numbers is ahead of the ledger.
    CounterBehind,
}

impl Play {
    /// A billing run begins, of one tenant or of all.
    pub(crate) fn bill(&mut self, host: usize, only: Option<TenantId>) {
        let Some(pid) = self.hosts.hosts[host].life.as_ref().map(|life| life.pid) else { return };
        let hand = Hand { bills: true, ..self.stage.hand(pid) };
        let runtime = SimRuntime { hand: hand.clone(), wrong_by_ms: self.hosts.hosts[host].clock_wrong_ms };
        let ended = Ended::default();
        let told = Arc::clone(&ended);
        let mut tasks = SimTasks::new(pid, self.executor.spawner());
        tasks.spawn(async move {
            let ran = run(hand, runtime.now(), only).await;
            *lock(&told) = Some(ran);
        });
        self.runs.push(BillingRun { _tasks: tasks, ended });
    }

    /// Bills until nothing is left to be billed.
    pub(crate) fn bill_to_the_end(&mut self) -> Result<(), String> {
        if !self.cast.billed {
            return Ok(());
        }
        for _ in 0..RUNS_MAX {
            let reach = self.reach();
            self.bill(0, None);
            let ended = self.runs.last().map(|run| Arc::clone(&run.ended)).unwrap_or_default();
            let from_step = self.stage.state().step;
            while lock(&ended).is_none() {
                if self.stage.state().step > from_step + STEPS_MAX {
                    return Err("a billing run does not end".to_owned());
                }
                self.decide_in_order();
            }
            match lock(&ended).as_ref() {
                Some(Ok(report)) if !report.refused.is_empty() => {
                    return Err(format!("billing refuses: {}", report.refused[0].why));
                }
                Some(Ok(report)) if report.invoices.is_empty() && report.corrections.is_empty() => {
                    self.billed = Some(Billed::To(reach));
                    break;
                }
                Some(Err(BillingError::CounterBehind { .. })) => {
                    if !self.a_counter_is_behind()? {
                        return Err("billing says the counter is behind, and it is not".to_owned());
                    }
                    self.billed = Some(Billed::CounterBehind);
                    break;
                }
                _ => {}
            }
        }
        if self.billed.is_none() {
            return Err(format!("after {RUNS_MAX} billing runs there is still something to bill"));
        }
        self.failed_for_good().map_or(Ok(()), Err)
    }

    /// Whether a legal entity would give a number that the topic knows already.
    fn a_counter_is_behind(&self) -> Result<bool, String> {
        let state = self.stage.state();
        let told = state.servers.last_numbers().map_err(|error| error.to_string())?;
        let next = &state.servers.ledger.books.next_numbers;
        let is_behind = |(entity, last): (&String, &i64)| {
            next.get(entity).is_some_and(|next| i64::try_from(*next).is_ok_and(|next| next <= *last))
        };
        Ok(told.iter().any(is_behind))
    }

    /// A run that failed for another reason than that a store was away.
    fn failed_for_good(&self) -> Option<String> {
        self.runs.iter().find_map(|run| match lock(&run.ended).as_ref() {
            Some(Err(BillingError::Store(error))) if !error.is_transient() => {
                Some(format!("a billing run fails for good: {error}"))
            }
            _ => None,
        })
    }

    fn reach(&self) -> BTreeMap<Partition, Timestamp> {
        let state = self.stage.state();
        let lines = state.servers.ledger.partitions.iter();
        lines.map(|(partition, line)| (*partition, line.row.broker_time_max)).collect()
    }
}

/// As `weir bill run` does it.
async fn run(hand: Hand, now: Timestamp, only: Option<TenantId>) -> Result<RunReport, BillingError> {
    let read = |servers: &mut Servers| -> Result<_, StoreError> { servers.last_numbers() };
    let known = hand.call(Server::Journal, "read the numbers", String::new, read).await?;
    // A time is as good a chance as any, and moves no other.
    let documents_at_once = [1, 2, 500][usize::try_from(now.millis().rem_euclid(3)).unwrap_or(0)];
    let settings = BillingSettings { grace_ms: GRACE_MS, documents_at_once, ..BillingSettings::default() };
    run_in(&SimLedger(hand), &settings, &known, now, only, &()).await
}
