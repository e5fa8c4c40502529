//! The stage that a simulation plays on: tasks that are polled one after the other, calls
//! that wait until someone decides what becomes of them, and a time that passes when it is
//! told to. Everything is done in an order that follows from the decisions alone.

mod call;
mod clock;
mod executor;
mod state;

pub(crate) use call::{Call, Fate, Server};
pub(crate) use clock::Sleep;
pub(crate) use executor::{Executor, SimTasks, lock};
pub(crate) use state::{Hand, Pid, Stage, State};
