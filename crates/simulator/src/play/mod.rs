//! A seed, played: the script and the processes on one stage, decision by decision, until
//! everything is done and everything has settled; then the oracle is asked.

mod director;
mod faults;
mod hosts;
mod outside;
mod settling;

pub(crate) use director::Play;
pub use director::{Options, Played, play};
pub use faults::FaultKey;
