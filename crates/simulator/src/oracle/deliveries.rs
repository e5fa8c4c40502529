//! What must have been delivered: every event of the ledger to everyone who wants it, under one id
//! with one body; the numbers of documents; and what changes counting, in its tenant's partition.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use weir_backends::outbox::OutboxKind;

use super::invoices::told_of;
use crate::play::Play;
use crate::servers::{ALERTS, INVOICES, Logged, OutboxLine, Servers};

/// After so many attempts a webhook is given up.
const ATTEMPTS_MAX: u64 = 10;

/// The events of the ledger, each once, by their ids.
pub(super) fn events(servers: &Servers) -> impl Iterator<Item = (&String, &OutboxLine)> {
    servers.ledger.outbox.lines.iter().filter(|(_, line)| line.kind == OutboxKind::AlertTopic)
}

/// The type of an event.
pub(super) fn event_type(line: &OutboxLine) -> &str {
    line.body.get("type").and_then(Value::as_str).unwrap_or_default()
}

/// What is wrong with deliveries, if anything.
pub(super) fn check(play: &Play, servers: &Servers) -> Option<String> {
    let bodies = match bodies_by_id(play, servers) {
        Ok(bodies) => bodies,
        Err(words) => return Some(words),
    };
    events(servers)
        .find_map(|(id, line)| event(play, servers, id, line))
        .or_else(|| under_one_id(&bodies))
        .or_else(|| numbers(servers))
        .or_else(|| control_records(play, servers))
}

/// Events as they came to the topic: id and body.
fn in_topic(servers: &Servers) -> impl Iterator<Item = (String, &[u8])> {
    servers.journal.other.iter().filter(|record| record.topic == ALERTS).map(|record| {
        let id = record.headers.iter().find(|(name, _)| name == "webhook-id");
        let id = id.map(|(_, id)| String::from_utf8_lossy(id).into_owned()).unwrap_or_default();
        (id, record.value.as_deref().unwrap_or_default())
    })
}

/// What came under which id, to whomever: one body. Only where the ledger had lost the tenant for a
/// while, its events were judged otherwise the second time, and the one alert of an hour or a meter
/// may have another cause.
fn bodies_by_id(play: &Play, servers: &Servers) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let heard = servers.receivers.all.iter().flat_map(|receiver| &receiver.heard);
    let posted =
        heard.flat_map(|(id, heard)| heard.bodies.iter().map(move |body| (id.clone(), body.as_slice())));
    let mut bodies: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for (id, body) in posted.chain(in_topic(servers)) {
        let known: &[u8] = bodies.entry(id.clone()).or_insert_with(|| body.to_vec());
        if known != body && !play.presence.has_gaps(&tenant_of(body)) {
            let texts = [known, body].map(String::from_utf8_lossy);
            return Err(format!("{id} was delivered with two bodies: {} and {}", texts[0], texts[1]));
        }
    }
    Ok(bodies)
}

fn tenant_of(body: &[u8]) -> String {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let tenant = body.get("data").and_then(|data| data.get("tenant")).and_then(Value::as_str);
    tenant.unwrap_or_default().to_owned()
}

fn under_one_id(bodies: &BTreeMap<String, Vec<u8>>) -> Option<String> {
    let mut ids: BTreeMap<&[u8], &str> = BTreeMap::new();
    bodies.iter().find_map(|(id, body)| {
        let first = ids.insert(body, id)?;
        Some(format!("what was delivered as {first} was delivered as {id} too"))
    })
}

/// An event has come to the topic, and to every receiver that wants it and was always there.
fn event(play: &Play, servers: &Servers, id: &str, line: &OutboxLine) -> Option<String> {
    let same = |body: &[u8]| serde_json::from_slice::<Value>(body).is_ok_and(|body| body == line.body);
    if !in_topic(servers).any(|(told, body)| told == id && same(body)) {
        return Some(format!("{id} was not delivered to the topic of alerts"));
    }
    let (tenant, event_type) = (line.tenant.as_str(), event_type(line));
    let wants = |number: &usize| play.cast.endpoints[*number].wants(tenant, event_type);
    (0..play.cast.endpoints.len()).filter(wants).find_map(|number| {
        let receiver = &servers.receivers.all[number];
        let heard = receiver.heard.get(id);
        let excused = receiver.gone || heard.is_some_and(|heard| heard.asked >= ATTEMPTS_MAX);
        let arrived = heard.is_some_and(|heard| heard.bodies.iter().any(|body| same(body)));
        (!excused && !arrived).then(|| format!("{id} was not delivered to receiver {number}"))
    })
}

/// The number of each finalized document has come to its topic.
fn numbers(servers: &Servers) -> Option<String> {
    let records = servers.journal.other.iter().filter(|record| record.topic == INVOICES);
    let told: BTreeSet<(String, String)> = records.filter_map(|record| told_of(record).ok()).collect();
    servers.ledger.books.documents.values().find_map(|document| {
        let number = document.number.as_ref().map(ToString::to_string).unwrap_or_default();
        let known = told.contains(&(number.clone(), document.hash.clone()));
        (!known).then(|| format!("the topic of numbers was not told of {number}"))
    })
}

/// Partitions that a record stands in, and when it came there.
type Places = Vec<(i32, u64)>;

/// Limits and adjustments stand in the partition of their tenant. One that was not there yet when they
/// were delivered may have come to live elsewhere: the topic was widened in between.
fn control_records(play: &Play, servers: &Servers) -> Option<String> {
    let mut standing: BTreeMap<(&[u8], &[u8]), Places> = BTreeMap::new();
    for partition in 0..servers.journal.width() {
        let retired = servers.journal.retired.get(&partition);
        let logs = retired.into_iter().chain([servers.journal.log(partition)]);
        for Logged { record, step, .. } in logs.flat_map(|log| &log.records) {
            let control = record.headers.iter().find(|(name, _)| name == "weir-control");
            if let (Some((_, kind)), Some(payload)) = (control, record.payload.as_deref()) {
                standing.entry((kind, payload)).or_default().push((partition, *step));
            }
        }
    }
    let homes = servers.ledger.homes();
    servers.ledger.outbox.lines.iter().find_map(|(id, line)| {
        let kind: &[u8] = match line.kind {
            OutboxKind::Control => b"limits",
            OutboxKind::Adjustment => b"adjustment",
            _ => return None,
        };
        let (tenant, body) = (line.tenant.as_str(), line.body.to_string());
        let (home, earlier) = (homes.of(tenant), play.cast.first_home(tenant));
        let is_right = |(partition, step): &(i32, u64)| {
            let is_early = || play.presence.between(tenant, *step, *step) != Some(true);
            *partition == home || *partition == earlier && is_early()
        };
        let places = standing.get(&(kind, body.as_bytes()));
        let stands = places.is_some_and(|places| places.iter().any(is_right));
        (!stands).then(|| format!("{id} does not stand in partition {home}"))
    })
}
