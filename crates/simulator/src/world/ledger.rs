//! The simulated ledger, called.

use weir_backends::StoreError;
use weir_backends::id_files::RecordedFile;
use weir_backends::ledger::chain::BatchExceptions;
use weir_backends::ledger::commit::{Commit, CommitAnswer};
use weir_backends::ledger::partition::{GivenEpoch, OwnerToken, PartitionRow, Progress};
use weir_backends::ledger::projecting::AcceptedRun;
use weir_backends::ledger::rollup::Rollup;
use weir_backends::ledger::standing::{FoldedTo, SeriesKey};
use weir_backends::ledger::usage::{Folding, Unfolded};
use weir_core::{Generation, Homes, Partition, TenantId, Timestamp};
use weir_metering::aggregate::UsageKey;
use weir_metering::catalogue::Catalogue;
use weir_metering::identity::Day;
use weir_metering::quota::LimitSet;
use weir_metering::shard::PeriodTotal;
use weir_pipeline::world::{Ledger, Place};

use crate::mutation::Mutation;
use crate::servers::Servers;
use crate::stage::{Hand, Server};

/// The ledger in the hand of a process.
#[derive(Clone)]
pub(crate) struct SimLedger(pub(crate) Hand);

impl SimLedger {
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        what: &'static str,
        detail: impl FnOnce() -> String,
        work: impl FnOnce(&mut Servers) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.0.call(Server::Ledger, what, detail, work).await
    }
}

impl Ledger for SimLedger {
    async fn take(
        &self,
        partition: Partition,
        first: (Generation, i64),
        (owner, _): (&OwnerToken, &str),
    ) -> Result<PartitionRow, StoreError> {
        let owner = *owner;
        let detail = || format!("{partition} with {:02x}{:02x}", owner[0], owner[1]);
        self.ask("take", detail, move |servers| Ok(servers.take(partition, first, owner))).await
    }

    async fn commit(&self, commit: &Commit) -> Result<CommitAnswer, StoreError> {
        let commit = commit.clone();
        let (partition, from, to, alerts) = (commit.partition, commit.from, commit.to, commit.alerts.len());
        let detail = || format!("{partition} [{from}, {to}), {alerts} alerts");
        let work = move |servers: &mut Servers| {
            let (owner, taken_with) = (servers.token(commit.owner), commit.owner);
            servers.commit(&Commit { owner, ..commit }, taken_with)
        };
        self.ask("commit", detail, work).await
    }

    async fn find_out(&self, commit: &Commit) -> Result<Option<CommitAnswer>, StoreError> {
        let commit = commit.clone();
        let (partition, from, to) = (commit.partition, commit.from, commit.to);
        let detail = || format!("{partition} [{from}, {to})");
        let work = move |servers: &mut Servers| {
            let owner = servers.token(commit.owner);
            Ok(servers.find_out(&Commit { owner, ..commit }))
        };
        self.ask("find out", detail, work).await
    }

    async fn exceptions(
        &self,
        place: Place,
        from: i64,
        count: i64,
    ) -> Result<Vec<BatchExceptions>, StoreError> {
        let detail = || format!("{} from {from}", place.0);
        self.ask("exceptions", detail, move |servers| servers.exceptions(place, from, count)).await
    }

    async fn first_reaching(&self, place: Place, time: Timestamp) -> Result<Option<i64>, StoreError> {
        let work = move |servers: &mut Servers| Ok(servers.first_reaching(place, time));
        self.ask("first reaching", || format!("{} {time}", place.0), work).await
    }

    async fn broker_time_before(&self, place: Place, offset: i64) -> Result<Option<Timestamp>, StoreError> {
        let work = move |servers: &mut Servers| Ok(servers.broker_time_before(place, offset));
        self.ask("broker time before", || format!("{} {offset}", place.0), work).await
    }

    async fn batch_holding(&self, place: Place, offset: i64) -> Result<Option<i64>, StoreError> {
        let work = move |servers: &mut Servers| Ok(servers.batch_holding(place, offset));
        self.ask("batch holding", || format!("{} {offset}", place.0), work).await
    }

    async fn id_files(&self, place: Place) -> Result<Vec<RecordedFile>, StoreError> {
        let work = move |servers: &mut Servers| Ok(servers.ledger.id_files(place));
        self.ask("id files", || place.0.to_string(), work).await
    }

    async fn record_id_file(
        &self,
        place: Place,
        owner: &OwnerToken,
        file: &RecordedFile,
    ) -> Result<bool, StoreError> {
        let (owner, file) = (*owner, *file);
        let detail = || format!("{} [{}, {})", place.0, file.covers.from, file.covers.to);
        let work = move |servers: &mut Servers| Ok(servers.record_id_file(place, owner, file));
        self.ask("record an id file", detail, work).await
    }

    async fn forget_id_files(&self, place: Place, day: Day) -> Result<(), StoreError> {
        let work = move |servers: &mut Servers| {
            servers.ledger.forget_id_files(place, day);
            Ok(())
        };
        self.ask("forget id files", || place.0.to_string(), work).await
    }

    async fn adjustments(&self, partition: Partition) -> Result<Vec<(TenantId, String)>, StoreError> {
        let work = move |servers: &mut Servers| Ok(servers.adjustments(partition));
        self.ask("adjustments", || partition.to_string(), work).await
    }

    async fn limits(&self, partition: Partition) -> Result<Vec<LimitSet>, StoreError> {
        self.ask("limits", || partition.to_string(), move |servers| Ok(servers.limits(partition))).await
    }

