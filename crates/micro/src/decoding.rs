//! Bytes into events, and events into hashes.

use std::hint::black_box;

use anyhow::{Result, ensure};
use weir_core::Timestamp;
use weir_load::{write_avro, write_json};
use weir_metering::event::EventHasher;
use weir_metering::record::BodyRef;
use weir_wire::avro::SchemaSet;
use weir_wire::cloudevents::decode_structured;

use crate::clock::Stopwatch;
use crate::journal::{Values, batch, decode};
use crate::parts::{Line, Size, speed};
use crate::stage::{self, NOW_MS, batches, float, offset};

const EVENTS: [&str; 3] = ["processor time", "ns/event", "events/s"];

/// CloudEvents in structured mode, as the API and the topic take them.
pub(crate) fn json(size: Size) -> Result<Vec<Line>> {
    let stream = stage::stream(size.units, 1.0, 0)?;
    let mut watch = Stopwatch::default();
    for (from, until) in batches(0, size.units) {
        let values = Values::of((from..until).map(|position| stream.event(position)), write_json);
        let read =
            watch.time(|| values.iter().filter(|value| black_box(decode_structured(value)).is_ok()).count());
        ensure!(u64::try_from(read)? == until - from, "{read} of {} were read", until - from);
    }
    Ok(speed(&watch, float(size.units)?, EVENTS))
}

/// Avro in Confluent's framing into a batch's buffer.
pub(crate) fn avro(size: Size) -> Result<Vec<Line>> {
    let (stream, schemas) = (stage::stream(size.units, 1.0, 0)?, SchemaSet::shipped());
    let mut watch = Stopwatch::default();
    for (from, until) in batches(0, size.units) {
        let values = Values::of((from..until).map(|position| stream.event(position)), write_avro);
        let first = offset(from)?;
        let batch = watch.time(|| black_box(decode(&schemas, &values, first, NOW_MS)));
        let events = batch.records().filter(|record| matches!(record.body, BodyRef::Event(..))).count();
        ensure!(u64::try_from(events)? == until - from, "{events} of {} were read", until - from);
    }
    Ok(speed(&watch, float(size.units)?, EVENTS))
}

/// Identity, facts and content of each event.
pub(crate) fn hash(size: Size) -> Result<Vec<Line>> {
    let (stream, schemas) = (stage::stream(size.units, 1.0, 0)?, SchemaSet::shipped());
    let hasher = EventHasher::new(&stage::key());
    let arrived_at = Timestamp::clamped(NOW_MS);
    let mut watch = Stopwatch::default();
    for (from, until) in batches(0, size.units) {
        let events = (from..until).map(|position| stream.event(position));
        let batch = batch(&schemas, events, offset(from)?, NOW_MS);
        let hashed = watch.time(|| {
            let mut hashed = 0;
            for record in batch.records() {
                if let BodyRef::Event(event, _) = record.body {
                    black_box(hasher.hashes(event, arrived_at));
                    hashed += 1;
                }
            }
            hashed
        });
        ensure!(until - from == hashed, "{hashed} of {} were hashed", until - from);
    }
    Ok(speed(&watch, float(size.units)?, EVENTS))
}
