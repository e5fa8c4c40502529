//! The simulated projection, called.

use weir_backends::StoreError;
use weir_backends::projection::{EventRow, RollupRow};
use weir_metering::aggregate::UsageKey;
use weir_pipeline::world::{Place, ProjectionStore};

use crate::mutation::Mutation;
use crate::servers::Servers;
use crate::stage::{Hand, Server};

/// The projection in the hand of a process.
pub(crate) struct SimProjection(pub(crate) Hand);

impl ProjectionStore for SimProjection {
    async fn prepare(&self) -> Result<(), StoreError> {
        let work = |servers: &mut Servers| {
            servers.prepare_projection();
            Ok(())
        };
        self.0.call(Server::Projection, "prepare the projection", String::new, work).await
    }

    async fn insert_events(&self, rows: &[EventRow]) -> Result<(), StoreError> {
        let rows = rows.to_vec();
        let detail = || match (rows.first(), rows.last()) {
            (Some(first), Some(last)) => format!(
                "{} rows, {}/{} to {}/{}",
                rows.len(),
                first.position.partition,
                first.position.offset,
                last.position.partition,
                last.position.offset
            ),
            _ => String::new(),
        };
        let detail = if self.0.stage.state().trace.is_told() { detail() } else { String::new() };
        let early = self.0.stage.state().mutation == Some(Mutation::ProjectedBeforeInsert);
        let hand = self.0.clone();
        let inserted = async move {
            let work = move |servers: &mut Servers| servers.insert_events(rows);
            hand.call(Server::Projection, "insert events", move || detail, work).await
        };
        if early {
            // The call goes on by itself; a crash takes it with it.
            self.0.stage.spawner.spawn(self.0.process, async move {
                let _ = inserted.await;
            });
            return Ok(());
        }
        inserted.await
    }

    async fn insert_rollups(&self, rows: &[RollupRow]) -> Result<(), StoreError> {
        let rows = rows.to_vec();
        let count = rows.len();
        let work = move |servers: &mut Servers| servers.insert_rollups(rows);
        self.0.call(Server::Projection, "insert rollups", || format!("{count} rows"), work).await
    }

    async fn marks(&self) -> Result<Vec<String>, StoreError> {
        self.0.call(Server::Projection, "marks", String::new, |servers| Ok(servers.marks())).await
    }

    async fn mark(&self, id: &str) -> Result<(), StoreError> {
        let id = id.to_owned();
        let detail = id.get(..4).unwrap_or_default().to_owned();
        self.0.call(Server::Projection, "mark", || detail, move |servers| servers.mark(id)).await
    }

    async fn epoch_max(&self, place: Place, from: i64) -> Result<i64, StoreError> {
        let work = move |servers: &mut Servers| servers.epoch_max(place, from);
        self.0.call(Server::Projection, "highest epoch", || format!("{} from {from}", place.0), work).await
    }

    async fn remove_events(&self, place: Place, span: (i64, i64), epoch: i64) -> Result<u64, StoreError> {
        let work = move |servers: &mut Servers| servers.remove_events(place, span, epoch);
        let detail = || format!("{} from {} before epoch {epoch}", place.0, span.0);
        self.0.call(Server::Projection, "remove events", detail, work).await
    }

    async fn count_positions(&self, place: Place, span: (i64, i64)) -> Result<u64, StoreError> {
        let work = move |servers: &mut Servers| servers.count_positions(place, span);
        self.0.call(Server::Projection, "count positions", || format!("{} {span:?}", place.0), work).await
    }

    async fn rollup_epochs(&self, place: Place) -> Result<Vec<(i64, i64)>, StoreError> {
        let work = move |servers: &mut Servers| servers.rollup_epochs(place);
        self.0.call(Server::Projection, "rollup epochs", || place.0.to_string(), work).await
    }

    async fn rollups_beyond(&self, place: Place, beyond: (i64, i64)) -> Result<Vec<UsageKey>, StoreError> {
        let work = move |servers: &mut Servers| servers.rollups_beyond(place, beyond);
        let detail = || format!("{} epoch {} beyond {}", place.0, beyond.0, beyond.1);
        self.0.call(Server::Projection, "rollups beyond", detail, work).await
    }

    async fn remove_rollups_beyond(&self, place: Place, beyond: (i64, i64)) -> Result<(), StoreError> {
        let work = move |servers: &mut Servers| servers.remove_rollups_beyond(place, beyond);
        let detail = || format!("{} epoch {} beyond {}", place.0, beyond.0, beyond.1);
        self.0.call(Server::Projection, "remove rollups beyond", detail, work).await
    }
}
