//! The scheduler: what happens next, decision by decision. Between two decisions every task
//! runs until it waits for something outside, so a crash or an answer can come between any
//! two calls.

use std::collections::BTreeSet;

use crate::chance::Chance;
use crate::oracle;
use crate::scenario::{Act, Cast, Script};
use crate::servers::Servers;
use crate::stage::{Executor, Fate, Pid, Stage, State};
use crate::trace::Trace;

use super::billing::{Billed, BillingRun};
use super::faults::{Decision, FaultKey, Faults};
use super::hosts::Hosts;
use super::options::Options;
use super::settling::PATIENCE_MS;

/// How it went.
#[derive(Clone, Debug, Default)]
pub struct Played {
    /// What the oracle, or the engine, found to be wrong.
    pub wrong: Option<String>,
    /// What happened.
    pub trace: Trace,
    /// How many decisions were made.
    pub steps: u64,
    /// The acts that were played, with their index in the whole script.
    pub acts: Vec<(usize, Act)>,
    /// The faults that happened.
    pub faults: Vec<FaultKey>,
}

/// The play under way.
pub(crate) struct Play {
    pub(crate) stage: Stage,
    pub(crate) executor: Executor,
    pub(crate) cast: Cast,
    pub(crate) hosts: Hosts,
    pub(crate) faults: Faults,
    pub(crate) chance: Chance,
    /// Chance of delivery, which moves nothing else.
    pub(crate) errands: Chance,
    /// Away until then, by server: journal, ledger, projection.
    pub(crate) away_until_ms: [i64; 3],
    pub(crate) broker_wrong_ms: i64,
    pub(crate) backup: Option<crate::servers::Ledger>,
    /// What producers wrote: key, value, by order.
    pub(crate) written: Vec<crate::scenario::Draft>,
    pub(crate) written_at_ms: Vec<i64>,
    pub(crate) recreated: BTreeSet<i32>,
    /// By when what has gone wrong so far must have been noticed and mended.
    pub(crate) settled_after_ms: i64,
    /// Whether a process that was frozen or is dead may have written to the projection late.
    pub(crate) late_rows: bool,
    /// Whether the ledger went back in time.
    pub(crate) was_restored: bool,
    /// When tenants were in the catalogue.
    pub(crate) presence: oracle::Presence,
    /// Billing runs that have begun.
    pub(crate) runs: Vec<BillingRun>,
    /// What billing came to in the end.
    pub(crate) billed: Option<Billed>,
}

/// Plays a seed.
pub fn play(options: &Options) -> Played {
    let mut chance = Chance::of(options.seed, "cast", 0);
    let cast = Cast::of(&mut chance).with_endpoints(&mut Chance::of(options.seed, "outbox", 0));
    let script = Script::of(&cast, &mut chance);
    let script = script.adjusted(&cast, &mut Chance::of(options.seed, "adjustments", 0));
    let script = script.plotted(&cast, &mut Chance::of(options.seed, "plots", 0));
    let script = script.widened(&cast, &mut Chance::of(options.seed, "widening", 0));
    let acts: Vec<(usize, Act)> = script.acts.into_iter().enumerate().collect();
    let acts: Vec<(usize, Act)> = match &options.acts {
        Some(kept) => acts.into_iter().filter(|(index, _)| kept.contains(index)).collect(),
        None => acts,
    };
    let mut play = Play::new(options, cast, chance);
    let wrong = play.run(acts.iter().map(|(_, act)| act.clone()).collect());
    let mut state = play.stage.state();
    let trace = std::mem::take(&mut state.trace);
    Played { wrong, trace, steps: state.step, acts, faults: std::mem::take(&mut play.faults.happened) }
}

impl Play {
    fn new(options: &Options, cast: Cast, mut chance: Chance) -> Self {
        let faults = Faults::of(options.seed, options.spared.clone());
        let servers = Servers::new(&cast, options.seed, options.mutation);
        let trace = if options.told { Trace::told() } else { Trace::default() };
        let mut state = State::new(options.seed, crate::scenario::BEGIN_MS, servers, trace);
        state.slow_per_mille = faults.slow_per_mille();
        state.mutation = options.mutation;
        let executor = Executor::default();
        let stage = Stage::new(state, executor.spawner());
        let clocks = (0..cast.processes).map(|_| chance.between(-100_000, 100_000)).collect();
        let hosts = Hosts::new(clocks, crate::metrics::shared());
        Self {
            stage,
            executor,
            cast,
            hosts,
            faults,
            chance: Chance::of(options.seed, "order", 0),
            errands: Chance::of(options.seed, "errands", 0),
            away_until_ms: [0; 3],
            broker_wrong_ms: 0,
            backup: None,
            written: Vec::new(),
            written_at_ms: Vec::new(),
            recreated: BTreeSet::new(),
            settled_after_ms: crate::scenario::BEGIN_MS + PATIENCE_MS,
            late_rows: false,
            was_restored: false,
            presence: oracle::Presence::default(),
            runs: Vec::new(),
            billed: None,
        }
    }

