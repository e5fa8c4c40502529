//! A simulator: the engine of `weir-pipeline`, as it is, counts in a world of its own, in
//! which a seed decides what comes when, what fails, who dies and what is lost. An oracle
//! that shares no code with the engine then folds the journal and says what is wrong.
//!
//! A development tool: no product crate depends on it. The same seed plays the same, to the
//! last decision.

mod chance;
mod metrics;
mod mistakes;
mod mutation;
mod oracle;
mod play;
mod scenario;
mod seeds;
mod servers;
mod shrink;
mod stage;
mod trace;
mod world;

pub use mutation::{MUTATIONS, Mutation, MutationCase, named};
pub use play::{FaultKey, Options, Played, play};
pub use scenario::{Act, Change, Draft, Happened};
pub use seeds::{Seeds, Tested, play_guarded, test_seeds, threads};
pub use shrink::{Shrunk, shrink};
pub use trace::Trace;

/// A seed makes and drops a million small things; the system's allocator took a quarter of the time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
