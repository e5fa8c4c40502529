//! The end of a play: nothing goes wrong any more, and everything must come to rest by
//! itself: counted, folded, projected, told.

use weir_core::Partition;

use super::director::Play;

/// Decisions within which everything must have settled.
const STEPS_MAX: u64 = 60_000;
/// Longer than any wait between attempts: five seconds, and as much again by chance.
pub(super) const PATIENCE_MS: i64 = 10_500;
/// The longest rest of a sweep: one during which hours passed rests for as long.
const SWEEP_REST_MS: i64 = 600_000;
/// Longer than a sweep then takes to look at all of so small a journal. Every five seconds it takes
/// a turn: one for what is left, one to find the end, one from the beginning.
const SWEEP_ROUND_MS: i64 = 17_000;

impl Play {
    /// Something went wrong that is noticed and mended within `ms`.
    pub(super) fn settled_after(&mut self, ms: i64) {
        self.settled_after_ms = self.settled_after_ms.max(self.stage.state().now_ms + ms);
    }

    /// Lets everything settle; why it does not, in words.
    pub(crate) fn settle(&mut self) -> Result<(), String> {
        self.faults.over = true;
        self.away_until_ms = [0; 3];
        self.create_lost();
        self.widen_ledger();
        for host in 0..self.hosts.hosts.len() {
            self.thaw(host);
            if self.hosts.hosts[host].life.is_none() {
                self.hosts.start(host, &self.stage, &self.cast);
                self.give_back(host);
            }
        }
        let mut quiet_from_ms = self.settled_after_ms;
        let from_step = {
            let mut state = self.stage.state();
            state.mishaps = false;
            state.servers.receivers.well = true;
            state.trace.line(|| "    nothing goes wrong any more".to_owned());
            state.step
        };
        loop {
            self.executor.run_until_idle();
            let (now_ms, step, quiet) = {
                let state = self.stage.state();
                (state.now_ms, state.step, state.calls.is_empty())
            };
            if quiet && now_ms >= quiet_from_ms && self.unsettled().is_none() {
                if !std::mem::take(&mut self.late_rows) {
                    return Ok(());
                }
                if !self.was_restored
                    && let Some(what) = self.lacks_events()
                {
                    return Err(what);
                }
                // They are found when the sweep comes round.
                self.pass(SWEEP_REST_MS);
                quiet_from_ms = now_ms + SWEEP_REST_MS + SWEEP_ROUND_MS;
            }
            if step > from_step + STEPS_MAX {
                let what = self.unsettled().unwrap_or_else(|| "calls go on".to_owned());
                let problems = self.hosts.problems().join("; ");
                return Err(format!("does not settle: {what} ({problems})"));
            }
            if quiet && self.unsettled_counting().is_none() && self.wait_for_the_outbox() {
                continue;
            }
            self.decide_in_order();
        }
    }

    /// Time passes to the next attempt at delivery, where that is all that is waited for: it may be
    /// hours away.
    fn wait_for_the_outbox(&mut self) -> bool {
        let (now_ms, next_ms) = {
            let state = self.stage.state();
            (state.servers.ledger_clock_ms, state.servers.ledger.outbox.next_attempt_ms())
        };
        let wait_ms = next_ms.map_or(0, |next_ms| next_ms - now_ms);
        let waits = wait_ms > PATIENCE_MS;
        if waits {
            self.pass(wait_ms);
        }
        waits
    }

    /// An event that the ledger accepted and the projection lacks, in words. The sweep would bring
    /// it, but whoever writes late writes too much and takes nothing away: except where the ledger
    /// went back to before its epoch, and the owner of then goes on with an older one.
    fn lacks_events(&self) -> Option<String> {
        let state = self.stage.state();
        let (ledger, projection) = (&state.servers.ledger, &state.servers.projection);
        let mut counted =
            ledger.batches.iter().filter(|((partition, ..), _)| !self.recreated.contains(partition));
        counted.find_map(|((partition, generation, from), batch)| {
            let found = projection.events((*partition, *generation));
            let found = found.filter(|(offset, _)| (*from..batch.to).contains(offset)).count();
            let lacks = batch.counts.accepted > u64::try_from(found).unwrap_or(u64::MAX);
            lacks.then(|| {
                let (to, accepted) = (batch.to, batch.counts.accepted);
                format!("projected events of partition {partition}: {found} of [{from}, {to}), and {accepted} were accepted")
            })
        })
    }

    /// What has not settled, in words.
    fn unsettled(&self) -> Option<String> {
        self.unsettled_counting().or_else(|| {
            let state = self.stage.state();
            let waiting = state.servers.ledger.outbox.waiting().next();
            waiting.map(|(id, _)| format!("{id} waits in the outbox"))
        })
    }

    fn unsettled_counting(&self) -> Option<String> {
        if !self.eligible_feeds().is_empty() {
            return Some("records are not delivered".to_owned());
        }
        let refused = self.hosts.refused();
        let partitions = self.stage.state().servers.journal.width();
        (0..partitions)
            .find_map(|partition| self.unsettled_partition(partition, refused.contains(&partition)))
    }

    fn unsettled_partition(&self, partition: Partition, refused: bool) -> Option<String> {
        if self.recreated.contains(&partition) {
            return (!refused).then(|| format!("partition {partition} was made anew and is not refused"));
        }
        let state = self.stage.state();
        let high =
            state.servers.journal.log(partition).records.last().map_or(0, |last| last.record.offset + 1);
        let Some(line) = state.servers.ledger.partitions.get(&partition) else {
            return Some(format!("partition {partition} was never taken"));
        };
        let row = &line.row;
        let steps = [
            ("counted", row.next_offset, high),
            ("folded", row.folded_to, row.next_offset),
            ("projected", row.projected_to, row.next_offset),
            ("rolled up", row.rolled_to, row.folded_to),
        ];
        steps.iter().find(|(_, reached, needed)| reached < needed).map(|(what, reached, needed)| {
            format!("partition {partition} is {what} to {reached} of {needed}")
        })
    }
}