    fn run(&mut self, acts: Vec<Act>) -> Option<String> {
        for host in 0..self.hosts.hosts.len() {
            self.hosts.start(host, &self.stage, &self.cast);
        }
        for partition in 0..self.cast.partitions {
            let host = self.chance.index(self.hosts.hosts.len());
            self.hosts.assign(partition, host);
        }
        self.pass(0);
        let mut acts = acts.into_iter();
        let mut next = acts.next();
        while let Some(act) = next.take() {
            if self.decide(true) {
                self.act(&act);
                next = acts.next();
            } else {
                next = Some(act);
            }
        }
        // Billing takes its time, in which idle partitions are ticked.
        let settled = self.settle().and_then(|()| self.bill_to_the_end()).and_then(|()| self.settle());
        settled.err().or_else(|| oracle::check(self))
    }

    /// Lets the tasks run, then decides one thing; true when the next act's turn has come.
    pub(crate) fn decide(&mut self, acts: bool) -> bool {
        self.executor.run_until_idle();
        if self.errand_by_chance() {
            return false;
        }
        let calls = self.eligible_calls();
        let feeds = self.eligible_feeds();
        let dead = self.hosts.hosts.iter().filter(|host| host.life.is_none()).count();
        let orphans = if self.hosts.live().is_empty() { 0 } else { self.hosts.orphans().len() };
        let act_weight = if acts { 2 } else { 0 };
        let idle = calls.is_empty() && feeds.is_empty();
        let timer_weight = if idle { 3 } else { 1 };
        let weights = [calls.len() * 2, feeds.len(), act_weight, timer_weight, dead.min(1), orphans.min(1)];
        let mut roll = self.chance.index(weights.iter().sum());
        let mut chosen = 0;
        while roll >= weights[chosen] {
            roll -= weights[chosen];
            chosen += 1;
        }
        if chosen == 2 {
            return true;
        }
        self.count_step(chosen);
        match chosen {
            0 => {
                let call = calls[self.chance.index(calls.len())];
                self.advance_call(call);
            }
            1 => {
                let feed = feeds[self.chance.index(feeds.len())];
                self.feed(feed);
            }
            3 => self.next_timer(),
            4 => {
                let dead: Vec<usize> = (0..self.hosts.hosts.len())
                    .filter(|host| self.hosts.hosts[*host].life.is_none())
                    .collect();
                let host = *self.chance.pick(&dead);
                self.hosts.start(host, &self.stage, &self.cast);
                self.give_back(host);
            }
            _ => self.rebalance(),
        }
        false
    }

    /// Decides in order, for the end: nothing is left to chance.
    pub(crate) fn decide_in_order(&mut self) {
        self.executor.run_until_idle();
        if self.errand(true) {
            return;
        }
        self.count_step(9);
        if let Some(call) = self.eligible_calls().first() {
            self.advance_call(*call);
        } else if let Some(feed) = self.eligible_feeds().first() {
            self.feed(*feed);
        } else {
            self.next_timer();
        }
    }

    pub(crate) fn count_step(&mut self, chosen: usize) {
        let mut state = self.stage.state();
        state.step += 1;
        state.servers.step = state.step;
        let (now, step) = (state.now_ms.unsigned_abs(), state.step);
        let noted = u64::try_from(chosen).unwrap_or(0);
        state.trace.note(now ^ (step << 40) ^ (noted << 60));
    }

    pub(crate) fn eligible_calls(&self) -> Vec<u64> {
        let state = self.stage.state();
        let ready = |held: u64| held <= state.step || self.faults.over;
        let ready = |call: &crate::stage::Call| !call.errand && ready(call.held_to_step);
        state.calls.iter().filter(|(_, call)| ready(call)).map(|(id, _)| *id).collect()
    }

    pub(crate) fn eligible_feeds(&self) -> Vec<(Pid, i32)> {
        let state = self.stage.state();
        if state.now_ms < self.away_until_ms[0] {
            return Vec::new();
        }
        let waits = |key: &(Pid, i32), next: i64| {
            let log = state.servers.journal.log(key.1);
            let live = self.hosts.host_of(key.0).is_some_and(|host| self.hosts.is_live(host));
            live && log.low <= next && !log.range(next, log.high).is_empty()
        };
        state.feeds.iter().filter(|(key, feed)| waits(key, feed.next_offset)).map(|(key, _)| *key).collect()
    }

