//! What every part stands on: the load's stream, a catalogue with its meters and tenants, a shard
//! that counts the one partition there is. Everything follows from constants.

use std::collections::HashMap;

use anyhow::{Context, Result, anyhow};
use weir_core::time::{DAY_MS, HOUR_MS};
use weir_core::{HashKey, Homes, HourAlignment, Partition, Span, TenantId, Timestamp};
use weir_load::{Profile, Stream, house, tenant_id};
use weir_metering::catalogue::{Catalogue, TenantFacts};
use weir_metering::shard::{FUTURE_MS, Recovered, SERIES_MAX, Shard, ShardConfig, WINDOW_MS};
use weir_wire::catalog_file;

/// The only partition.
pub(crate) const PARTITION: Partition = 0;
/// Tenants, all of them active.
pub(crate) const TENANTS: u32 = 10_000;
/// Records of a batch: an eighth of 400,000 events a second, commits a second apart.
pub(crate) const BATCH: u64 = 50_000;
/// 2026-03-02T00:00:00Z.
pub(crate) const BASE_MS: i64 = 1_772_409_600_000;
/// When the measured events arrive: on the last day of the window, so that ids of all days are kept.
pub(crate) const NOW_MS: i64 = BASE_MS + 35 * DAY_MS + DAY_MS / 2;
const METERS: u32 = 3;

/// The load's stream: events of the hour before [`NOW_MS`].
pub(crate) fn stream(events: u64, skew: f64, duplicates_ppm: u32) -> Result<Stream> {
    let profile = Profile {
        events,
        tenants: TENANTS,
        skew,
        meters: METERS,
        dimensions: 4,
        duplicates_ppm,
        late_ppm: 0,
        seed: 1,
        from_ms: NOW_MS - HOUR_MS,
        span_ms: HOUR_MS,
    };
    Ok(Stream::new(profile)?)
}

/// The positions of a stream in batches: first and last but one.
pub(crate) fn batches(from: u64, until: u64) -> impl Iterator<Item = (u64, u64)> {
    (0..(until - from).div_ceil(BATCH)).map(move |nth| {
        let first = from + nth * BATCH;
        (first, until.min(first + BATCH))
    })
}

/// Meters and tenants of the load.
pub(crate) fn catalogue() -> Result<Catalogue> {
    let file = catalog_file::parse(&house::catalogue(METERS, true));
    let file = file.map_err(|refusals| anyhow!("the load's catalogue is refused: {refusals:?}"))?;
    let start = Timestamp::clamped(BASE_MS - DAY_MS);
    let periods = vec![Span { start, end: start.plus_millis(60 * DAY_MS) }];
    let facts = TenantFacts { alignment: HourAlignment::default(), periods };
    let known = |tenant| Ok((TenantId::new(&tenant_id(tenant))?, facts.clone()));
    let tenants: Result<HashMap<_, _>> = (0..TENANTS).map(known).collect();
    Ok(Catalogue::new(1, file.catalog.meters, tenants?, Homes::new(1)))
}

/// A shard that goes on at `next_offset` and knows nothing of what was before.
pub(crate) fn shard(next_offset: i64) -> Shard {
    let config = ShardConfig {
        generation: 1,
        partition: PARTITION,
        window_ms: WINDOW_MS,
        future_ms: FUTURE_MS,
        series_max: SERIES_MAX,
    };
    Shard::new(config, key(), Recovered { next_offset, ..Recovered::default() })
}

/// The key of all hashes.
pub(crate) fn key() -> HashKey {
    HashKey::new([1; 16])
}

/// A position of the stream as an offset.
pub(crate) fn offset(position: u64) -> Result<i64> {
    i64::try_from(position).context("a position beyond all offsets")
}

/// A count as a number to divide by.
pub(crate) fn float(count: u64) -> Result<f64> {
    u32::try_from(count).map(f64::from).context("more than four billion")
}