    async fn totals(
        &self,
        stand: FoldedTo,
        ends_after: Timestamp,
        catalogue: &Catalogue,
    ) -> Result<Vec<PeriodTotal>, StoreError> {
        let catalogue = catalogue.clone();
        let work = move |servers: &mut Servers| {
            servers.is_folded(stand)?;
            Ok(servers.totals(stand.partition, ends_after, &catalogue))
        };
        self.ask("totals", || stand.partition.to_string(), work).await
    }

    async fn series(&self, stand: FoldedTo) -> Result<Vec<SeriesKey>, StoreError> {
        let work = move |servers: &mut Servers| {
            servers.is_folded(stand)?;
            Ok(servers.series(stand.partition))
        };
        self.ask("series", || stand.partition.to_string(), work).await
    }

    async fn catalogue_version(&self) -> Result<i64, StoreError> {
        self.ask("catalogue version", String::new, |servers| Ok(servers.ledger.catalogue_version)).await
    }

    async fn catalogue(&self) -> Result<Catalogue, StoreError> {
        let bills = self.0.bills;
        let work = move |servers: &mut Servers| {
            let mut catalogue = servers.ledger.catalogue();
            if servers.mistaken(Mutation::TenantsMove) {
                catalogue.homes = Homes::new(servers.ledger.width);
            }
            if bills && servers.mistaken(Mutation::HomesOfBefore) {
                catalogue.tenants.extend(servers.everyone.iter().cloned());
            }
            Ok(catalogue)
        };
        self.ask("catalogue", String::new, work).await
    }

    async fn unfolded(&self, partition: Partition) -> Result<Option<Unfolded>, StoreError> {
        self.ask("unfolded", || partition.to_string(), move |servers| Ok(servers.unfolded(partition))).await
    }

    async fn fold(&self, folding: &Folding) -> Result<bool, StoreError> {
        let folding = folding.clone();
        let (partition, from, to) = (folding.partition, folding.from, folding.to);
        let detail = || format!("{partition} [{from}, {to})");
        self.ask("fold", detail, move |servers| Ok(servers.fold(&folding))).await
    }

    async fn advance_projected(&self, progress: &[Progress]) -> Result<(), StoreError> {
        let progress = progress.to_vec();
        let text: Vec<String> =
            progress.iter().map(|one| format!("{} to {}", one.partition, one.to)).collect();
        let work = move |servers: &mut Servers| {
            let progress: Vec<Progress> = progress.into_iter().map(|one| known(servers, one)).collect();
            servers.ledger.advance_projected(&progress);
            Ok(())
        };
        self.ask("advance projected", || text.join(", "), work).await
    }

    async fn owned(&self, owners: &[Progress]) -> Result<Vec<PartitionRow>, StoreError> {
        let owners = owners.to_vec();
        let work = move |servers: &mut Servers| {
            let owners: Vec<Progress> = owners.into_iter().map(|one| known(servers, one)).collect();
            Ok(servers.ledger.owned_rows(&owners))
        };
        self.ask("owned", String::new, work).await
    }

    async fn raise_epoch(&self, from: &Progress, least: i64) -> Result<Option<i64>, StoreError> {
        let from = *from;
        let work = move |servers: &mut Servers| {
            let from = known(servers, from);
            Ok(servers.raise_epoch(&from, least))
        };
        self.ask("raise the epoch", || format!("{} to {least}", from.partition), work).await
    }

    async fn given_epochs(&self, place: Place) -> Result<Vec<GivenEpoch>, StoreError> {
        let work = move |servers: &mut Servers| Ok(servers.ledger.given_epochs(place));
        self.ask("given epochs", || place.0.to_string(), work).await
    }

    async fn projection_id(&self) -> Result<Option<String>, StoreError> {
        self.ask("projection id", String::new, |servers| Ok(servers.ledger.projection_id.clone())).await
    }

    async fn renew_projection(&self, seen: Option<&str>, id: &str) -> Result<bool, StoreError> {
        let (seen, id) = (seen.map(str::to_owned), id.to_owned());
        let work = move |servers: &mut Servers| Ok(servers.renew_projection(seen, id));
        self.ask("renew the projection", String::new, work).await
    }

    async fn accepted(
        &self,
        place: Place,
        span: (i64, i64),
        batches: i64,
    ) -> Result<Option<AcceptedRun>, StoreError> {
        let work = move |servers: &mut Servers| Ok(servers.ledger.accepted(place, span, batches));
        self.ask("accepted", || format!("{} {span:?}", place.0), work).await
    }

    async fn totals_of(&self, partition: Partition, keys: &[UsageKey]) -> Result<Rollup, StoreError> {
        let keys = keys.to_vec();
        let work = move |servers: &mut Servers| servers.totals_of(partition, keys);
        self.ask("totals of", || partition.to_string(), work).await
    }

    async fn pending_rollup(&self, partition: Partition) -> Result<Option<Rollup>, StoreError> {
        let work = move |servers: &mut Servers| servers.pending_rollup(partition);
        self.ask("pending rollup", || partition.to_string(), work).await
    }

    async fn advance_rolled(&self, progress: &Progress) -> Result<bool, StoreError> {
        let progress = *progress;
        let detail = || format!("{} to {}", progress.partition, progress.to);
        let work = move |servers: &mut Servers| Ok(servers.ledger.advance_rolled(&known(servers, progress)));
        self.ask("advance rolled", detail, work).await
    }
}

/// Progress with the token as the ledger knows it.
fn known(servers: &Servers, progress: Progress) -> Progress {
    Progress { owner: servers.token(progress.owner), ..progress }
}
