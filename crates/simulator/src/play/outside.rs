//! What comes from outside of the processes: acts of the script, time, death, the group.

use weir_backends::journal::OutgoingRecord;
use weir_backends::outbox::OutboxKind;
use weir_core::TenantId;
use weir_wire::usage_record::HEADER_CONTENT_TYPE;

use crate::mutation::Mutation;
use crate::scenario::{Act, BEGIN_MS, Change, Draft, Happened};
use crate::servers::{Ledger, PartitionLog, Transactions, USAGE};
use crate::stage::Pid;

use super::director::{Play, seconds};
use super::settling::PATIENCE_MS;

/// After so long a silence the group takes a process for dead.
const SESSION_MS: i64 = 10_000;

impl Play {
    /// Does what the script says.
    pub(crate) fn act(&mut self, act: &Act) {
        {
            let mut state = self.stage.state();
            state.step += 1;
            state.servers.step = state.step;
            let (step, now) = (state.step, state.now_ms - BEGIN_MS);
            state.trace.note(step);
            state.trace.line(|| format!("{step:5} {:>10} s  * {act:?}", seconds(now)));
        }
        match act {
            Act::Produce(draft, partition) => self.produce(draft.clone(), *partition),
            Act::Again(back, change, partition) => self.produce_again(*back, change, *partition),
            Act::Garbage(partition, bytes) => {
                let headers = vec![json_header()];
                self.append(Some(*partition), None, bytes.as_bytes().to_vec(), headers);
            }
            Act::Hole(partition, count) => {
                self.stage.state().servers.journal.log_mut(*partition).high += count;
            }
            Act::Limits(tenant, revision, limits) => self.change_limits(tenant, *revision, limits),
            Act::Adjust(tenant, id, meter, units, ago_ms) => {
                self.adjust(tenant, &format!("a{id}"), meter, *units, *ago_ms);
            }
            Act::Void(back) => self.void(*back),
            Act::CreateTenant(number) => self.create_tenant(*number),
            Act::Pass(ms) => self.pass(*ms),
            Act::Wait(decisions) => (0..*decisions).for_each(|_| {
                self.decide(false);
            }),
            Act::BrokerClock(wrong_ms) => {
                self.broker_wrong_ms = *wrong_ms;
                self.pass(0);
            }
            Act::Kill(host) => {
                if let Some(pid) = self.hosts.hosts[*host].life.as_ref().map(|life| life.pid) {
                    self.kill(pid);
                }
            }
            Act::Freeze(host) => self.freeze(*host),
            Act::Thaw(host) => self.thaw(*host),
            Act::Late(host, what, decisions) => {
                if let Some(life) = &self.hosts.hosts[*host].life {
                    let mut state = self.stage.state();
                    let until_step = state.step + decisions;
                    state.late.insert((life.pid, what), until_step);
                }
            }
            Act::Move(partition, host) => {
                if self.hosts.is_live(*host) {
                    self.hosts.assign(*partition, *host);
                }
            }
            Act::Away(server, ms) => {
                let until = self.stage.state().now_ms + ms;
                self.away_until_ms[usize::from(*server).min(2)] = until;
            }
            Act::Backup => self.backup = Some(self.stage.state().servers.ledger.clone()),
            Act::Restore(at_once) => self.restore(*at_once),
            Act::Recreate(partition) => self.recreate(*partition),
            Act::Trim(partition) => self.trim(*partition),
            Act::WidenTopic(more) => self.widen_topic(*more),
            Act::WidenLedger => self.widen_ledger(),
            Act::DropProjection => {
                self.stage.state().servers.projection.drop_all();
                self.settled_after(PATIENCE_MS);
            }
            Act::Bill(host) => self.bill(*host, None),
            Act::BillOne(host, tenant) => self.bill(*host, TenantId::new(tenant).ok()),
            Act::Deliver(decisions) => self.deliver(*decisions),
        }
    }

    fn produce(&mut self, draft: Draft, partition: Option<i32>) {
        let at_ms = self.stage.state().servers.broker_ms;
        self.write(&draft, at_ms, partition);
        self.written.push(draft);
        self.written_at_ms.push(at_ms);
    }

    fn produce_again(&mut self, back: u64, change: &Change, partition: Option<i32>) {
        let count = self.written.len();
        if count == 0 {
            return;
        }
        let index = count - 1 - usize::try_from(back).unwrap_or(0) % count;
        let mut draft = self.written[index].clone();
        let mut at_ms = self.written_at_ms[index];
        match change {
            Change::Nothing => {}
            Change::Time(happened) => {
                draft.happened = *happened;
                at_ms = self.stage.state().servers.broker_ms;
            }
            Change::Value => {
                if let Some((_, value)) = draft.data.first_mut() {
                    *value = "7".to_owned();
                }
            }
        }
        self.write(&draft, at_ms, partition);
    }

    fn write(&mut self, draft: &Draft, at_ms: i64, partition: Option<i32>) {
        let key = draft.tenant.clone().into_bytes();
        self.append(partition, Some(key), draft.payload(at_ms), vec![json_header()]);
    }

