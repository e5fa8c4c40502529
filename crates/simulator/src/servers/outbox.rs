//! The outbox in memory, with the endpoints of webhooks: the statements of `weir-backends::outbox`.
//! A second message under the same id is ignored.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use weir_backends::journal::OutgoingRecord;
use weir_backends::outbox::{Attempt, DueMessage, Lane, OutboxKind, OutboxMessage};
use weir_core::TenantId;

use super::{INVOICES, Servers};
use crate::chance::Chance;
use crate::mutation::Mutation;
use crate::scenario::EndpointFacts;

/// For so long a message that was taken is offered to no one else.
const LEASE_MS: i64 = 60_000;

/// A row of `outbox`.
#[derive(Clone, Debug)]
pub(crate) struct OutboxLine {
    pub(crate) kind: OutboxKind,
    pub(crate) tenant: String,
    /// Of a webhook.
    pub(crate) endpoint: Option<usize>,
    pub(crate) topic_key: Option<String>,
    pub(crate) body: Value,
    /// Rises within a ledger, and no other time of it has the same.
    written_us: i64,
    next_attempt_ms: i64,
    attempts: i32,
    pub(crate) delivered: bool,
    pub(crate) failed: bool,
}

/// A row of `webhook_endpoint`.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    facts: EndpointFacts,
    disabled: bool,
}

/// The tables of the outbox.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outbox {
    /// By the message's id.
    pub(crate) lines: BTreeMap<String, OutboxLine>,
    /// Those that are neither delivered nor given up.
    waiting: BTreeSet<String>,
    endpoints: Vec<Endpoint>,
    /// Of the last line.
    written_us: i64,
}

/// Where the receiver of an endpoint listens.
pub(crate) fn url_of(endpoint: usize) -> String {
    format!("https://receiver.test/{endpoint}")
}

fn lane_of(kind: OutboxKind) -> Lane {
    if kind == OutboxKind::Webhook { Lane::Webhooks } else { Lane::Topics }
}

impl Outbox {
    pub(crate) fn new(endpoints: &[EndpointFacts]) -> Self {
        let endpoint = |facts: &EndpointFacts| Endpoint { facts: facts.clone(), disabled: false };
        Self { endpoints: endpoints.iter().map(endpoint).collect(), ..Self::default() }
    }

    /// Lines that wait, by id.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = (&String, &OutboxLine)> {
        self.waiting.iter().filter_map(|id| self.lines.get_key_value(id))
    }

    /// Whether a lane has a message that is due.
    pub(crate) fn is_due(&self, lane: Lane, now_ms: i64) -> bool {
        self.waiting().any(|(_, line)| lane_of(line.kind) == lane && line.next_attempt_ms <= now_ms)
    }

    /// When the next message is due.
    pub(crate) fn next_attempt_ms(&self) -> Option<i64> {
        self.waiting().map(|(_, line)| line.next_attempt_ms).min()
    }
}

impl Servers {
    /// `enqueue`.
    pub(crate) fn enqueue(
        &mut self,
        id: String,
        kind: OutboxKind,
        (tenant, topic_key): (&str, Option<String>),
        body: Value,
    ) {
        let (tenant, next_attempt_ms) = (tenant.to_owned(), self.ledger_clock_ms);
        let outbox = &mut self.ledger.outbox;
        if outbox.lines.contains_key(&id) {
            return;
        }
        let written_us = (next_attempt_ms * 1_000).max(outbox.written_us + 1);
        outbox.written_us = written_us;
        let line = OutboxLine {
            kind,
            tenant,
            endpoint: None,
            topic_key,
            body,
            written_us,
            next_attempt_ms,
            attempts: 0,
            delivered: false,
            failed: false,
        };
        outbox.waiting.insert(id.clone());
        outbox.lines.insert(id, line);
    }

    /// `enqueue_webhook_event`, and what the commit does with its alerts.
    pub(crate) fn enqueue_event(&mut self, id: &str, tenant: &str, event_type: &str, body: &Value) {
        for number in 0..self.ledger.outbox.endpoints.len() {
            let endpoint = &self.ledger.outbox.endpoints[number];
            if endpoint.disabled || !endpoint.facts.wants(tenant, event_type) {
                continue;
            }
            let id = format!("{id}.{number}");
            self.enqueue(id.clone(), OutboxKind::Webhook, (tenant, None), body.clone());
            if let Some(line) = self.ledger.outbox.lines.get_mut(&id) {
                line.endpoint = Some(number);
            }
        }
        let key = Some(tenant.to_owned());
        self.enqueue(id.to_owned(), OutboxKind::AlertTopic, (tenant, key), body.clone());
    }

