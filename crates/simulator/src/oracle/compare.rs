//! What came out beside what must have come out. The first difference is told in words.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use weir_backends::journal::OutgoingRecord;
use weir_core::Homes;
use weir_metering::outcome::Verdict;
use weir_wire::batch_blob::decode_exceptions;
use weir_wire::dead_letter::verdict_code;

use super::alerts;
use super::deliveries::{self, event_type, events};
use super::fold::{End, Fold};
use super::invoices::{self, Counted, Cut};
use super::reading::{Event, Reading, read};
use crate::play::Play;
use crate::scenario::Tally;
use crate::servers::{Logged, PartitionLog, Servers, UsageRowKey};

/// A partition as the oracle has it.
pub(super) struct Told<'a> {
    pub(super) partition: i32,
    pub(super) fold: Fold<'a>,
    ends: BTreeMap<i64, End>,
    accepted: BTreeMap<i64, (Event, i64)>,
    /// When batches were committed, by where they end, in decisions of the simulation.
    commits: BTreeMap<i64, u64>,
    /// Tenants of whom some event may have been judged either way.
    unsure: BTreeSet<String>,
    /// Tenants of whom some event came before they were created.
    late: BTreeSet<String>,
    /// What stood at offsets that levels were published of, by (offset, tenant, meter).
    levels: BTreeMap<(i64, String, String), Level>,
    /// What was counted below the cuts of documents.
    pub(super) billed: BTreeMap<Cut, Counted>,
}

/// Limit, start of the period and usage.
type Level = Option<(Option<i128>, i64, i128)>;

/// A level as it was published.
struct Published {
    /// When, in decisions of the simulation.
    step: u64,
    partition: i32,
    offset: i64,
    tenant: String,
    meter: String,
    level: (Option<i128>, i64, i128),
}

/// What is wrong, if anything.
pub(crate) fn check(play: &Play) -> Option<String> {
    let state = play.stage.state();
    let servers = &state.servers;
    if let Some(batch) = &servers.zombie {
        return Some(format!("batch {batch} was committed by a process that had lost the partition"));
    }
    let published = servers.journal.quota.iter().filter_map(level_of).collect::<Vec<_>>();
    let mut told = Vec::new();
    for partition in 0..servers.journal.width() {
        let one = match fold(play, servers, partition, &published) {
            Ok(one) => one,
            Err(words) => return Some(words),
        };
        told.push(one);
    }
    let whole = |partition: i32| !play.recreated.contains(&partition);
    told.iter()
        .find_map(|told| {
            let folded = || if whole(told.partition) { usage(servers, told) } else { None };
            chain(servers, told).or_else(folded).or_else(|| forwards(servers, told))
        })
        .or_else(|| {
            told.iter().filter(|told| whole(told.partition)).find_map(|told| projection(servers, told))
        })
        .or_else(|| alerts_told(servers, &told))
        .or_else(|| told.iter().find_map(|told| dead_letters(servers, told)))
        .or_else(|| limits(servers, &told))
        .or_else(|| levels(play, &servers.ledger.homes(), &told, &published))
        .or_else(|| invoices::check(play, servers, &told))
        .or_else(|| deliveries::check(play, servers))
}

fn log_of(servers: &Servers, partition: i32) -> &PartitionLog {
    servers.journal.retired.get(&partition).unwrap_or_else(|| servers.journal.log(partition))
}

