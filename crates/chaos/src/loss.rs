//! Losses: ClickHouse's folder, the newest part of the ledger, the room on a disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use local_stack::Kind;
use tokio::task::JoinSet;
use tokio::time::sleep;
use weir_demo::wait::{Look, until};

use crate::act::{AWAY, Breaker, LOOK};
use crate::site::copy;

/// How old the copy is that the ledger is put back to.
const COPY_AGE: Duration = Duration::from_secs(6);
/// How long a full disk may go unnoticed.
const FULL_MAX: Duration = Duration::from_secs(20);
/// How long a lost ClickHouse may go unnoticed.
const FILLING_MAX: Duration = Duration::from_secs(90);

impl Breaker {
    /// Nobody is told, and nobody stops: it is noticed and filled again.
    pub(crate) async fn lose_clickhouse(&self, name: &str) -> Result<()> {
        let began = Instant::now();
        let site = Arc::clone(&self.site);
        tokio::task::spawn_blocking(move || {
            site.clickhouse().kill()?;
            std::fs::remove_dir_all(site.clickhouse().data()?).context("delete ClickHouse's folder")?;
            anyhow::Ok(site.clickhouse().start()?)
        })
        .await??;
        self.watch.began(name, began);
        // Otherwise a comparison might come before it is noticed.
        let is_filling = || async {
            Ok(match self.house.projection.ask("SELECT count() > 0 FROM events", &[]).await {
                Ok(rows) if rows == [["1"]] => Look::Yes(()),
                Ok(_) => Look::NotYet("there are no events".to_owned()),
                Err(error) => Look::NotYet(format!("{error:#}")),
            })
        };
        until("ClickHouse to be filled again", FILLING_MAX, is_filling).await
    }

    /// As docs/operations.md says: everyone stops, the ledger is put back, everyone starts. The copy
    /// is taken of the killed server, so it holds what a crash at that moment leaves.
    pub(crate) async fn restore_ledger(&self, name: &str) -> Result<()> {
        let kept = self.site.folder.join("ledger-copy");
        let (site, folder) = (Arc::clone(&self.site), kept.clone());
        tokio::task::spawn_blocking(move || {
            site.postgres().kill()?;
            if folder.exists() {
                std::fs::remove_dir_all(&folder)?;
            }
            copy(&site.postgres().data()?, &folder)?;
            anyhow::Ok(site.postgres().restart()?)
        })
        .await??;
        sleep(COPY_AGE).await;
        let began = Instant::now();
        self.everyone_stops().await?;
        let site = Arc::clone(&self.site);
        tokio::task::spawn_blocking(move || {
            site.postgres().kill()?;
            let data = site.postgres().data()?;
            std::fs::remove_dir_all(&data).context("remove the newer ledger")?;
            copy(&kept, &data)?;
            anyhow::Ok(site.postgres().start()?)
        })
        .await??;
        self.everyone_starts();
        self.watch.began(name, began);
        Ok(())
    }

    /// A disk of its own is needed for that; see [`Site::open`]. It stays full until somebody
    /// complains in a log, and for a while after that.
    pub(crate) async fn fill_disk(&self, name: &str, kind: Kind) -> Result<()> {
        let (site, logs, began) = (Arc::clone(&self.site), self.logs(kind), Instant::now());
        let complained = tokio::task::spawn_blocking(move || {
            let before: Vec<u64> = logs.iter().map(|log| length(log)).collect();
            site.fill_disk(kind)?;
            let deadline = Instant::now() + FULL_MAX;
            let complains = || logs.iter().zip(&before).any(|(log, from)| speaks_of_space(log, *from));
            while !complains() && Instant::now() < deadline {
                std::thread::sleep(LOOK * 5);
            }
            let complained = complains();
            std::thread::sleep(AWAY * 6);
            site.free_disk(kind)?;
            let server = site.server(kind);
            // It may have ended by itself, or stand still for good: an operator restarts it.
            server.kill()?;
            server.start()?;
            anyhow::Ok(complained)
        })
        .await??;
        match complained {
            true => self.watch.began(name, began),
            false => self.watch.missed(name),
        }
        Ok(())
    }

    /// Where it is told that a disk is full: by the server, or by whoever it refuses.
    fn logs(&self, kind: Kind) -> Vec<PathBuf> {
        let members = self.house.everyone().map(|member| member.log().to_owned());
        members.chain([self.site.server(kind).logs()]).collect()
    }

    async fn everyone_stops(&self) -> Result<()> {
        let members: Vec<_> = self.house.everyone().cloned().collect();
        let mut stopping = JoinSet::new();
        for member in members {
            stopping.spawn_blocking(move || member.stop());
        }
        while let Some(stopped) = stopping.join_next().await {
            stopped??;
        }
        Ok(())
    }

    fn everyone_starts(&self) {
        for member in &self.house.members {
            member.want(true);
        }
    }
}

fn length(log: &Path) -> u64 {
    std::fs::metadata(log).map_or(0, |metadata| metadata.len())
}

/// Whether what was written into a log from there on says that a disk is full.
fn speaks_of_space(log: &Path, from: u64) -> bool {
    let bytes = std::fs::read(log).unwrap_or_default();
    let from = usize::try_from(from).unwrap_or(usize::MAX);
    let text = String::from_utf8_lossy(bytes.get(from..).unwrap_or_default()).to_lowercase();
    ["no space left", "not_enough_space", "not enough space"].iter().any(|words| text.contains(words))
}