    /// `claim`. A statement returns its rows in any order.
    pub(crate) fn claim(&mut self, lane: Lane, count: i64) -> Vec<DueMessage> {
        let (now_ms, early) = (self.ledger_clock_ms, self.mistaken(Mutation::MarkedBeforeSent));
        let homes = self.ledger.homes();
        let (tenants, outbox) = (&self.ledger.tenants, &mut self.ledger.outbox);
        let due = outbox.waiting().filter(|(_, line)| lane_of(line.kind) == lane);
        let due = due.filter(|(_, line)| line.next_attempt_ms <= now_ms);
        let mut due: Vec<_> =
            due.map(|(id, line)| (line.next_attempt_ms, line.written_us, id.clone())).collect();
        due.sort();
        due.truncate(usize::try_from(count).unwrap_or(0));
        let mut taken = Vec::new();
        for (_, _, id) in due {
            let Some(line) = outbox.lines.get_mut(&id) else { continue };
            line.next_attempt_ms = now_ms + LEASE_MS;
            line.attempts += 1;
            if early {
                line.delivered = true;
                outbox.waiting.remove(&id);
            }
            let is_control = matches!(line.kind, OutboxKind::Control | OutboxKind::Adjustment);
            let tenant = TenantId::new(&line.tenant).ok().filter(|id| is_control && tenants.contains_key(id));
            let endpoint = line.endpoint.filter(|number| !outbox.endpoints[*number].disabled);
            taken.push(DueMessage {
                message: OutboxMessage {
                    id,
                    kind: line.kind,
                    tenant: Some(line.tenant.clone()),
                    endpoint_id: None,
                    topic_key: line.topic_key.clone(),
                    body: line.body.clone(),
                },
                written_us: line.written_us,
                attempts: line.attempts - 1,
                url: endpoint.map(url_of),
                secret: endpoint.map(|number| format!("whsec_{number}")),
                home: tenant.map(|tenant| homes.of(tenant.as_str())),
            });
        }
        let mut chance = Chance::new(self.step);
        for at in (1..taken.len()).rev() {
            taken.swap(at, chance.index(at + 1));
        }
        taken
    }

    /// `settle`; of an endpoint that is gone, its last statement.
    pub(crate) fn settle_message(&mut self, (id, written_us): (&str, i64), attempt: &Attempt) {
        let (now_ms, by_id) = (self.ledger_clock_ms, self.mistaken(Mutation::SettledById));
        let outbox = &mut self.ledger.outbox;
        let Some(line) = outbox.lines.get_mut(id) else { return };
        if line.written_us != written_us && !by_id {
            return;
        }
        match attempt {
            Attempt::Delivered => line.delivered = true,
            Attempt::RetryAfterMs(after_ms, _) => line.next_attempt_ms = now_ms + after_ms,
            Attempt::GivenUp(_) | Attempt::EndpointGone(_) => line.failed = true,
        }
        if line.delivered || line.failed {
            outbox.waiting.remove(id);
        }
    }

    /// The first statement of `settle` for an endpoint that is gone.
    pub(crate) fn switch_endpoint_off(&mut self, id: &str) {
        let outbox = &mut self.ledger.outbox;
        if let Some(number) = outbox.lines.get(id).and_then(|line| line.endpoint) {
            outbox.endpoints[number].disabled = true;
        }
    }

    /// Whether a record tells a number that the ledger, which went back, never gave. Every process is
    /// stopped for a restore, and nothing else is lost when what it had on its way comes all the same.
    pub(crate) fn is_of_a_lost_time(&self, record: &OutgoingRecord) -> bool {
        let same = |line: &OutboxLine| {
            line.kind == OutboxKind::InvoiceTopic
                && line.topic_key.as_deref().map(str::as_bytes) == record.key.as_deref()
                && Some(line.body.to_string().as_bytes()) == record.value.as_deref()
        };
        record.topic == INVOICES && !self.ledger.outbox.lines.values().any(same)
    }

    /// `pending`.
    pub(crate) fn pending(&self) -> Vec<(OutboxKind, i64)> {
        let count = |kind: OutboxKind| {
            let waiting = self.ledger.outbox.waiting().filter(|(_, line)| line.kind == kind);
            (kind, i64::try_from(waiting.count()).unwrap_or(i64::MAX))
        };
        OutboxKind::ALL.into_iter().map(count).collect()
    }
}