/// Folds what the ledger says is counted.
fn fold<'a>(
    play: &'a Play,
    servers: &Servers,
    partition: i32,
    published: &[Published],
) -> Result<Told<'a>, String> {
    let log = log_of(servers, partition);
    let line = servers.ledger.partitions.get(&partition);
    let next_offset = line.map_or(0, |line| line.row.next_offset);
    if next_offset > log.high {
        return Err(format!(
            "partition {partition} is counted to {next_offset}, beyond its end {}",
            log.high
        ));
    }
    let batches: BTreeMap<i64, _> =
        servers.ledger.chain((partition, 1), 0).map(|(_, batch)| (batch.to, batch)).collect();
    let nowhere = servers.ledger.homes();
    let said = verdicts(servers, partition)?;
    let mut wanted: Vec<(i64, &Published)> =
        published.iter().filter(|one| one.partition == partition).map(|one| (one.offset, one)).collect();
    wanted.sort_by_key(|(offset, _)| *offset);
    let mut wanted = wanted.into_iter().peekable();
    let fold = Fold::new(&play.cast, partition);
    let (ends, accepted) = (BTreeMap::new(), BTreeMap::new());
    let commits = batches.iter().map(|(to, batch)| (*to, batch.step)).collect();
    let (unsure, late) = (BTreeSet::new(), BTreeSet::new());
    let (levels, billed) = (BTreeMap::new(), BTreeMap::new());
    let mut told = Told { partition, fold, ends, accepted, commits, unsure, late, levels, billed };
    let mut cuts = invoices::cuts(servers, partition).into_iter().peekable();
    for Logged { record, step } in log.records.iter().take_while(|one| one.record.offset < next_offset) {
        while let Some((_, one)) = wanted.next_if(|(offset, _)| *offset < record.offset) {
            told.note_level(one);
        }
        while let Some(cut) = cuts.next_if(|(offset, _, _)| *offset <= record.offset) {
            told.note_cut(cut);
        }
        let reading = read(record);
        let batch = batches.range(record.offset + 1..).next().map(|(_, batch)| *batch);
        let committed = batch.map_or(u64::MAX, |batch| batch.step);
        let homes = batch.map_or(&nowhere, |batch| &batch.homes);
        let (mut doubt, mut late) = (None, None);
        let known = |tenant: &str| {
            let known = play.presence.between(tenant, *step, committed).unwrap_or_else(|| {
                doubt = Some(tenant.to_owned());
                said.get(&record.offset) != Some(&"unknown_tenant")
            });
            late = (!known).then(|| tenant.to_owned()).or(late.take());
            known
        };
        let end = told.fold.take((record.offset, record.broker_time_ms), &reading, (homes, known));
        told.unsure.extend(doubt);
        told.late.extend(late);
        if let (End::Accepted, Reading::Event(event)) = (&end, reading) {
            let time_ms = event.time_ms.unwrap_or(record.broker_time_ms);
            told.accepted.insert(record.offset, (event, time_ms));
        }
        told.ends.insert(record.offset, end);
    }
    for (_, one) in wanted {
        told.note_level(one);
    }
    cuts.for_each(|cut| told.note_cut(cut));
    Ok(told)
}

impl Told<'_> {
    fn note_cut(&mut self, cut: Cut) {
        let counted = self.fold.counted(&cut.1, cut.2);
        self.billed.insert(cut, counted);
    }

    fn note_level(&mut self, one: &Published) {
        let level = self.fold.level(&one.tenant, &one.meter);
        let level = level.map(|(limit, period, used)| (limit, period.start.millis(), used));
        self.levels.insert((one.offset, one.tenant.clone(), one.meter.clone()), level);
    }
}

/// What the ledger says of records that were not accepted.
fn verdicts(servers: &Servers, partition: i32) -> Result<BTreeMap<i64, &'static str>, String> {
    let mut said = BTreeMap::new();
    for (from, batch) in servers.ledger.chain((partition, 1), 0) {
        let exceptions = decode_exceptions(from, &batch.exceptions)
            .map_err(|error| format!("exceptions of {partition}/{from}: {error}"))?;
        for exception in exceptions {
            said.insert(exception.offset, verdict_code(exception.verdict));
        }
        // Spelled out so that a new verdict is thought of here.
        let _: fn(Verdict) -> &'static str = verdict_code;
    }
    Ok(said)
}

