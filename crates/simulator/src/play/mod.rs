//! A seed, played: the script and the processes on one stage, decision by decision, until
//! everything is done and everything has settled; then the oracle is asked.

mod adjusting;
mod billing;
mod director;
mod errands;
mod faults;
mod hosts;
mod options;
mod outside;
mod settling;

pub(crate) use billing::Billed;
pub(crate) use director::Play;
pub use director::{Played, play};
pub use faults::FaultKey;
pub use options::Options;
