//! The shard by itself, and the blob that its deltas become.

use std::hint::black_box;

use anyhow::{Result, ensure};
use weir_metering::outcome::Outcome;
use weir_wire::avro::SchemaSet;
use weir_wire::batch_blob::{decode_deltas, encode_deltas};

use crate::clock::Stopwatch;
use crate::journal::batch;
use crate::parts::{Line, Size, speed};
use crate::stage::{self, NOW_MS, batches, float, offset};

const DUPLICATES_PPM: u32 = 10_000;
const EVENTS: [&str; 3] = ["processor time", "ns/event", "events/s"];
const KEYS: [&str; 3] = ["processor time", "ns/key", "keys/s"];

/// Tenants' shares as 1/k.
pub(crate) fn apply_skewed(size: Size) -> Result<Vec<Line>> {
    apply(size, 1.0)
}

/// Each tenant has the same share: the worst for caches.
pub(crate) fn apply_even(size: Size) -> Result<Vec<Line>> {
    apply(size, 0.0)
}

fn apply(size: Size, skew: f64) -> Result<Vec<Line>> {
    let mut watch = Stopwatch::default();
    count(size.units, skew, Some(&mut watch), |_| Ok(()))?;
    Ok(speed(&watch, float(size.units)?, EVENTS))
}

/// Blobs of batches, and how long they are.
pub(crate) fn deltas(size: Size) -> Result<Vec<Line>> {
    let (mut watch, mut keys, mut bytes) = (Stopwatch::default(), 0, 0);
    count(size.units, 1.0, None, |outcome| {
        let blob = watch.time(|| black_box(encode_deltas(&outcome.deltas)));
        ensure!(decode_deltas(&blob)? == outcome.deltas, "a blob holds other deltas");
        keys += u64::try_from(outcome.deltas.len())?;
        bytes += u64::try_from(blob.len())?;
        Ok(())
    })?;
    let mut lines = speed(&watch, float(keys)?, KEYS);
    lines.push(("size", "bytes/key", float(bytes)? / float(keys)?));
    lines.push(("keys", "keys/event", float(keys)? / float(size.units)?));
    Ok(lines)
}

/// Counts the load's stream, on the watch if there is one, and shows each outcome. What was accepted must be what the load says.
fn count(
    events: u64,
    skew: f64,
    mut watch: Option<&mut Stopwatch>,
    mut show: impl FnMut(&Outcome) -> Result<()>,
) -> Result<()> {
    let stream = stage::stream(events, skew, DUPLICATES_PPM)?;
    let (schemas, catalogue) = (SchemaSet::shipped(), stage::catalogue()?);
    let mut shard = stage::shard(0);
    for (from, until) in batches(0, events) {
        let sent: Vec<_> = (from..until).map(|position| stream.event(position)).collect();
        let expected = sent.iter().filter(|event| event.counts).count();
        let batch = batch(&schemas, sent.into_iter(), offset(from)?, NOW_MS);
        let outcome = match &mut watch {
            Some(watch) => watch.time(|| shard.apply(&batch, &catalogue)),
            None => shard.apply(&batch, &catalogue),
        };
        let accepted = outcome.accepted.len();
        ensure!(accepted == expected, "{accepted} events were accepted, not {expected}");
        show(&outcome)?;
    }
    Ok(())
}