fn code(end: &End) -> Option<&'static str> {
    match end {
        End::Accepted => None,
        End::Duplicate => Some("duplicate"),
        End::Conflict => Some("conflict"),
        End::Rejected(code) => Some(code),
        End::Forwarded(_) => Some("forwarded"),
        End::Control => Some("control"),
    }
}

/// Whether two codes are of the same kind: broken bytes may be called either way.
fn alike(one: Option<&str>, other: Option<&str>) -> bool {
    let broken = |code: Option<&str>| matches!(code, Some("malformed" | "invalid_event"));
    one == other || (broken(one) && broken(other))
}

/// The chain has no gap, its counts add up, and every record has the end that it must have.
fn chain(servers: &Servers, told: &Told<'_>) -> Option<String> {
    let partition = told.partition;
    let line = servers.ledger.partitions.get(&partition)?;
    let mut expected = line.row.first_offset;
    for (from, batch) in servers.ledger.chain((partition, 1), 0) {
        if from != expected {
            return Some(format!("partition {partition}: a batch begins at {from}, not {expected}"));
        }
        expected = batch.to;
        let ends = told.ends.range(from..batch.to);
        let read = u64::try_from(ends.clone().count()).unwrap_or(0);
        let accepted = u64::try_from(ends.filter(|(_, end)| **end == End::Accepted).count()).unwrap_or(0);
        let counts = batch.counts;
        if (counts.read, counts.accepted) != (read, accepted) {
            return Some(format!(
                "partition {partition}, batch [{from}, {}): read {} and accepted {}, not {read} and {accepted}",
                batch.to, counts.read, counts.accepted
            ));
        }
    }
    if expected != line.row.next_offset {
        return Some(format!(
            "partition {partition}: batches end at {expected}, not {}",
            line.row.next_offset
        ));
    }
    let said = verdicts(servers, partition).ok()?;
    told.ends.iter().find_map(|(offset, end)| {
        let said = said.get(offset).copied();
        (!alike(code(end), said)).then(|| {
            format!(
                "{partition}/{offset} is {} in the ledger, and should be {}",
                said.unwrap_or("accepted"),
                code(end).unwrap_or("accepted")
            )
        })
    })
}

fn usage(servers: &Servers, told: &Told<'_>) -> Option<String> {
    let of_partition = |row: &&UsageRowKey| row.partition == told.partition && row.generation == 1;
    let mut found = BTreeMap::new();
    for row in servers.ledger.usage.keys().filter(of_partition) {
        let line = &servers.ledger.usage[row];
        let key = (
            row.key.tenant.to_string(),
            row.key.meter.to_string(),
            row.key.hour.millis(),
            row.key.dimensions.clone(),
        );
        found.insert(key, (line.quantity.nanos(), line.count));
    }
    different(&expected_usage(told), &found)
        .map(|words| format!("usage of partition {}: {words}", told.partition))
}

type Row = (String, String, i64, String);

fn expected_usage(told: &Told<'_>) -> BTreeMap<Row, (i128, i64)> {
    let row = |(key, (tally, sum)): (&super::fold::Key, &(Tally, super::tallies::Sum))| {
        let (tenant, meter, hour, dimensions) = key.clone();
        ((tenant, meter.to_owned(), hour, dimensions), (sum.nanos(*tally), sum.events))
    };
    told.fold.usage.iter().map(row).collect()
}

fn different<K: Ord + std::fmt::Debug, V: PartialEq + std::fmt::Debug>(
    expected: &BTreeMap<K, V>,
    found: &BTreeMap<K, V>,
) -> Option<String> {
    let missing = expected.iter().find(|(key, value)| found.get(key) != Some(value));
    if let Some((key, value)) = missing {
        return Some(format!("{key:?} should be {value:?}, and is {:?}", found.get(key)));
    }
    let extra = found.iter().find(|(key, _)| !expected.contains_key(key));
    extra.map(|(key, value)| format!("{key:?} is {value:?}, and should not be there"))
}

