//! Delivery from the outbox in a play. It runs in every process and dies with it, but its calls are
//! chosen apart from all others, by a chance of their own: how much there is to deliver moves
//! nothing else. An outbox in which nothing is due is not looked at: that would tell nothing.

use crate::stage::Pid;

use super::director::Play;

/// In how many of a thousand decisions it is delivery's turn, if it has something to do.
const PER_MILLE: u64 = 300;

/// What delivery can do next.
enum Errand {
    /// A call that waits.
    Call(u64),
    /// A lane looks at the outbox again; its timer.
    Look((i64, u64)),
}

impl Play {
    /// Delivery goes on by one decision, if it is its turn and it has something to do.
    pub(crate) fn errand_by_chance(&mut self) -> bool {
        self.errands.per_mille(PER_MILLE) && self.errand(false)
    }

    /// Delivery goes on by one decision; false when it has nothing to do.
    pub(crate) fn errand(&mut self, in_order: bool) -> bool {
        let mut possible = self.possible_errands();
        if possible.is_empty() {
            return false;
        }
        let chosen = if in_order { 0 } else { self.errands.index(possible.len()) };
        self.count_step(6);
        match possible.swap_remove(chosen) {
            Errand::Call(id) => self.advance_call(id),
            Errand::Look(timer) => {
                let woken = self.stage.state().errand_timers.remove(&timer);
                if let Some((_, _, waker)) = woken {
                    waker.wake();
                }
            }
        }
        true
    }

    /// Delivery has a while for itself.
    pub(crate) fn deliver(&mut self, decisions: u64) {
        self.pass(200);
        for _ in 0..decisions {
            self.executor.run_until_idle();
            if !self.errand(false) {
                return;
            }
        }
    }

    fn possible_errands(&self) -> Vec<Errand> {
        let state = self.stage.state();
        let ready = |held: u64| held <= state.step || self.faults.over;
        let calls = state.calls.iter().filter(|(_, call)| call.errand && ready(call.held_to_step));
        let mut possible: Vec<Errand> = calls.map(|(id, _)| Errand::Call(*id)).collect();
        let live = |pid: Pid| self.hosts.host_of(pid).is_some_and(|host| self.hosts.is_live(host));
        let outbox = &state.servers.ledger.outbox;
        for (timer, (pid, lane, _)) in &state.errand_timers {
            if timer.0 <= state.now_ms && outbox.is_due(*lane, state.servers.ledger_clock_ms) && live(*pid) {
                possible.push(Errand::Look(*timer));
            }
        }
        possible
    }
}
