//! Waiting for a time to come.

use std::pin::Pin;
use std::task::{Context, Poll};

use super::state::Hand;

/// Waits until a time has come; forgets that it waited when it is dropped.
pub(crate) struct Sleep {
    hand: Hand,
    due_ms: i64,
    timer: Option<u64>,
}

impl Sleep {
    pub(crate) fn until(hand: Hand, due_ms: i64) -> Self {
        Self { hand, due_ms, timer: None }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let (due_ms, timer, process) = (self.due_ms, self.timer, self.hand.process);
        let mut state = self.hand.stage.state();
        if state.now_ms >= due_ms {
            return Poll::Ready(());
        }
        let id = timer.unwrap_or_else(|| state.fresh_id());
        let waker = context.waker().clone();
        match self.hand.errand {
            None => drop(state.timers.insert((due_ms, id), (process, waker))),
            Some(lane) => drop(state.errand_timers.insert((due_ms, id), (process, lane, waker))),
        }
        drop(state);
        self.timer = Some(id);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(id) = self.timer {
            let mut state = self.hand.stage.state();
            let key = (self.due_ms, id);
            let wakers = (state.timers.remove(&key), state.errand_timers.remove(&key));
            drop(state);
            drop(wakers);
        }
    }
}
