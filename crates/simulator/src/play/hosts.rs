//! The processes and the group that shares the partitions among them. A process that is
//! frozen does not hear that it lost its partitions; one that died is started again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_util::sync::CancellationToken;
use weir_backends::config::KafkaConfig;
use weir_backends::journal::JournalEvent;
use weir_backends::outbox::Lane;
use weir_backends::postgres::Installation;
use weir_core::Partition;
use weir_pipeline::outbox::{Delivery, OutboxMetrics};
use weir_pipeline::{Counting, PipelineMetrics, PipelineStatus, count};

use crate::metrics::Metrics;
use crate::scenario::Cast;
use crate::servers::{ALERTS, DEAD_LETTERS, INVOICES, QUOTA, USAGE};
use crate::stage::{Hand, Pid, Stage};
use crate::world::{
    Disk, SimIds, SimLedger, SimProjection, SimReader, SimReceivers, SimRuntime, SimWorld, SimWriter,
};

/// The topics.
fn kafka(partitions: i32) -> KafkaConfig {
    KafkaConfig {
        usage_topic: USAGE.to_owned(),
        dead_letter_topic: DEAD_LETTERS.to_owned(),
        quota_topic: QUOTA.to_owned(),
        invoices_topic: INVOICES.to_owned(),
        alerts_topic: ALERTS.to_owned(),
        partitions,
        ..KafkaConfig::default()
    }
}

/// A process that runs, perhaps frozen.
pub(crate) struct Life {
    pub(crate) pid: Pid,
    events: UnboundedSender<JournalEvent>,
    pub(crate) frozen: bool,
    pub(crate) status: Arc<PipelineStatus>,
    /// Why it ended, if it did.
    pub(crate) ended: Arc<std::sync::Mutex<Option<String>>>,
}

/// A place where processes run, one after the other.
pub(crate) struct Host {
    pub(crate) life: Option<Life>,
    /// What its clock shows beyond the true time.
    pub(crate) clock_wrong_ms: i64,
    /// Its disk.
    disk: Disk,
}

/// All hosts, and who has which partition.
pub(crate) struct Hosts {
    pub(crate) hosts: Vec<Host>,
    pub(crate) assigned: BTreeMap<Partition, usize>,
    next_pid: Pid,
    metrics: Arc<PipelineMetrics>,
    outbox_metrics: Arc<OutboxMetrics>,
}

impl Hosts {
    pub(crate) fn new(clocks: Vec<i64>, (metrics, outbox_metrics): Metrics) -> Self {
        let hosts = clocks
            .into_iter()
            .map(|clock_wrong_ms| Host { life: None, clock_wrong_ms, disk: Disk::default() })
            .collect();
        Self { hosts, assigned: BTreeMap::new(), next_pid: 0, metrics, outbox_metrics }
    }

    /// The host of a process, while it lives.
    pub(crate) fn host_of(&self, pid: Pid) -> Option<usize> {
        self.hosts.iter().position(|host| host.life.as_ref().is_some_and(|life| life.pid == pid))
    }

    /// Whether a host has a process that is not frozen.
    pub(crate) fn is_live(&self, host: usize) -> bool {
        self.hosts[host].life.as_ref().is_some_and(|life| !life.frozen)
    }

    /// Hosts whose process is not frozen.
    pub(crate) fn live(&self) -> Vec<usize> {
        (0..self.hosts.len()).filter(|host| self.is_live(*host)).collect()
    }

    /// Partitions whose process does not answer the group.
    pub(crate) fn orphans(&self) -> Vec<Partition> {
        let orphaned = self.assigned.iter().filter(|(_, host)| !self.is_live(**host));
        orphaned.map(|(partition, _)| *partition).collect()
    }