/// What stood in a foreign partition stands at home as well.
fn forwards(servers: &Servers, told: &Told<'_>) -> Option<String> {
    let log = log_of(servers, told.partition);
    for (offset, end) in &told.ends {
        let End::Forwarded(home) = end else { continue };
        let record = log.records.iter().find(|one| one.record.offset == *offset)?;
        let there = |log: &PartitionLog| {
            log.records.iter().any(|one| {
                one.record.payload == record.record.payload
                    && one.record.headers.iter().any(|(name, _)| name == "weir-hop")
            })
        };
        if !there(servers.journal.log(*home)) && !there(log_of(servers, *home)) {
            return Some(format!("{}/{offset} was not forwarded to {home}", told.partition));
        }
    }
    None
}

/// ClickHouse has each accepted event once, as it was, and the totals of the ledger.
fn projection(servers: &Servers, told: &Told<'_>) -> Option<String> {
    let mut found = BTreeMap::new();
    for (offset, row) in servers.projection.events((told.partition, 1)) {
        found.insert(offset, (row.tenant.clone(), row.source.clone(), row.id.clone(), row.time));
    }
    let as_row = |(offset, (event, time_ms)): (&i64, &(Event, i64))| {
        (*offset, (event.tenant.clone(), event.source.clone(), event.id.clone(), *time_ms))
    };
    let expected = told.accepted.iter().map(as_row).collect();
    if let Some(words) = different(&expected, &found) {
        return Some(format!("projected events of partition {}: {words}", told.partition));
    }
    let mut found = BTreeMap::new();
    for row in servers.projection.rollups(told.partition) {
        let key = (row.tenant.clone(), row.meter.clone(), row.hour, row.dimensions.clone());
        found.insert(key, (row.quantity, row.event_count));
    }
    different(&expected_usage(told), &found)
        .map(|words| format!("rollups of partition {}: {words}", told.partition))
}

/// Every alert is told once, and nothing else is.
fn alerts_told(servers: &Servers, told: &[Told<'_>]) -> Option<String> {
    let mut expected: BTreeMap<String, u64> = BTreeMap::new();
    for line in told.iter().flat_map(|told| &told.fold.alerts) {
        *expected.entry(line.clone()).or_default() += 1;
    }
    let mut found: BTreeMap<String, u64> = BTreeMap::new();
    for (id, line) in events(servers).filter(|(_, line)| event_type(line) != "invoice.finalized") {
        let Some(words) = alerts::told(event_type(line), &line.body) else {
            return Some(format!("the message {id} of {} cannot be read: {}", line.tenant, line.body));
        };
        *found.entry(words).or_default() += 1;
    }
    different(&expected, &found).map(|words| format!("alerts: {words}"))
}

/// Whatever was refused is in the dead letters, with its position and reason.
fn dead_letters(servers: &Servers, told: &Told<'_>) -> Option<String> {
    let mut letters: BTreeMap<i64, BTreeSet<String>> = BTreeMap::new();
    for letter in &servers.journal.dead_letters {
        let header = |name: &str| {
            let found = letter.headers.iter().find(|(header, _)| header == name);
            found.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).unwrap_or_default()
        };
        if header("weir-dlq-partition") == told.partition.to_string() {
            let offset = header("weir-dlq-offset").parse().unwrap_or(-1);
            letters.entry(offset).or_default().insert(header("weir-dlq-code"));
        }
    }
    told.ends.iter().find_map(|(offset, end)| {
        let code = code(end).filter(|_| matches!(end, End::Rejected(_) | End::Conflict))?;
        let there =
            letters.get(offset).is_some_and(|codes| codes.iter().any(|one| alike(Some(one), Some(code))));
        (!there).then(|| format!("{}/{offset} ({code}) is not in the dead letters", told.partition))
    })
}

