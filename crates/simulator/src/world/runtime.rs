//! Time, chance and tasks of a simulated process. Its clock may be wrong.

use std::collections::BTreeMap;
use std::time::Duration;

use weir_core::Timestamp;
use weir_metering::catalogue::Catalogue;
use weir_metering::identity::{Answers, Suspects};
use weir_metering::outcome::Outcome;
use weir_metering::record::Batch;
use weir_metering::shard::Shard;
use weir_pipeline::world::{Runtime, Stopped};

use crate::mistakes::apply_mistaken;
use crate::mutation::Mutation;
use crate::stage::{Hand, SimTasks, Sleep};

/// Time, chance and tasks of a process.
#[derive(Clone)]
pub(crate) struct SimRuntime {
    pub(crate) hand: Hand,
    /// What its clock shows beyond the true time, in milliseconds.
    pub(crate) wrong_by_ms: i64,
}

impl Runtime for SimRuntime {
    type Tasks = SimTasks;

    fn now(&self) -> Timestamp {
        Timestamp::clamped(self.hand.stage.state().now_ms + self.wrong_by_ms)
    }

    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.hand.stage.state().now_ms.unsigned_abs())
    }

    async fn sleep(&self, duration: Duration) {
        let ms = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        let due_ms = self.hand.stage.state().now_ms.saturating_add(ms.max(1));
        Sleep::until(self.hand.clone(), due_ms).await;
    }

    fn random(&self) -> Result<[u8; 16], Stopped> {
        let tokens = &mut self.hand.stage.state().tokens;
        Ok((u128::from(tokens.bits()) << 64 | u128::from(tokens.bits())).to_be_bytes())
    }

    async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        Ok(work())
    }

    fn tasks(&self) -> SimTasks {
        SimTasks::new(self.hand.process, self.hand.stage.spawner.clone())
    }

    fn apply<E>(
        &self,
        shard: &mut Shard,
        batch: &Batch,
        catalogue: &Catalogue,
        settle: impl FnOnce(Suspects) -> Result<Answers, E>,
    ) -> Result<Outcome, E> {
        let apply = |shard: &mut Shard, batch: &Batch| {
            let answers = settle(shard.suspects(batch))?;
            Ok(shard.apply_settled(batch, catalogue, answers))
        };
        let mutation = self.hand.stage.state().mutation;
        match mutation {
            Some(
                mutation @ (Mutation::ThresholdAtBatchEnd
                | Mutation::WallClockLateness
                | Mutation::ForgetByEventTime),
            ) => apply_mistaken(mutation, self, shard, batch, apply),
            _ => apply(shard, batch),
        }
    }
}

/// What a mistaken process remembers of accepted events: their times by identity.
pub(crate) type EventTimes = BTreeMap<(String, String, String), i64>;
