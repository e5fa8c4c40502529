//! What remembering event ids costs: memory and disk an id, `apply` with all of them behind
//! it and one event in a hundred repeated from any age, and a restart from the files.
//! `cargo run --release -p weir-backends --example remembered_ids [millions of ids] [folder] [restart]`
//! With `restart` it only starts again from what an earlier run left in the folder.
//! Nanoseconds an event are processor time of one thread: other work on the machine does not
//! count. Seconds are as the clock has them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use weir_backends::id_files::{IdFile, IdFiles, PartitionFiles, RecordedFile};
use weir_core::time::DAY_MS;
use weir_core::{HashKey, Homes, HourAlignment, Span, TenantId, Timestamp};
use weir_metering::catalogue::{Catalogue, TenantFacts};
use weir_metering::event::{EventBuffer, UsageEvent};
use weir_metering::identity::MemoryPlan;
use weir_metering::meter::{Aggregation, Meter, MeterKey, Precision};
use weir_metering::record::{Batch, JournalRecord, RecordBody};
use weir_metering::shard::{FUTURE_MS, Recovered, SERIES_MAX, Shard, ShardConfig, WINDOW_MS};

const DAYS: i64 = 36;
const TENANTS: i64 = 10_000;
const BATCH: i64 = 200_000;
const BATCHES: i64 = 20;
/// 2026-03-02T00:00:00Z.
const BASE_MS: i64 = 1_772_409_600_000;
const PLACE: (i32, i32) = (0, 1);

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> Outcome {
    let mut arguments = std::env::args().skip(1);
    let millions = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(100_i64);
    let folder =
        arguments.next().map_or_else(|| std::env::temp_dir().join("weir-remembered-ids"), PathBuf::from);
    let ids = millions * 1_000_000 / DAYS * DAYS;
    let files = IdFiles::new(&folder, key())?;
    if arguments.next().as_deref() == Some("restart") {
        return restart(&files, &folder, ids);
    }
    let mut held = files.of_partition(PLACE, &[])?;
    let catalogue = catalogue();
    let mut shard = shard(ids);
    let before = resident_bytes();
    fill(&mut shard, &mut held, ids)?;
    say_memory("all ids remembered", &shard, &held, before);
    let files_bytes: u64 =
        paths(&folder)?.iter().filter_map(|path| path.metadata().ok()).map(|m| m.len()).sum();
    let sealed = shard.id_memory().sealed_ids;
    println!("disk: {files_bytes} bytes, {} / 100 an id", files_bytes * 100 / sealed.max(1));
    count(&mut shard, &held, &catalogue, ids)?;
    say_memory("after counting", &shard, &held, before);
    restart(&files, &folder, ids)
}

/// Remembers all ids as recovery from the journal does, and seals each day that is over.
fn fill(shard: &mut Shard, held: &mut PartitionFiles, ids: i64) -> Outcome {
    let (mut recalling, mut writing, mut sealing) = (0, 0, 0);
    shard.begin_recall(0, ids);
    for from in (0..ids).step_by(usize::try_from(BATCH)?) {
        let mut events = EventBuffer::default();
        let offsets = from..ids.min(from + BATCH);
        offsets.clone().for_each(|n| events.push(&event(n)));
        let start = cpu_ns();
        for (index, n) in offsets.enumerate() {
            shard.recall(events.get(index), n, arrived_at(n, ids));
        }
        recalling += cpu_ns() - start;
        for bucket in shard.complete_buckets(from + BATCH) {
            let start = cpu_ns();
            held.write(&bucket, shard.ids_of(&bucket))?;
            writing += cpu_ns() - start;
            let start = cpu_ns();
            shard.seal(&bucket);
            sealing += cpu_ns() - start;
        }
    }
    let each = |spent: u128| spent / u128::from(ids.unsigned_abs().max(1));
    println!(
        "remembered {ids} ids, sealed {} days; an id: {} ns to remember, hashing included, {} ns to write,",
        held.covered().len(),
        each(recalling),
        each(writing)
    );
    println!("{} ns to take into the filter, the whole of which is made anew each time", each(sealing));
    Ok(())
}

/// Counts new events, one in a hundred of them repeated from anywhere in the window.
fn count(shard: &mut Shard, held: &PartitionFiles, catalogue: &Catalogue, ids: i64) -> Outcome {
    let (mut suspecting, mut settling, mut applying) = (0, 0, 0);
    let (mut suspects, mut repeated, mut duplicates, mut counted) = (0, 0, 0, 0);
    for number in 0..BATCHES {
        let (batch, again) = batch(ids, ids + number * BATCH);
        let start = cpu_ns();
        let suspected = shard.suspects(&batch);
        let asked = cpu_ns();
        let suspects_here = suspected.list().len();
        let answers = held.settle(suspected)?;
        let settled = cpu_ns();
        let outcome = shard.apply_settled(&batch, catalogue, answers);
        let applied = cpu_ns();
        duplicates += outcome.counts.duplicate;
        repeated += again;
        // The first batches meet every tenant for the first time.
        if number >= BATCHES / 4 {
            suspecting += asked - start;
            settling += settled - asked;
            applying += applied - settled;
            suspects += suspects_here;
            counted += outcome.counts.read;
        }
    }
    assert_eq!(duplicates, repeated, "every repetition is found, and nothing else");
    let each = |spent: u128| spent / u128::from(counted).max(1);
    let (a, b, c) = (each(suspecting), each(settling), each(applying));
    let rate = 1_000_000_000 / (a + b + c).max(1);
    println!("counted {counted} events, {} of them repeated: {suspects} suspects", counted / 100);
    println!(
        "an event: {a} ns for suspects, {b} ns for files, {c} ns for apply: {rate} events/s on one core"
    );
    Ok(())
}

