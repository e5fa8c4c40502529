//! What is on the stage: the time, who waits for it, the calls that wait, the servers, and
//! the trace of what happened.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Waker;

use weir_backends::StoreError;
use weir_backends::outbox::Lane;
use weir_core::Partition;

use super::call::{Call, Server, Slot};
use super::executor::{Spawner, lock};
use crate::chance::Chance;
use crate::mutation::Mutation;
use crate::servers::Servers;
use crate::trace::Trace;
use crate::world::{EventTimes, Feed};

/// A process. Each life of one has a number of its own.
pub(crate) type Pid = u32;

/// What is on the stage.
pub(crate) struct State {
    /// The true time, in milliseconds since 1970.
    pub(crate) now_ms: i64,
    /// Who waits for which time.
    pub(crate) timers: BTreeMap<(i64, u64), (Pid, Waker)>,
    /// The same of delivery, whose lanes are woken when there is something for them.
    pub(crate) errand_timers: BTreeMap<(i64, u64), (Pid, Lane, Waker)>,
    /// The calls that wait.
    pub(crate) calls: BTreeMap<u64, Call>,
    /// The partitions that processes follow.
    pub(crate) feeds: BTreeMap<(Pid, Partition), Feed>,
    /// Journal, ledger, projection.
    pub(crate) servers: Servers,
    /// Decisions made so far.
    pub(crate) step: u64,
    /// What happened.
    pub(crate) trace: Trace,
    /// Chance that is handed to processes.
    pub(crate) tokens: Chance,
    /// The same for delivery.
    errand_tokens: Chance,
    /// In how many thousand calls one takes long.
    pub(crate) slow_per_mille: u64,
    /// Calls that take long because an act says so: whose, of which kind, and until which decision.
    pub(crate) late: BTreeMap<(Pid, &'static str), u64>,
    /// Whether disks refuse now and then.
    pub(crate) mishaps: bool,
    /// The mistake that is tried out.
    pub(crate) mutation: Option<Mutation>,
    /// For a mistake: the times of events by identity.
    pub(crate) event_times: EventTimes,
    next_id: u64,
}

impl State {
    pub(crate) fn new(seed: u64, now_ms: i64, servers: Servers, trace: Trace) -> Self {
        Self {
            now_ms,
            timers: BTreeMap::new(),
            errand_timers: BTreeMap::new(),
            calls: BTreeMap::new(),
            feeds: BTreeMap::new(),
            servers,
            step: 0,
            trace,
            tokens: Chance::of(seed, "tokens", 0),
            errand_tokens: Chance::of(seed, "errand tokens", 0),
            slow_per_mille: 0,
            late: BTreeMap::new(),
            mishaps: true,
            mutation: None,
            event_times: EventTimes::new(),
            next_id: 0,
        }
    }

    pub(crate) fn fresh_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}

/// The stage; all clones are the same.
#[derive(Clone)]
pub(crate) struct Stage {
    state: Arc<Mutex<State>>,
    /// Where tasks are begun.
    pub(crate) spawner: Spawner,
}

impl Stage {
    pub(crate) fn new(state: State, spawner: Spawner) -> Self {
        Self { state: Arc::new(Mutex::new(state)), spawner }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// The hand of a process.
    pub(crate) fn hand(&self, process: Pid) -> Hand {
        Hand { stage: self.clone(), process, errand: None, bills: false }
    }
}

/// What a process acts with.
#[derive(Clone)]
pub(crate) struct Hand {
    pub(crate) stage: Stage,
    pub(crate) process: Pid,
    /// Of delivery: which lane.
    pub(crate) errand: Option<Lane>,
    /// Of a billing run.
    pub(crate) bills: bool,
}

impl Hand {
    /// Calls a server and waits for what becomes of it.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        server: Server,
        what: &'static str,
        detail: impl FnOnce() -> String,
        work: impl FnOnce(&mut Servers) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let slot = Slot::new();
        {
            let filled = Arc::clone(&slot);
            let mut state = self.stage.state();
            let state = &mut *state;
            let id = state.fresh_id();
            let slow = state.slow_per_mille;
            let errand = self.errand.is_some();
            let tokens = if errand { &mut state.errand_tokens } else { &mut state.tokens };
            let slow_to_step =
                if slow > 0 && tokens.per_mille(slow) { state.step + 20 + tokens.below(400) } else { 0 };
            let late_to_step = state.late.get(&(self.process, what)).copied().unwrap_or(0);
            let held_to_step = slow_to_step.max(late_to_step);
            let detail = if state.trace.is_told() { detail() } else { String::new() };
            let answer: Arc<dyn super::call::Answer> = slot.clone();
            let call = Call {
                process: self.process,
                server,
                what,
                detail,
                effect: Some(Box::new(move |servers| filled.fill(work(servers)))),
                answer,
                errand,
                held_to_step,
            };
            state.calls.insert(id, call);
        }
        slot.wait().await
    }
}