    fn append(
        &mut self,
        partition: Option<i32>,
        key: Option<Vec<u8>>,
        value: Vec<u8>,
        headers: Vec<(String, Vec<u8>)>,
    ) {
        let record = OutgoingRecord { topic: USAGE.to_owned(), partition, key, value: Some(value), headers };
        self.stage.state().servers.append(record);
    }

    fn change_limits(&mut self, tenant: &str, revision: i64, limits: &[(&'static str, i64, Vec<u16>)]) {
        let limits: Vec<_> = limits
            .iter()
            .map(|(meter, limit, thresholds)| {
                serde_json::json!({
                    "meter": meter, "limit": limit.to_string(), "enforcement": "hard",
                    "thresholds_percent": thresholds, "when_stale": "allow",
                })
            })
            .collect();
        let value = serde_json::json!({ "tenant": tenant, "revision": revision, "limits": limits });
        let key = Some(tenant.to_owned());
        let id = format!("limits/{tenant}/{revision}");
        self.stage.state().servers.enqueue(id, OutboxKind::Control, (tenant, key), value);
    }

    pub(crate) fn create_tenant(&mut self, number: usize) {
        let tenant = &self.cast.tenants[number];
        let (Some(id), Some(subscription)) = (tenant.id(), tenant.subscription()) else { return };
        let mut state = self.stage.state();
        let step = state.step;
        state.servers.ledger.books.subscriptions.insert(id.clone(), subscription);
        let width = state.servers.ledger.width;
        state.servers.ledger.widths.entry(id.clone()).or_insert(width);
        if state.servers.ledger.tenants.insert(id, tenant.facts()).is_none() {
            let version = state.servers.version_after(state.servers.ledger.catalogue_version);
            state.servers.ledger.catalogue_version = version;
            self.presence.created(&tenant.name, step);
        }
    }

    /// Time passes for everyone, the broker included.
    pub(crate) fn pass(&mut self, ms: i64) {
        let wakers = {
            let mut state = self.stage.state();
            state.now_ms += ms;
            state.servers.broker_ms = state.now_ms + self.broker_wrong_ms;
            state.servers.ledger_clock_ms += ms;
            let now_ms = state.now_ms;
            let later = state.timers.split_off(&(now_ms + 1, 0));
            std::mem::replace(&mut state.timers, later)
        };
        for (_, waker) in wakers.into_values() {
            waker.wake();
        }
    }

    /// Time passes up to what is waited for next.
    pub(crate) fn next_timer(&mut self) {
        let frozen: Vec<Pid> = self
            .hosts
            .hosts
            .iter()
            .filter_map(|host| host.life.as_ref().filter(|life| life.frozen).map(|life| life.pid))
            .collect();
        let (now_ms, due) = {
            let state = self.stage.state();
            let due = state.timers.iter().find(|(_, (pid, _))| !frozen.contains(pid));
            (state.now_ms, due.map(|((due_ms, _), _)| *due_ms))
        };
        self.pass(due.map_or(1_000, |due_ms| (due_ms - now_ms).max(0)));
    }

    /// A process dies where it stands. What it has sent may still arrive.
    pub(crate) fn kill(&mut self, pid: Pid) {
        let Some(host) = self.hosts.host_of(pid) else { return };
        self.hosts.hosts[host].life = None;
        self.executor.kill(pid);
        let mut state = self.stage.state();
        let state = &mut *state;
        state.trace.line(|| format!("    process {pid} is dead"));
        state.feeds.retain(|(of, _), _| *of != pid);
        let (chance, errands) = (&mut self.chance, &mut self.errands);
        state.calls.retain(|_, call| {
            let chance = if call.errand { &mut *errands } else { &mut *chance };
            call.process != pid || (call.effect.is_some() && chance.per_mille(500))
        });
    }

    fn freeze(&mut self, host: usize) {
        if let Some(life) = self.hosts.hosts[host].life.as_mut().filter(|life| !life.frozen) {
            life.frozen = true;
            self.executor.freeze(life.pid);
        }
    }

    pub(crate) fn thaw(&mut self, host: usize) {
        if let Some(life) = self.hosts.hosts[host].life.as_mut().filter(|life| life.frozen) {
            life.frozen = false;
            self.executor.thaw(life.pid);
            self.late_rows = true;
            // What happened while it slept it notices from now on.
            self.settled_after(PATIENCE_MS);
        }
    }

    /// The group gives partitions of silent processes to others.
    pub(crate) fn rebalance(&mut self) {
        let live = self.hosts.live();
        if live.is_empty() {
            return;
        }
        self.pass(SESSION_MS);
        for partition in self.hosts.orphans() {
            let host = *self.chance.pick(&live);
            self.hosts.assign(partition, host);
        }
    }

    /// A process has started: it gets what nobody has, and what its place had.
    pub(crate) fn give_back(&mut self, host: usize) {
        for partition in self.hosts.orphans() {
            self.hosts.assign(partition, host);
        }
        let own: Vec<i32> =
            self.hosts.assigned.iter().filter(|(_, at)| **at == host).map(|(p, _)| *p).collect();
        for partition in own {
            self.hosts.assign(partition, host);
        }
    }

    fn restore(&mut self, at_once: bool) {
        let Some(backup) = self.backup.clone() else { return };
        self.was_restored = true;
        // Nobody bills while a ledger is restored: its connections are closed.
        self.runs.clear();
        {
            let mut state = self.stage.state();
            let step = state.step;
            let lost: Vec<TenantId> = {
                let now = &state.servers.ledger.tenants;
                now.keys().filter(|id| !backup.tenants.contains_key(*id)).cloned().collect()
            };
            for tenant in &lost {
                self.presence.lost(tenant.as_str(), step);
            }
            state.servers.ledger = backup;
            // Versions that were given within one millisecond are ahead of the clock by as many
            // milliseconds as there were; to restore a ledger takes longer.
            state.servers.ledger_clock_ms += 1_000;
            state.servers.transactions = Transactions::default();
        }
        self.settled_after(PATIENCE_MS);
        if at_once {
            self.widen_ledger();
            self.create_lost();
        }
    }

    /// Kafka makes more partitions, and the group gives them to somebody.
    fn widen_topic(&mut self, more: i32) {
        let from = self.stage.state().servers.journal.width();
        for partition in from..from + more {
            self.stage.state().servers.journal.usage.push(PartitionLog::default());
            let host = self.chance.index(self.hosts.hosts.len());
            self.hosts.assign(partition, host);
        }
    }

    /// The command is given: the ledger counts as many partitions as the topic has.
    pub(crate) fn widen_ledger(&mut self) {
        let mut state = self.stage.state();
        let (to, version) = (state.servers.journal.width(), state.servers.ledger.catalogue_version);
        let version =
            if to > state.servers.ledger.width { state.servers.version_after(version) } else { version };
        let keeps_names = !state.servers.mistaken(Mutation::NamesNotKept);
        state.servers.ledger.widen(to, version, keeps_names);
    }

    /// Tenants that a restored ledger has lost are created again.
    pub(crate) fn create_lost(&mut self) {
        let known: Vec<usize> = (0..self.cast.tenants.len())
            .filter(|number| self.presence.was_created(&self.cast.tenants[*number].name))
            .collect();
        for number in known {
            self.create_tenant(number);
        }
    }

    fn recreate(&mut self, partition: i32) {
        if !self.recreated.is_empty() {
            return;
        }
        let lives: Vec<Pid> =
            self.hosts.hosts.iter().filter_map(|host| host.life.as_ref().map(|life| life.pid)).collect();
        lives.into_iter().for_each(|pid| self.kill(pid));
        // Packets under way would reach the old topic, which is gone.
        self.stage.state().calls.clear();
        let counted = {
            let state = self.stage.state();
            state.servers.ledger.partitions.get(&partition).map(|line| line.row.next_offset)
        };
        // What was never counted begins anew without anyone being able to tell.
        let Some(counted) = counted.filter(|counted| *counted > 0) else { return };
        let old = {
            let mut state = self.stage.state();
            std::mem::take(state.servers.journal.log_mut(partition))
        };
        let filled = old.high.max(counted) + self.chance.between(-3, 3).max(-old.high);
        self.stage.state().servers.journal.retired.insert(partition, old);
        self.recreated.insert(partition);
        let draft = Draft {
            tenant: self.cast.tenants[0].name.clone(),
            source: "gateway",
            id: String::new(),
            event_type: "request",
            happened: Happened::Unsaid,
            data: vec![("bytes", "1".to_owned()), ("user", "\"u\"".to_owned())],
        };
        for number in 0..filled {
            let draft = Draft { id: format!("new{number}"), ..draft.clone() };
            let at_ms = self.stage.state().servers.broker_ms;
            self.write(&draft, at_ms, Some(partition));
        }
    }

    fn trim(&mut self, partition: i32) {
        use crate::scenario::{FUTURE_MS, WINDOW_MS};
        let mut state = self.stage.state();
        // How far it was counted, here and in the backup, and until when.
        let reach = |ledger: &Ledger| {
            let row = ledger.partitions.get(&partition).map(|line| &line.row);
            row.map_or((0, 0), |row| (row.projected_to, row.broker_time_max.millis()))
        };
        let (now, before) = (reach(&state.servers.ledger), self.backup.as_ref().map(reach));
        let (projected_to, counted_ms) =
            before.map_or(now, |before| (now.0.min(before.0), now.1.min(before.1)));
        // Retention is longer than the window by more than counting is ever behind.
        let kept_ms = counted_ms - WINDOW_MS - FUTURE_MS - 2 * weir_core::time::DAY_MS;
        let log = state.servers.journal.log_mut(partition);
        let young = log.records.iter().find(|logged| logged.record.broker_time_ms >= kept_ms);
        let low = young.map_or(log.high, |logged| logged.record.offset).min(projected_to);
        log.trim(low);
    }
}

fn json_header() -> (String, Vec<u8>) {
    (HEADER_CONTENT_TYPE.to_owned(), b"application/cloudevents+json".to_vec())
}
