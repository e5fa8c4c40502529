//! A call of a server: it waits until its fate is decided. The decision comes in two steps,
//! so that everything else can happen between the effect and the answer.

use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use weir_backends::StoreError;

use super::executor::lock;
use super::state::Pid;
use crate::servers::Servers;

/// Which server is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Server {
    /// Kafka.
    Journal,
    /// Postgres.
    Ledger,
    /// ClickHouse.
    Projection,
    /// The machine itself.
    Machine,
    /// Whoever receives webhooks.
    Receiver,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It happens, and the caller is told.
    Works,
    /// It happens, and the caller is told later.
    AnswersLater,
    /// It happens, and the caller is told that it may not have.
    AnswerLost,
    /// It does not happen.
    Fails,
    /// A part of it happens, where it has parts; the caller is told that it failed.
    HappensInPart,
}

/// What the caller will be told.
pub(crate) trait Answer: Send + Sync {
    /// Tells it.
    fn tell(&self);
    /// Tells the caller that the server did not answer.
    fn lose(&self, what: &'static str);
}

/// The effect of a call on the servers; it leaves its answer in the slot.
pub(crate) type Effect = Box<dyn FnOnce(&mut Servers) + Send>;

/// A call that waits.
pub(crate) struct Call {
    /// Whose.
    pub(crate) process: Pid,
    /// Which server.
    pub(crate) server: Server,
    /// In words.
    pub(crate) what: &'static str,
    /// With what, for the trace; empty when nobody traces.
    pub(crate) detail: String,
    /// `None` once it has happened.
    pub(crate) effect: Option<Effect>,
    /// Where the answer goes.
    pub(crate) answer: Arc<dyn Answer>,
    /// It is delivery's, which is scheduled apart.
    pub(crate) errand: bool,
    /// Nothing becomes of it before this step.
    pub(crate) held_to_step: u64,
}

struct SlotState<T> {
    answer: Option<Result<T, StoreError>>,
    told: bool,
    waker: Option<Waker>,
}

/// Where an answer waits for its caller.
pub(crate) struct Slot<T>(Mutex<SlotState<T>>);

impl<T> Slot<T> {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(SlotState { answer: None, told: false, waker: None })))
    }

    pub(crate) fn fill(&self, answer: Result<T, StoreError>) {
        lock(&self.0).answer = Some(answer);
    }

    /// Waits for the answer.
    pub(crate) async fn wait(&self) -> Result<T, StoreError> {
        std::future::poll_fn(|context| {
            let mut state = lock(&self.0);
            if state.told
                && let Some(answer) = state.answer.take()
            {
                return Poll::Ready(answer);
            }
            state.waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }

    fn wake(&self) {
        let waker = {
            let mut state = lock(&self.0);
            state.told = true;
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T: Send> Answer for Slot<T> {
    fn tell(&self) {
        self.wake();
    }

    fn lose(&self, what: &'static str) {
        let reason = "the server did not answer".to_owned();
        self.fill(Err(StoreError::Transient { attempt: what, reason }));
        self.wake();
    }
}
