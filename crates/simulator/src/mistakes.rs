//! The deliberate mistakes that are made around the shard: what goes in or comes out of it
//! is changed so that it is as if the shard had the mistake.

use std::collections::BTreeMap;

use weir_core::digest::Digest;
use weir_core::{HashKey, Position};
use weir_metering::outcome::{Alert, AlertKind, Direction, Outcome, RejectReason};
use weir_metering::record::{Batch, RecordBody};
use weir_metering::shard::Shard;
use weir_pipeline::world::Runtime;

use crate::mutation::Mutation;
use crate::world::SimRuntime;

/// Applies a batch by `apply`, with a mistake.
pub(crate) fn apply_mistaken<E>(
    mutation: Mutation,
    runtime: &SimRuntime,
    shard: &mut Shard,
    batch: &Batch,
    apply: impl FnOnce(&mut Shard, &Batch) -> Result<Outcome, E>,
) -> Result<Outcome, E> {
    match mutation {
        Mutation::ThresholdAtBatchEnd => {
            let mut outcome = apply(shard, batch)?;
            let last = batch.records().last().map(|record| record.offset);
            if let Some(offset) = last {
                judge_at_end(&mut outcome.alerts, offset);
            }
            Ok(outcome)
        }
        Mutation::WallClockLateness => {
            let oldest = runtime.now().plus_millis(-shard.config().window_ms);
            let (tenants, homes) = {
                let ledger = &runtime.hand.stage.state().servers.ledger;
                (ledger.tenants.clone(), ledger.homes())
            };
            let mut records = batch.to_records();
            for record in &mut records {
                if let RecordBody::Event { event, .. } = &record.body
                    && homes.of(&event.tenant) == batch.partition
                    && tenants.keys().any(|tenant| tenant.as_str() == event.tenant)
                    && event.time.is_some_and(|time| time < oldest)
                {
                    let (reason, detail) = (RejectReason::TooLate, "by the wall clock".to_owned());
                    record.body = RecordBody::Unreadable { reason, detail };
                }
            }
            apply(shard, &Batch::of(batch.partition, batch.from, batch.to, records))
        }
        Mutation::ForgetByEventTime => {
            let renamed = forget_by_event_time(runtime, shard, batch);
            apply(shard, &renamed)
        }
        _ => apply(shard, batch),
    }
}

/// Keeps what has changed over the whole batch, and puts it at its end.
fn judge_at_end(alerts: &mut Vec<Alert>, offset: i64) {
    let mut net: BTreeMap<String, i32> = BTreeMap::new();
    let place = |alert: &Alert| match &alert.kind {
        AlertKind::Quota { meter, period, threshold_percent, .. } => {
            Some(format!("{}/{meter}/{}/{threshold_percent}", alert.tenant, period.start))
        }
        _ => None,
    };
    for alert in alerts.iter() {
        if let (Some(place), AlertKind::Quota { direction, .. }) = (place(alert), &alert.kind) {
            *net.entry(place).or_default() += if *direction == Direction::Reached { 1 } else { -1 };
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    alerts.reverse();
    alerts.retain(|alert| place(alert).is_none_or(|place| net.get(&place) != Some(&0) && seen.insert(place)));
    alerts.reverse();
    for alert in alerts.iter_mut().filter(|alert| place(alert).is_some()) {
        alert.position = Position { offset, ..alert.position };
        let mut digest = Digest::new(&HashKey::new([0; 16]), "at the end");
        alert.id = digest.field(&alert.id.to_bytes()).int(offset).finish();
    }
}

/// Renames events whose id was seen with a time that has left the window since, so that the
/// shard takes them for new ones.
fn forget_by_event_time(runtime: &SimRuntime, shard: &Shard, batch: &Batch) -> Batch {
    let mut records = batch.to_records();
    let window_ms = shard.config().window_ms;
    let mut now = shard.broker_time_max();
    let mut state = runtime.hand.stage.state();
    for record in &mut records {
        now = now.max(record.broker_time);
        let RecordBody::Event { event, .. } = &mut record.body else { continue };
        let time = event.time_or(record.broker_time).millis();
        let name = (event.tenant.clone(), event.source.clone(), event.id.clone());
        match state.event_times.get(&name) {
            Some(first) if now.millis() - first > window_ms => {
                event.id = format!("{}-{}", event.id, record.offset);
            }
            Some(_) => {}
            None => {
                state.event_times.insert(name, time);
            }
        }
    }
    Batch::of(batch.partition, batch.from, batch.to, records)
}