/// Builds the shard again from the files alone, as after kill -9.
fn restart(files: &IdFiles, folder: &Path, ids: i64) -> Outcome {
    let before = resident_bytes();
    let mut recorded = Vec::new();
    for path in paths(folder)? {
        let file = IdFile::open(&path, &key())?;
        recorded.push(RecordedFile { covers: file.header().covers, content_sum: file.content_sum() });
    }
    let (start, start_cpu) = (Instant::now(), cpu_ns());
    let held = files.of_partition(PLACE, &recorded)?;
    let to = held.covered().last().map_or(0, |last| last.to);
    let mut shard = shard(ids);
    let plan = MemoryPlan::new(0, to, held.covered());
    shard.add_files(held.keys(&plan.files)?)?;
    let cpu_ms = (cpu_ns() - start_cpu) / 1_000_000;
    println!(
        "started from {} files in {:.1?} ({cpu_ms} ms of processor), {} ids",
        plan.files.len(),
        start.elapsed(),
        shard.remembered_ids()
    );
    say_memory("after the start", &shard, &held, before);
    Ok(())
}

fn say_memory(when: &str, shard: &Shard, held: &PartitionFiles, before: u64) {
    let memory = shard.id_memory();
    let hundredths = |bytes: u64, ids: u64| (bytes * 100).checked_div(ids).unwrap_or_default();
    let index = u64::try_from(held.index_bytes()).unwrap_or(u64::MAX);
    println!(
        "{when}: {} hot ids at {} / 100 bytes, {} sealed ids at {} / 100 bytes (index of the files {} / 100); \
         resident memory grew by {} MB",
        memory.hot_ids,
        hundredths(memory.hot_bytes, memory.hot_ids),
        memory.sealed_ids,
        hundredths(memory.sealed_bytes + index, memory.sealed_ids),
        hundredths(index, memory.sealed_ids),
        resident_bytes().saturating_sub(before) / 1_000_000,
    );
}

/// Time that this thread has had a processor for.
fn cpu_ns() -> u128 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    stat.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or_default()
}

/// VmRSS of this process; zero where there is no /proc.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).unwrap_or_default() * 1024
}

fn paths(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let inside = std::fs::read_dir(folder.join("partition-00000"))?;
    inside.map(|entry| Ok(entry?.path())).collect()
}

fn key() -> HashKey {
    HashKey::new([1; 16])
}

fn arrived_at(n: i64, ids: i64) -> Timestamp {
    Timestamp::clamped(BASE_MS + n / (ids / DAYS) * DAY_MS + n % (ids / DAYS) / 100)
}

fn tenant(number: i64) -> String {
    format!("tenant-{:05}", number % TENANTS)
}

/// The `n`th event: the same whenever it is sent.
fn event(n: i64) -> UsageEvent {
    UsageEvent {
        // A step that shares no factor with the number of tenants mixes them well.
        tenant: tenant(n * 7919),
        source: "gateway/eu-1".into(),
        id: format!("{n:032x}"),
        event_type: "request".into(),
        time: Some(Timestamp::clamped(BASE_MS + 35 * DAY_MS + n % 1_000_000)),
        data: vec![("bytes".into(), (n % 5000).to_string()), ("path".into(), "/v1/things".into())],
    }
}

/// A batch of new events on the last day, and how many of them are repetitions instead.
fn batch(ids: i64, from: i64) -> (Batch, u64) {
    let mut again = 0;
    let record = |offset: i64| {
        let mixed = (u128::from(offset.unsigned_abs()) * 0x9e37_79b9_7f4a_7c15) & 0xffff_ffff;
        let repeats = offset % 100 == 99;
        again += u64::from(repeats);
        let older = (i64::try_from(mixed).unwrap_or_default() * ids) >> 32;
        let event = event(if repeats { older } else { offset });
        let broker_time = Timestamp::clamped(BASE_MS + 35 * DAY_MS + DAY_MS / 2);
        JournalRecord { offset, broker_time, body: RecordBody::Event { event, hops: 0 } }
    };
    let records = (from..from + BATCH).map(record).collect();
    (Batch::of(PLACE.0, from, from + BATCH, records), again)
}

fn shard(next_offset: i64) -> Shard {
    let config = ShardConfig {
        generation: PLACE.1,
        partition: PLACE.0,
        window_ms: WINDOW_MS,
        future_ms: FUTURE_MS,
        series_max: SERIES_MAX,
    };
    Shard::new(config, key(), Recovered { next_offset, ..Recovered::default() })
}

fn catalogue() -> Catalogue {
    let meter = |name: &str, aggregation| {
        MeterKey::new(name).ok().map(|key| Meter {
            key,
            version: 1,
            description: String::new(),
            unit: "unit".into(),
            event_type: "request".into(),
            aggregation,
            value_property: (aggregation != Aggregation::Count).then(|| "bytes".into()),
            dimensions: vec![],
            filters: vec![],
            precision: Precision::Exact,
            allow_negative: false,
            begins_at: None,
        })
    };
    let meters = [meter("requests", Aggregation::Count), meter("egress", Aggregation::Sum)];
    let start = Timestamp::clamped(BASE_MS);
    let periods = vec![Span { start, end: start.plus_millis(60 * DAY_MS) }];
    let facts = TenantFacts { alignment: HourAlignment::default(), periods };
    let tenants = (0..TENANTS).filter_map(|n| TenantId::new(&tenant(n)).ok());
    let tenants: HashMap<_, _> = tenants.map(|tenant| (tenant, facts.clone())).collect();
    Catalogue::new(1, meters.into_iter().flatten().collect(), tenants, Homes::new(1))
}