    /// Starts a process.
    pub(crate) fn start(&mut self, host: usize, stage: &Stage, cast: &Cast) {
        self.next_pid += 1;
        let pid = self.next_pid;
        let hand = stage.hand(pid);
        let (events, told) = unbounded_channel();
        let partitions = stage.state().servers.ledger.width;
        let status = Arc::new(PipelineStatus::default());
        let counting = Counting::<SimWorld> {
            reader: SimReader(hand.clone()),
            writer: SimWriter(hand.clone()),
            ledger: SimLedger(hand.clone()),
            projection: SimProjection(hand.clone()),
            ids: Some(SimIds { hand: hand.clone(), disk: Arc::clone(&self.hosts[host].disk), key: cast.key }),
            runtime: SimRuntime { hand, wrong_by_ms: self.hosts[host].clock_wrong_ms },
            kafka: kafka(partitions),
            installation: Installation {
                identity_key: cast.key,
                topic: USAGE.to_owned(),
                partitions,
                generation: 1,
                topic_id: None,
            },
            settings: cast.settings(),
            metrics: Arc::clone(&self.metrics),
            status: Arc::clone(&status),
            owner_name: format!("host {host}"),
        };
        let ended = Arc::new(std::sync::Mutex::new(None));
        let noted = Arc::clone(&ended);
        stage.spawner.spawn(pid, async move {
            let outcome = count(counting, told, CancellationToken::new()).await;
            let words = match outcome {
                Ok(()) => "without a word".to_owned(),
                Err(error) => error.to_string(),
            };
            *crate::stage::lock(&noted) = Some(words);
        });
        self.start_delivery(pid, host, stage, cast);
        stage.state().trace.line(|| format!("    process {pid} starts on host {host}"));
        self.hosts[host].life = Some(Life { pid, events, frozen: false, status, ended });
    }

    /// Its delivery from the outbox.
    fn start_delivery(&self, pid: Pid, host: usize, stage: &Stage, cast: &Cast) {
        let partitions = stage.state().servers.ledger.width;
        for lane in [Lane::Topics, Lane::Webhooks] {
            if lane == Lane::Webhooks && cast.endpoints.is_empty() {
                continue;
            }
            let hand = Hand { errand: Some(lane), ..stage.hand(pid) };
            let delivery = Delivery::<SimWorld> {
                outbox: SimLedger(hand.clone()),
                writer: SimWriter(hand.clone()),
                receivers: SimReceivers(hand.clone()),
                runtime: SimRuntime { hand, wrong_by_ms: self.hosts[host].clock_wrong_ms },
                kafka: kafka(partitions),
                metrics: Arc::clone(&self.outbox_metrics),
            };
            stage.spawner.spawn(pid, async move {
                Arc::new(delivery).run_lane(lane, &CancellationToken::new()).await;
            });
        }
    }

    /// The group gives a partition to a host, and tells whoever hears.
    pub(crate) fn assign(&mut self, partition: Partition, host: usize) {
        let before = self.assigned.insert(partition, host);
        if let Some(life) =
            before.filter(|before| *before != host).and_then(|one| self.hosts[one].life.as_ref())
        {
            // A process that ended hears nothing.
            let _ = life.events.send(JournalEvent::Revoked(vec![partition]));
        }
        if let Some(life) = &self.hosts[host].life {
            let _ = life.events.send(JournalEvent::Assigned(vec![partition]));
        }
    }

    /// What processes that are not frozen say is refused, by partition.
    pub(crate) fn refused(&self) -> BTreeSet<Partition> {
        let mut refused = BTreeSet::new();
        for life in self.hosts.iter().filter_map(|host| host.life.as_ref()).filter(|life| !life.frozen) {
            for (partition, status) in life.status.snapshot().partitions {
                if matches!(status.state, weir_pipeline::status::PartitionState::Refused(_)) {
                    refused.insert(partition);
                }
            }
        }
        refused
    }

    /// What keeps processes from counting, in their words.
    pub(crate) fn problems(&self) -> Vec<String> {
        let lives = self.hosts.iter().filter_map(|host| host.life.as_ref());
        lives
            .flat_map(|life| {
                let mut words = life.status.problems();
                words.extend(life.status.snapshot().projection);
                words.extend(crate::stage::lock(&life.ended).iter().map(|why| format!("ended: {why}")));
                words.into_iter().map(|words| format!("process {}: {words}", life.pid)).collect::<Vec<_>>()
            })
            .collect()
    }
}