    pub(crate) fn advance_call(&mut self, id: u64) {
        let mut state = self.stage.state();
        let Some(mut call) = state.calls.remove(&id) else { return };
        let Some(effect) = call.effect.take() else {
            state.trace.line(|| format!("    answer: {} by {}", call.what, call.process));
            drop(state);
            call.answer.tell();
            return;
        };
        let host = self.hosts.host_of(call.process);
        let away =
            self.away_until_ms.get(server_index(call.server)).is_some_and(|until| state.now_ms < *until);
        let decision = match host {
            _ if away => Decision::Fate(Fate::Fails),
            // What a dead process sent arrives, or does not.
            None => Decision::Fate(Fate::Works),
            Some(host) => self.faults.decide(host, call.server, call.what),
        };
        let step = state.step;
        let note = u64::from(call.process) << 32 | u64::try_from(call.what.len()).unwrap_or(0);
        state.trace.note(note);
        let now = state.now_ms - crate::scenario::BEGIN_MS;
        state.trace.line(|| {
            let Decided(words) = Decided::of(decision);
            format!(
                "{step:5} {:>10} s  {} {} ({}){words}",
                seconds(now),
                call.process,
                call.what,
                call.detail
            )
        });
        if !matches!(decision, Decision::Fate(Fate::Works | Fate::AnswersLater)) {
            self.settled_after_ms = self.settled_after_ms.max(state.now_ms + PATIENCE_MS);
        }
        // Nobody waits for what a dead process has sent.
        self.late_rows |= host.is_none();
        match decision {
            Decision::Fate(Fate::Works) => {
                effect(&mut state.servers);
                drop(state);
                call.answer.tell();
            }
            Decision::Fate(Fate::AnswersLater) => {
                effect(&mut state.servers);
                state.calls.insert(id, call);
            }
            Decision::Fate(Fate::AnswerLost) => {
                effect(&mut state.servers);
                drop(state);
                call.answer.lose(call.what);
            }
            Decision::Fate(Fate::Fails) => {
                drop(state);
                call.answer.lose(call.what);
            }
            Decision::Fate(Fate::HappensInPart) => {
                // Only what has parts looks at it; everything else happens not at all.
                if call.what.starts_with("insert") || call.what == "send all" {
                    state.servers.part = Some(Chance::new(id));
                    effect(&mut state.servers);
                    state.servers.part = None;
                }
                drop(state);
                call.answer.lose(call.what);
            }
            Decision::CrashBefore => {
                call.effect = Some(effect);
                let process = call.process;
                state.calls.insert(id, call);
                drop(state);
                self.kill(process);
            }
            Decision::CrashAfter => {
                effect(&mut state.servers);
                drop(state);
                self.kill(call.process);
            }
        }
    }

    fn feed(&mut self, (pid, partition): (Pid, i32)) {
        let burst = *self.chance.pick(&[1, 3, 10, 100]);
        let mut state = self.stage.state();
        let state = &mut *state;
        let Some(feed) = state.feeds.get_mut(&(pid, partition)) else { return };
        let log = state.servers.journal.log(partition);
        let range = log.range(feed.next_offset, log.high);
        let records: Vec<_> = range.iter().take(burst).map(|logged| logged.record.clone()).collect();
        let Some(last) = records.last() else { return };
        feed.next_offset = last.offset + 1;
        let (count, next) = (records.len(), feed.next_offset);
        feed.queue.push(records, true);
        state.trace.line(|| format!("    {count} records of {partition} to {pid}, below {next}"));
    }
}

struct Decided(&'static str);

impl Decided {
    fn of(decision: Decision) -> Self {
        Self(match decision {
            Decision::Fate(Fate::Works) => "",
            Decision::Fate(Fate::AnswersLater) => ": happens, the answer comes later",
            Decision::Fate(Fate::AnswerLost) => ": happens, THE ANSWER IS LOST",
            Decision::Fate(Fate::Fails) => ": FAILS",
            Decision::Fate(Fate::HappensInPart) => ": HAPPENS IN PART",
            Decision::CrashBefore => ": THE PROCESS DIES BEFORE",
            Decision::CrashAfter => ": happens, THE PROCESS DIES",
        })
    }
}

fn server_index(server: crate::stage::Server) -> usize {
    match server {
        crate::stage::Server::Journal => 0,
        crate::stage::Server::Ledger => 1,
        crate::stage::Server::Projection => 2,
        crate::stage::Server::Machine => 3,
        crate::stage::Server::Receiver => 4,
    }
}

/// Milliseconds as seconds, for people.
pub(crate) fn seconds(ms: i64) -> String {
    format!("{}.{:03}", ms / 1_000, ms.rem_euclid(1_000))
}
