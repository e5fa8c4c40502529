//! Time, chance and tasks. Counting takes them from here alone, so that the simulator can
//! decide when time passes, what chance brings and what runs next.

use std::time::Duration;

use weir_core::Timestamp;
use weir_metering::catalogue::Catalogue;
use weir_metering::identity::{Answers, Suspects};
use weir_metering::outcome::Outcome;
use weir_metering::record::Batch;
use weir_metering::shard::Shard;

/// Work or a task that ended without its result: it panicked, in these words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Stopped(pub String);

/// Time, chance and tasks.
pub trait Runtime: Clone + Send + Sync + 'static {
    /// Tasks that run side by side.
    type Tasks: Tasks;

    /// What the machine's clock shows. It judges no event.
    fn now(&self) -> Timestamp;

    /// Time since some moment, which never steps back.
    fn elapsed(&self) -> Duration;

    /// Waits.
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send;

    /// 128 bits that nobody can guess.
    fn random(&self) -> Result<[u8; 16], Stopped>;

    /// Does work that takes the processor, where it keeps nobody waiting.
    fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = Result<T, Stopped>> + Send;

    /// No tasks yet.
    fn tasks(&self) -> Self::Tasks;

    /// Applies a batch, as the shard does; `settle` asks the files of ids about its suspects. A
    /// world that tries out whether mistakes are found makes them here.
    fn apply<E>(
        &self,
        shard: &mut Shard,
        batch: &Batch,
        catalogue: &Catalogue,
        settle: impl FnOnce(Suspects) -> Result<Answers, E>,
    ) -> Result<Outcome, E> {
        let answers = settle(shard.suspects(batch))?;
        Ok(shard.apply_settled(batch, catalogue, answers))
    }
}

/// Tasks that run side by side. Dropping them ends them where they wait.
pub trait Tasks: Send {
    /// Begins one.
    fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static);

    /// Waits for the next one to end; `None` when there are none.
    fn join_next(&mut self) -> impl Future<Output = Option<Result<(), Stopped>>> + Send;
}