fn limits(servers: &Servers, told: &[Told<'_>]) -> Option<String> {
    let expected: BTreeMap<String, i64> = told
        .iter()
        .flat_map(|told| told.fold.limits.values().map(|limits| (limits.tenant.clone(), limits.revision)))
        .collect();
    let in_force = servers.ledger.limits.iter().map(|(tenant, line)| (tenant.clone(), line.revision));
    different(&expected, &in_force.collect()).map(|words| format!("limits in force: {words}"))
}

/// Every level that was published is what stood at its position, and the last one of each limited meter
/// is where it stands. Only a process that has lost its partition may publish what a batch came to that the
/// ledger refuses, after another's was committed: with a tenant who was created meanwhile, that is
/// something else.
fn levels(play: &Play, homes: &Homes, told: &[Told<'_>], published: &[Published]) -> Option<String> {
    let mut last: BTreeMap<(String, String), &Published> = BTreeMap::new();
    for one in published {
        let told = told.iter().find(|told| told.partition == one.partition)?;
        if told.unsure.contains(&one.tenant) || play.presence.has_gaps(&one.tenant) {
            continue;
        }
        let place = (one.offset, one.tenant.clone(), one.meter.clone());
        let expected = told.levels.get(&place).cloned().flatten();
        let same = expected
            .is_some_and(|expected| one.level == expected || (one.level.0.is_none() && expected.0.is_none()));
        let counted = told.ends.last_key_value().is_some_and(|(last, _)| one.offset <= *last);
        let comes_late =
            told.commits.range(one.offset + 1..).next().is_some_and(|(_, step)| one.step > *step);
        if !same && counted && !(comes_late && told.late.contains(&one.tenant)) {
            return Some(format!(
                "the level of {} {} at {}/{} is {:?}, and should be {expected:?}",
                one.tenant, one.meter, one.partition, one.offset, one.level
            ));
        }
        // What was told of it where it lived in a history that is lost counts no more.
        if homes.of(&one.tenant) != one.partition {
            continue;
        }
        let held = last.entry((one.tenant.clone(), one.meter.clone())).or_insert(one);
        if one.offset >= held.offset {
            *held = one;
        }
    }
    for told in told.iter().filter(|told| !play.recreated.contains(&told.partition)) {
        for (tenant, limits) in &told.fold.limits {
            if told.unsure.contains(tenant)
                || play.presence.has_gaps(tenant)
                || !play.presence.was_created(tenant)
            {
                continue;
            }
            for meter in limits.by_meter.keys() {
                let level = told.fold.level(tenant, meter);
                let Some(level) = level.map(|(limit, period, used)| (limit, period.start.millis(), used))
                else {
                    continue;
                };
                let shown = last.get(&(tenant.clone(), meter.clone())).map(|one| one.level);
                if shown != Some(level) {
                    return Some(format!("{tenant} {meter} stands at {level:?}, and is shown as {shown:?}"));
                }
            }
        }
    }
    None
}

fn level_of((step, record): &(u64, OutgoingRecord)) -> Option<Published> {
    let key = std::str::from_utf8(record.key.as_deref()?).ok()?;
    let (tenant, meter) = key.split_once('/')?;
    let value: Value = serde_json::from_slice(record.value.as_deref()?).ok()?;
    let position = value.get("position")?;
    let limit = value.get("limit").and_then(|limit| limit.get("limit")).and_then(Value::as_str);
    let start = weir_core::Timestamp::parse(value.get("period")?.get("start")?.as_str()?).ok()?;
    let used = super::reading::nanos(value.get("used")?.as_str()?)?;
    Some(Published {
        step: *step,
        partition: i32::try_from(position.get("partition")?.as_i64()?).ok()?,
        offset: position.get("offset")?.as_i64()?,
        tenant: tenant.to_owned(),
        meter: meter.to_owned(),
        level: (limit.and_then(super::reading::nanos), start.millis(), used),
    })
}
