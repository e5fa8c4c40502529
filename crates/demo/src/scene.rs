//! What every act of the story needs: the servers, the program, clients, and what was produced.

use std::time::Duration;

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};

use crate::api::Api;
use crate::ledger::Ledger;
use crate::place::{Place, Servers};
use crate::print::Stopwatch;
use crate::tally::{Produced, Tally};
use crate::wait::{Look, until};
use crate::webhook::Receiver;
use crate::weir::Weir;

/// How long Weir may take to count what was sent.
const COUNTED_MAX: Duration = Duration::from_secs(60);

/// The stage.
#[derive(Debug)]
pub struct Scene {
    /// Where it plays.
    pub place: Place,
    /// The three servers.
    pub servers: Servers,
    /// The program.
    pub weir: Weir,
    /// The ledger, for reading.
    pub ledger: Ledger,
    /// The API, with the platform's key.
    pub api: Api,
    /// The platform's key.
    pub key: String,
    /// Where alerts arrive.
    pub receiver: Receiver,
    /// The id under which Weir knows it.
    pub webhook: String,
    /// When the story began.
    pub now: DateTime<Utc>,
    /// How many partitions the usage topic has.
    pub partitions: i32,
    /// Everything that was acknowledged, in the order of each producer.
    pub produced: Vec<Produced>,
    /// Where time went.
    pub watch: Stopwatch,
}

impl Scene {
    /// The independent count of everything that was produced so far.
    pub fn tally(&self) -> Result<Tally> {
        Tally::of(&self.produced, self.partitions, self.now)
    }

    /// Waits until as many records have ended as were produced, and until those are in the usage
    /// rows and in ClickHouse.
    pub async fn counted(&self) -> Result<()> {
        let expected = i64::try_from(self.tally()?.ended()).context("too many records")?;
        let ended = || async {
            let counts = self.ledger.counts().await?;
            let ended = counts.accepted + counts.duplicate + counts.rejected;
            if ended >= expected {
                return Ok(Look::Yes(()));
            }
            Ok(Look::NotYet(format!("{ended} of {expected} records have ended")))
        };
        until("weir to count what was produced", COUNTED_MAX, ended).await?;
        let reached = self.ledger.standings().await?;
        let visible = || async {
            let now = self.ledger.standings().await?;
            let behind = now.iter().find(|standing| {
                let target = reached.iter().find(|target| target.partition == standing.partition);
                let least = standing.folded_to.min(standing.projected_to).min(standing.rolled_to);
                target.is_some_and(|target| least < target.next_offset)
            });
            Ok(match behind {
                None => Look::Yes(()),
                Some(standing) => Look::NotYet(format!(
                    "partition {} is counted to {}, folded to {}, in ClickHouse to {} (rollups {})",
                    standing.partition,
                    standing.next_offset,
                    standing.folded_to,
                    standing.projected_to,
                    standing.rolled_to
                )),
            })
        };
        until("usage and ClickHouse to hold what was counted", COUNTED_MAX, visible).await
    }
}
